//! `/v1/groups`: groups, and what of theirs waits for another attempt.

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use tidings_node::api::{RetryInfo, WaitingInfo};
use tidings_node::handle::Waiting;

use crate::api::letters::{Meant, named, wrong};
use crate::api::{Answer, Api, ok};
use crate::limits::LETTERS_MAX;
use crate::params::{Segments, group};
use crate::problem::Problem;

/// All groups.
pub(crate) async fn list(State(api): State<Api>) -> Answer {
    ok(&api.handle().groups().await?)
}

/// One group.
pub(crate) async fn show(State(api): State<Api>, Segments(name): Segments<String>) -> Answer {
    ok(&api.handle().group(&group(name)?).await?)
}

/// A body that says nothing: JSON all the same, as a page of another site cannot send it unasked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Lets nothing more of a group be handed out.
pub(crate) async fn pause(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let (name, Nothing {}) = (group(name)?, api.read_json(request).await?);
    ok(&api.handle().pause(&name).await?)
}

/// Lets a group go on that was paused.
pub(crate) async fn resume(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let (name, Nothing {}) = (group(name)?, api.read_json(request).await?);
    ok(&api.handle().resume(&name).await?)
}

#[derive(Serialize)]
struct WaitingList {
    events: Vec<WaitingInfo>,
    more: usize,
}

/// Events that wait for another attempt.
pub(crate) async fn waiting(State(api): State<Api>, Segments(name): Segments<String>) -> Answer {
    let (events, n_all) = api.handle().waiting(&group(name)?, LETTERS_MAX).await?;
    let more = n_all - events.len();
    ok(&WaitingList { events, more })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    events: Vec<Meant>,
    #[serde(default)]
    all: bool,
}

/// Lets waiting events be tried now.
pub(crate) async fn retry(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let name = group(name)?;
    let events = which(api.read_json(request).await?)?;
    let retried = api.handle().retry_now(&name, events).await?;
    ok(&RetryInfo { retried })
}

fn which(Which { events, all }: Which) -> Result<Waiting, Problem> {
    match (events.is_empty(), all) {
        (true, true) => Ok(Waiting::All),
        (false, false) => Ok(Waiting::These(named(events))),
        _ => Err(wrong(r#"{"all": true} or {"events": [{"topic", "offset"}]}"#)),
    }
}
