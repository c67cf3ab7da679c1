//! `/v1/dead` and `/v1/groups/{group}/dead`: what groups gave up, and what becomes of it.

use axum::extract::{Request, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tidings_node::api::{DeadLetterInfo, DiscardInfo, RedriveInfo};
use tidings_node::handle::{LetterFilter, Letters};
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;

use crate::api::{Answer, Api, ok};
use crate::codes;
use crate::limits::{LETTERS_MAX, PAGE_BYTES_MAX};
use crate::moment::Moment;
use crate::page::append;
use crate::params::{Asked, Segments, group, offset, topic};
use crate::problem::Problem;

/// Which letters are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    group: Option<String>,
    topic: Option<TopicName>,
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
    text: Option<String>,
    since: Option<Moment>,
    until: Option<Moment>,
    /// Those behind this one: TOPIC@OFFSET.
    after: Option<String>,
    limit: Option<usize>,
}

/// Dead letters of all groups, or of one.
pub(crate) async fn list(State(api): State<Api>, Asked(wanted): Asked<Wanted>) -> Answer {
    let name = wanted.group.clone().map(group).transpose()?;
    listed(&api, name, wanted).await
}

/// Dead letters of one group.
pub(crate) async fn list_of(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    Asked(wanted): Asked<Wanted>,
) -> Answer {
    let name = group(name)?;
    if wanted.group.is_some() {
        return Err(Problem::new(codes::BAD_QUERY, "the group is in the path"));
    }
    listed(&api, Some(name), wanted).await
}

async fn listed(api: &Api, name: Option<GroupName>, wanted: Wanted) -> Answer {
    let Wanted { topic, kind, reason, text, since, until, after, limit, .. } = wanted;
    let after = after.as_deref().map(behind).transpose()?;
    if after.is_some() && name.is_none() {
        return Err(Problem::new(codes::BAD_QUERY, "`after` wants a group: letters of one only"));
    }
    let filter = LetterFilter {
        topic,
        kind,
        reason,
        text,
        since_ms: since.map(|since| since.at_ms(api.handle())),
        until_ms: until.map(|until| until.at_ms(api.handle())),
    };
    let n_max = limit.unwrap_or(LETTERS_MAX).clamp(1, LETTERS_MAX);
    let (letters, more) =
        api.handle().find_dead_letters(name.as_ref(), filter, after, n_max).await?;
    ok(&bounded(&letters, more))
}

fn behind(text: &str) -> Result<(TopicName, Offset), Problem> {
    let bad = || Problem::new(codes::BAD_QUERY, "`after` is TOPIC@OFFSET");
    let (name, at) = text.split_once('@').ok_or_else(bad)?;
    Ok((topic(name.to_owned())?, offset(at)?))
}

/// A bounded list, and how many letters that fit are not on it.
#[derive(Serialize)]
struct LetterList<'a> {
    letters: &'a [DeadLetterInfo],
    more: usize,
}

/// As many letters as one answer may hold. The first one is always on the list.
fn bounded(letters: &[DeadLetterInfo], more: usize) -> LetterList<'_> {
    let mut bytes = Vec::new();
    let fits = |letter: &&DeadLetterInfo| {
        let has_room = bytes.len() < PAGE_BYTES_MAX;
        append(&mut bytes, letter);
        has_room
    };
    let n_shown = letters.iter().take_while(fits).count();
    let (letters, rest) = letters.split_at(n_shown);
    LetterList { letters, more: more + rest.len() }
}

/// One dead letter.
pub(crate) async fn show(
    State(api): State<Api>,
    Segments((name, of, at)): Segments<(String, String, String)>,
) -> Answer {
    let (name, of, at) = (group(name)?, topic(of)?, offset(&at)?);
    ok(&api.handle().dead_letter(&name, &of, at).await?)
}

/// Another payload for a letter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// `null` is a payload, too.
    #[serde(default, deserialize_with = "some")]
    data: Option<Box<RawValue>>,
    data_base64: Option<String>,
}

fn some<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// Gives a dead letter another payload.
pub(crate) async fn edit(
    State(api): State<Api>,
    Segments((name, of, at)): Segments<(String, String, String)>,
    request: Request,
) -> Answer {
    let (name, of, at) = (group(name)?, topic(of)?, offset(&at)?);
    let payload = payload(api.read_json(request).await?)?;
    ok(&api.handle().edit(&name, &of, at, &payload).await?)
}

fn payload(edit: Edit) -> Result<Vec<u8>, Problem> {
    match edit {
        Edit { data: Some(data), data_base64: None } => Ok(data.get().as_bytes().to_vec()),
        Edit { data: None, data_base64: Some(text) } => STANDARD.decode(text).map_err(|error| {
            Problem::new(codes::WRONG_SHAPE, format!("data_base64 is not base64: {error}"))
        }),
        _ => Err(wrong(r#"{"data": …} or {"data_base64": "…"}"#)),
    }
}

/// What is meant, by its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meant {
    topic: TopicName,
    offset: u64,
}

pub(crate) fn named(meant: Vec<Meant>) -> Vec<(TopicName, Offset)> {
    meant.into_iter().map(|meant| (meant.topic, Offset::new(meant.offset))).collect()
}

/// What letters must be like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    topic: Option<TopicName>,
    #[serde(rename = "type")]
    kind: Option<String>,
    reason: Option<String>,
    text: Option<String>,
    since: Option<Moment>,
    until: Option<Moment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    letters: Vec<Meant>,
    #[serde(default)]
    all: bool,
    #[serde(rename = "where")]
    fits: Option<Where>,
    #[serde(default)]
    dry_run: bool,
}

