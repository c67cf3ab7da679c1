//! What watches a node: `/livez`, `/readyz`, `/metrics`, `/v1/status`, and the table of problems.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use tidings_node::api::CheckInfo;

use crate::api::{Answer, Api, json, ok};
use crate::codes;
use crate::limits::SCRAPE_WAIT_MAX;
use crate::params::{Asked, Segments};
use crate::problem::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The node's own threads run: they answered.
pub(crate) async fn live() -> &'static str {
    "live\n"
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<CheckInfo>,
}

/// How much a probe wants to hear.
#[derive(Deserialize)]
pub(crate) struct HowMuch {
    verbose: Option<String>,
}

/// Whether the node takes work; `?verbose` tells each condition.
pub(crate) async fn ready(State(api): State<Api>, Asked(how): Asked<HowMuch>) -> Answer {
    let checks = api.handle().checks();
    let ready = checks.iter().all(|check| check.ok);
    if how.verbose.is_some() {
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        return Ok(json(status, &Ready { ready, checks }));
    }
    if ready {
        return Ok("ready\n".into_response());
    }
    Err(Problem::new(codes::NOT_READY, failing(&checks)))
}

fn failing(checks: &[CheckInfo]) -> String {
    let failing = checks.iter().filter(|check| !check.ok);
    let words = failing.map(|check| format!("{}: {}", check.check, check.detail));
    words.collect::<Vec<_>>().join("; ")
}

/// All metrics, as they are now.
pub(crate) async fn metrics(State(api): State<Api>) -> Answer {
    api.handle().refresh_gauges(SCRAPE_WAIT_MAX).await;
    let content_type = HeaderValue::from_static(OPEN_METRICS);
    Ok(([(header::CONTENT_TYPE, content_type)], api.handle().metrics().encode()).into_response())
}

/// The node and its replica.
pub(crate) async fn status(State(api): State<Api>) -> Answer {
    ok(&api.handle().status().await?)
}

/// What a code means.
pub(crate) async fn problem(Segments(code): Segments<String>) -> Answer {
    match codes::find(&code) {
        Some(row) => ok(row),
        None => Err(Problem::new(codes::NOT_FOUND, "there is no such code")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let check = |check: &str, ok, detail: &str| CheckInfo {
            check: check.to_owned(),
            ok,
            detail: detail.to_owned(),
        };
        let checks =
            [check("a", true, "x"), check("leader", false, "none"), check("b", false, "y")];
        assert_eq!(failing(&checks), "leader: none; b: y");
    }
}
