//! The route: what is counted by now.

use tidings::axum::extract::State;
use tidings::axum::http::StatusCode;
use tidings::axum::routing::get;
use tidings::axum::{Json, Router};
use tokio::task::spawn_blocking;

use crate::counts::{Counts, Totals};

/// The service's routes.
pub fn routes(counts: Counts) -> Router {
    Router::new().route("/analytics/signups", get(signups)).with_state(counts)
}

async fn signups(State(counts): State<Counts>) -> Result<Json<Totals>, (StatusCode, String)> {
    let unavailable = |reason: String| {
        (StatusCode::SERVICE_UNAVAILABLE, format!("counts cannot be read: {reason}"))
    };
    // There may be many domains, so the table is read on a thread that may block.
    let totals = spawn_blocking(move || counts.totals()).await;
    let totals = totals.map_err(|error| unavailable(error.to_string()))?;
    totals.map(Json).map_err(|error| unavailable(error.to_string()))
}
