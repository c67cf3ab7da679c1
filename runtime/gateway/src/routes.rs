//! The table of our routes: one row each, for the router, the metrics and the guard.

use axum::Router;
use axum::http::Uri;
use axum::routing::{MethodRouter, get, post};

use crate::api::{Api, events, groups, letters, probes, publish, services, topics};
use crate::codes;
use crate::problem::Problem;

/// First parts of paths that are ours. All others belong to users' routes.
const RESERVED: [&str; 5] = ["v1", "metrics", "livez", "readyz", "startupz"];

/// What metrics call a request to a path of ours that has no route.
const NONE: &str = "none";

fn table() -> [(&'static str, MethodRouter<Api>); 23] {
    [
        ("/v1/topics/{topic}/events", post(publish::publish).get(events::read)),
        ("/livez", get(probes::live)),
        ("/readyz", get(probes::ready)),
        ("/metrics", get(probes::metrics)),
        ("/v1/status", get(probes::status)),
        ("/v1/topics", get(topics::list).post(topics::create)),
        ("/v1/topics/{topic}", get(topics::show)),
        ("/v1/groups", get(groups::list)),
        ("/v1/groups/{group}", get(groups::show)),
        ("/v1/groups/{group}/dead", get(letters::list_of)),
        ("/v1/groups/{group}/dead/redrive", post(letters::redrive)),
        ("/v1/groups/{group}/dead/discard", post(letters::discard)),
        ("/v1/groups/{group}/seek", post(groups::seek)),
        ("/v1/groups/{group}/pause", post(groups::pause)),
        ("/v1/groups/{group}/resume", post(groups::resume)),
        ("/v1/groups/{group}/waiting", get(groups::waiting)),
        ("/v1/groups/{group}/retry", post(groups::retry)),
        ("/v1/groups/{group}/dead/{topic}/{offset}", get(letters::show).put(letters::edit)),
        ("/v1/dead", get(letters::list)),
        ("/v1/services", get(services::list)),
        ("/v1/services/{group}", get(services::show)),
        ("/v1/events/{id}", get(events::story)),
        ("/v1/problems/{code}", get(probes::problem)),
    ]
}

/// All our routes, and what paths and methods without one are told.
pub(crate) fn router(api: Api) -> Router {
    let router = table()
        .into_iter()
        .fold(Router::new(), |router, (pattern, methods)| router.route(pattern, methods));
    router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(api)
}

async fn no_route(uri: Uri) -> Problem {
    Problem::new(codes::NO_ROUTE, format!("nothing is at {}", shown(&uri)))
}

async fn no_method(uri: Uri) -> Problem {
    Problem::new(codes::METHOD, format!("{} does not take this method", shown(&uri)))
}

fn shown(uri: &Uri) -> String {
    uri.path().chars().take(200).collect()
}

/// Whether a path is ours.
pub(crate) fn is_reserved(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    RESERVED.contains(&first)
}

/// Patterns of our routes, the hot one first.
#[derive(Debug)]
pub(crate) struct Labels {
    patterns: Vec<&'static str>,
}

impl Labels {
    /// Of the whole table.
    pub(crate) fn new() -> Self {
        Self { patterns: table().into_iter().map(|(pattern, _)| pattern).collect() }
    }

    /// What metrics call a path of ours: its pattern, for a path itself would be a label without
    /// bound.
    pub(crate) fn of(&self, path: &str) -> &'static str {
        let found = self.patterns.iter().find(|pattern| matches(pattern, path));
        found.copied().unwrap_or(NONE)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if pattern.starts_with('{') && !part.is_empty() => {}
            (Some(pattern), Some(part)) if pattern == part => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row has its own label: we make a path of each pattern and look it up.
    #[test]
    fn labels_follow_the_table() {
        let labels = Labels::new();
        for (pattern, _) in table() {
            let path = pattern.replace(['{', '}'], "");
            assert_eq!(labels.of(&path), pattern, "{path}");
            assert!(is_reserved(&path), "{path}");
        }
        for unknown in ["/v1", "/v1/topics/", "/v1/topics//events", "/livez/x", "/v1/nothing"] {
            assert_eq!(labels.of(unknown), NONE, "{unknown}");
            assert!(is_reserved(unknown), "{unknown}");
        }
        for theirs in ["/", "/users", "/users/v1", "/v1x", "/analytics/signups", ""] {
            assert!(!is_reserved(theirs), "{theirs}");
        }
    }
}
