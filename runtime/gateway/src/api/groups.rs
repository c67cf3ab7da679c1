//! `/v1/groups`: groups, and what of theirs waits for another attempt.

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use tidings_node::api::{RetryInfo, WaitingInfo};
use tidings_node::handle::{SeekTo, Waiting};
use tidings_types::name::TopicName;
use tidings_types::offset::Offset;

use crate::api::letters::{Meant, named, wrong};
use crate::api::{Answer, Api, ok};
use crate::codes;
use crate::limits::LETTERS_MAX;
use crate::moment::Moment;
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    topic: TopicName,
    to: To,
    #[serde(default)]
    dry_run: bool,
}

/// An offset, or a word: `start`, `end`, or a moment.
#[derive(Deserialize)]
#[serde(untagged)]
enum To {
    Offset(u64),
    Word(String),
}

/// Lets a group go on elsewhere.
pub(crate) async fn seek(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let name = group(name)?;
    let Seek { topic, to, dry_run } = api.read_json(request).await?;
    let to = place(to, api.handle().wall_ms())?;
    ok(&api.handle().seek(&name, &topic, to, dry_run).await?)
}

fn place(to: To, now_ms: u64) -> Result<SeekTo, Problem> {
    match to {
        To::Offset(offset) => Ok(SeekTo::Offset(Offset::new(offset))),
        To::Word(word) if word == "start" => Ok(SeekTo::Start),
        To::Word(word) if word == "end" => Ok(SeekTo::End),
        To::Word(word) => match Moment::try_from(word) {
            Ok(Moment::At(at_ms)) => Ok(SeekTo::Time(at_ms)),
            Ok(Moment::Ago(ago_ms)) => Ok(SeekTo::Time(now_ms.saturating_sub(ago_ms))),
            Err(why) => {
                let detail = format!("`to` is an offset, \"start\", \"end\" or a moment: {why}");
                Err(Problem::new(codes::WRONG_SHAPE, detail))
            }
        },
    }
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
