//! `/v1/groups` and `/v1/dead`: what groups wait for and gave up, and what becomes of it.

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use tidings_node::api::{DeadLetterInfo, DiscardInfo, RedriveInfo, RetryInfo, WaitingInfo};
use tidings_node::handle::Letters;
use tidings_types::name::TopicName;
use tidings_types::offset::Offset;

use crate::api::{Answer, Api, ok};
use crate::codes;
use crate::limits::{LETTERS_MAX, PAGE_BYTES_MAX};
use crate::page::append;
use crate::params::{Asked, Segments, group, offset, topic};
use crate::problem::Problem;

/// All groups.
pub(crate) async fn list(State(api): State<Api>) -> Answer {
    ok(&api.handle().groups().await?)
}

/// One group.
pub(crate) async fn show(State(api): State<Api>, Segments(name): Segments<String>) -> Answer {
    ok(&api.handle().group(&group(name)?).await?)
}

/// Whose dead letters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whose {
    group: Option<String>,
}

/// Dead letters of all groups, or of one.
pub(crate) async fn dead(State(api): State<Api>, Asked(whose): Asked<Whose>) -> Answer {
    let name = whose.group.map(group).transpose()?;
    ok(&bounded(&api.handle().dead_letters(name.as_ref()).await?))
}

/// Dead letters of one group.
pub(crate) async fn dead_of(State(api): State<Api>, Segments(name): Segments<String>) -> Answer {
    let name = group(name)?;
    ok(&bounded(&api.handle().dead_letters(Some(&name)).await?))
}

/// One dead letter.
pub(crate) async fn dead_one(
    State(api): State<Api>,
    Segments((name, of, at)): Segments<(String, String, String)>,
) -> Answer {
    let (name, of, at) = (group(name)?, topic(of)?, offset(&at)?);
    ok(&api.handle().dead_letter(&name, &of, at).await?)
}

/// A bounded list, and how many letters are not on it.
#[derive(Serialize)]
struct LetterList<'a> {
    letters: &'a [DeadLetterInfo],
    more: usize,
}

/// As many letters as one answer may hold. The first one is always on the list.
fn bounded(letters: &[DeadLetterInfo]) -> LetterList<'_> {
    let mut bytes = Vec::new();
    let fits = |letter: &&DeadLetterInfo| {
        let has_room = bytes.len() < PAGE_BYTES_MAX;
        append(&mut bytes, letter);
        has_room
    };
    let n_shown = letters.iter().take(LETTERS_MAX).take_while(fits).count();
    let (letters, rest) = letters.split_at(n_shown);
    LetterList { letters, more: rest.len() }
}

/// What is meant, by its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meant {
    topic: TopicName,
    offset: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    letters: Vec<Meant>,
    #[serde(default)]
    events: Vec<Meant>,
    #[serde(default)]
    all: bool,
}

/// Brings dead letters back into delivery.
pub(crate) async fn redrive(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let name = group(name)?;
    let letters = letters(api.read_json(request).await?)?;
    let redriven = api.handle().redrive(&name, letters).await?;
    ok(&RedriveInfo { redriven })
}

/// Takes dead letters away for good.
pub(crate) async fn discard(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let name = group(name)?;
    let letters = letters(api.read_json(request).await?)?;
    let discarded = api.handle().discard(&name, letters).await?;
    ok(&DiscardInfo { discarded })
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

/// Lets waiting events be tried now.
pub(crate) async fn retry(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let name = group(name)?;
    let Which { letters, events, all } = api.read_json(request).await?;
    let events = if letters.is_empty() { which(events, all, "events")? } else { wrong("events")? };
    let retried = api.handle().retry_now(&name, events).await?;
    ok(&RetryInfo { retried })
}

fn letters(Which { letters, events, all }: Which) -> Result<Letters, Problem> {
    if events.is_empty() { which(letters, all, "letters") } else { wrong("letters") }
}

fn which(meant: Vec<Meant>, all: bool, field: &str) -> Result<Letters, Problem> {
    match (meant.is_empty(), all) {
        (true, true) => Ok(Letters::All),
        (false, false) => {
            let named = |meant: Meant| (meant.topic, Offset::new(meant.offset));
            Ok(Letters::These(meant.into_iter().map(named).collect()))
        }
        _ => wrong(field),
    }
}

fn wrong(field: &str) -> Result<Letters, Problem> {
    let detail =
        format!(r#"send {{"all": true}} or {{"{field}": [{{"topic", "offset"}}]}}, one of them"#);
    Err(Problem::new(codes::WRONG_SHAPE, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Result<Letters, Problem> {
        letters(serde_json::from_str(body).unwrap())
    }

    /// To redrive everything by an empty list would be a surprise: it is asked for by its name.
    #[test]
    fn a_redrive_names_what_it_means() {
        assert!(matches!(asked(r#"{"all":true}"#), Ok(Letters::All)));
        let one = asked(r#"{"letters":[{"topic":"users","offset":7}]}"#);
        assert!(matches!(one, Ok(Letters::These(letters)) if letters.len() == 1));
        for bad in [
            "{}",
            r#"{"all":false}"#,
            r#"{"letters":[]}"#,
            r#"{"events":[{"topic":"users","offset":7}]}"#,
            r#"{"all":true,"letters":[{"topic":"users","offset":7}]}"#,
        ] {
            assert_eq!(
                asked(bad).err().map(|problem| problem.status().as_u16()),
                Some(422),
                "{bad}"
            );
        }
    }
}
