//! `/v1/services`: the supervision tree of this process.

use axum::extract::State;

use crate::api::{Answer, Api, ok};
use crate::codes;
use crate::params::{Segments, group};
use crate::problem::Problem;

/// All services.
pub(crate) async fn list(State(api): State<Api>) -> Answer {
    ok(&api.handle().services())
}

/// The service of one group.
pub(crate) async fn show(State(api): State<Api>, Segments(name): Segments<String>) -> Answer {
    let name = group(name)?;
    let found = api.handle().service(&name);
    let missing =
        || Problem::new(codes::NOT_FOUND, format!("no service of group {name} runs here"));
    ok(&found.ok_or_else(missing)?)
}