/// Brings dead letters back into delivery.
pub(crate) async fn redrive(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let (name, letters, dry_run) = meant(&api, name, request).await?;
    let redriven = match dry_run {
        true => api.handle().count_dead(&name, letters).await?,
        false => api.handle().redrive(&name, letters).await?,
    };
    ok(&RedriveInfo { redriven, dry_run })
}

/// Takes dead letters away for good.
pub(crate) async fn discard(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let (name, letters, dry_run) = meant(&api, name, request).await?;
    let discarded = match dry_run {
        true => api.handle().count_dead(&name, letters).await?,
        false => api.handle().discard(&name, letters).await?,
    };
    ok(&DiscardInfo { discarded, dry_run })
}

/// Whose letters, which, and whether it is only asked how many.
async fn meant(
    api: &Api,
    name: String,
    request: Request,
) -> Result<(GroupName, Letters, bool), Problem> {
    let name = group(name)?;
    let which = api.read_json(request).await?;
    let (letters, dry_run) = chosen(which, |moment| moment.at_ms(api.handle()))?;
    Ok((name, letters, dry_run))
}

fn chosen(which: Which, at_ms: impl Fn(Moment) -> u64) -> Result<(Letters, bool), Problem> {
    let Which { letters, all, fits, dry_run } = which;
    let chosen = match (letters.is_empty(), all, fits) {
        (true, true, None) => Letters::All,
        (false, false, None) => Letters::These(named(letters)),
        (true, false, Some(fits)) => Letters::Where(LetterFilter {
            topic: fits.topic,
            kind: fits.kind,
            reason: fits.reason,
            text: fits.text,
            since_ms: fits.since.map(&at_ms),
            until_ms: fits.until.map(&at_ms),
        }),
        _ => {
            return Err(wrong(
                r#"{"all": true}, {"letters": [{"topic", "offset"}]} or {"where": {"topic", "type", "reason", "text", "since", "until"}}"#,
            ));
        }
    };
    // What fits everything would be all of them, by a slip of the pen.
    if chosen == Letters::Where(LetterFilter::default()) {
        return Err(wrong(r#""where" with one condition at least, or {"all": true}"#));
    }
    Ok((chosen, dry_run))
}

/// The body says none or several of these.
pub(crate) fn wrong(one_of: &str) -> Problem {
    Problem::new(codes::WRONG_SHAPE, format!("send {one_of}, one of them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Result<(Letters, bool), Problem> {
        chosen(serde_json::from_str(body).unwrap(), |_| 7)
    }

    /// To redrive everything by an empty list or condition would be a surprise: it is asked for by its
    /// name.
    #[test]
    fn a_redrive_names_what_it_means() {
        assert!(matches!(asked(r#"{"all":true}"#), Ok((Letters::All, false))));
        let one = asked(r#"{"letters":[{"topic":"users","offset":7}],"dry_run":true}"#);
        assert!(matches!(one, Ok((Letters::These(letters), true)) if letters.len() == 1));
        let fits = asked(r#"{"where":{"reason":"fatal","since":"10m"}}"#);
        let expected = LetterFilter {
            reason: Some("fatal".to_owned()),
            since_ms: Some(7),
            ..LetterFilter::default()
        };
        assert_eq!(fits.ok(), Some((Letters::Where(expected), false)));
        for bad in [
            "{}",
            r#"{"all":false}"#,
            r#"{"letters":[]}"#,
            r#"{"where":{}}"#,
            r#"{"all":true,"letters":[{"topic":"users","offset":7}]}"#,
            r#"{"all":true,"where":{"reason":"fatal"}}"#,
        ] {
            let status = asked(bad).err().map(|problem| problem.status().as_u16());
            assert_eq!(status, Some(422), "{bad}");
        }
    }

    #[test]
    fn an_edit_has_one_payload() {
        let edit = |body: &str| payload(serde_json::from_str(body).unwrap());
        assert_eq!(edit(r#"{"data":{"a": 1}}"#).unwrap(), br#"{"a": 1}"#);
        assert_eq!(edit(r#"{"data":null}"#).unwrap(), b"null");
        assert_eq!(edit(r#"{"data_base64":"AAE="}"#).unwrap(), [0, 1]);
        for bad in ["{}", r#"{"data":1,"data_base64":"AA=="}"#, r#"{"data_base64":"?"}"#] {
            assert_eq!(edit(bad).unwrap_err().status().as_u16(), 422, "{bad}");
        }
    }
}
