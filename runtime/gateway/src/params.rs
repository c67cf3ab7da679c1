//! Reads what a request says beside its body: path, query, media types.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use serde::de::DeserializeOwned;
use tidings_types::name::{BadName, GroupName, TopicName};
use tidings_types::offset::Offset;

use crate::codes;
use crate::page::Format;
use crate::problem::Problem;

/// The variable parts of a path, decoded.
pub(crate) struct Segments<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        match path {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(error) => Err(Problem::new(codes::BAD_PATH, error.body_text())),
        }
    }
}

/// The query, read into a struct.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        match query {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(Problem::new(codes::BAD_QUERY, error.body_text())),
        }
    }
}

/// A topic's name from a path.
pub(crate) fn topic(name: String) -> Result<TopicName, Problem> {
    TopicName::new(name).map_err(|error| bad_name("topic", &error))
}

/// A group's name from a path.
pub(crate) fn group(name: String) -> Result<GroupName, Problem> {
    GroupName::new(name).map_err(|error| bad_name("group", &error))
}

fn bad_name(what: &str, error: &BadName) -> Problem {
    Problem::new(codes::BAD_PATH, format!("{what} {error}"))
}

/// An offset from a path.
pub(crate) fn offset(text: &str) -> Result<Offset, Problem> {
    text.parse().map(Offset::new).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Problem::new(codes::BAD_PATH, format!("offset {shown:?} is not a number from 0 on"))
    })
}

/// What a published body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// One event.
    One,
    /// An event on each line.
    Lines,
}

/// What the body of a publish says it is.
///
/// # Errors
/// If it is nothing that a topic takes.
pub(crate) fn publish_content(headers: &HeaderMap) -> Result<Content, Problem> {
    let found = media_type(headers)?;
    if found.eq_ignore_ascii_case("application/json") {
        return Ok(Content::One);
    }
    if found.eq_ignore_ascii_case("application/x-ndjson") {
        return Ok(Content::Lines);
    }
    Err(content_problem(found, "application/json for one event or application/x-ndjson for many"))
}

/// Demands a body of JSON. A page of another site cannot send one unasked, so this keeps such
/// pages from commanding a node on loopback.
///
/// # Errors
/// If it is something else.
pub(crate) fn demand_json(headers: &HeaderMap) -> Result<(), Problem> {
    let found = media_type(headers)?;
    if found.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(content_problem(found, "application/json"))
}

fn media_type(headers: &HeaderMap) -> Result<&str, Problem> {
    if let Some(coding) = text(headers, header::CONTENT_ENCODING)
        && !coding.eq_ignore_ascii_case("identity")
    {
        let detail = "content-encoding is not supported; send the body as it is";
        return Err(Problem::new(codes::CONTENT_TYPE, detail));
    }
    let found = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    Ok(found.split(';').next().unwrap_or_default().trim())
}

fn content_problem(found: &str, wanted: &str) -> Problem {
    let shown: String = found.chars().take(80).collect();
    let shown = if shown.is_empty() { "no content-type".to_owned() } else { format!("{shown:?}") };
    Problem::new(codes::CONTENT_TYPE, format!("{shown} was sent; send {wanted}"))
}

/// The format of a page that the reader wants.
pub(crate) fn page_format(headers: &HeaderMap) -> Format {
    let accepted = text(headers, header::ACCEPT).unwrap_or_default();
    let mut ranges = accepted.split(',').map(|range| range.split(';').next().unwrap_or_default());
    if ranges.any(|range| range.trim().eq_ignore_ascii_case("application/x-ndjson")) {
        Format::Lines
    } else {
        Format::Json
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn content_types_are_matched_by_their_essence() {
        for (value, expected) in [
            ("application/json", Some(Content::One)),
            ("Application/JSON; charset=utf-8", Some(Content::One)),
            ("application/x-ndjson", Some(Content::Lines)),
            ("application/x-www-form-urlencoded", None),
            ("text/plain", None),
            ("", None),
        ] {
            let found = publish_content(&with(header::CONTENT_TYPE, value));
            assert_eq!(found.ok(), expected, "{value}");
        }
        assert_eq!(publish_content(&HeaderMap::new()).unwrap_err().status(), 415);
        let mut zipped = with(header::CONTENT_TYPE, "application/json");
        zipped.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(publish_content(&zipped).unwrap_err().status(), 415);
        assert_eq!(demand_json(&zipped).unwrap_err().status(), 415);
    }

    #[test]
    fn pages_are_lines_for_those_who_ask() {
        for (value, expected) in [
            ("application/x-ndjson", Format::Lines),
            ("text/html, application/x-ndjson;q=0.9", Format::Lines),
            ("*/*", Format::Json),
            ("application/json", Format::Json),
        ] {
            assert_eq!(page_format(&with(header::ACCEPT, value)), expected, "{value}");
        }
    }

    #[test]
    fn names_and_offsets_are_checked_at_the_edge() {
        for bad in ["", "Users", "../x", "a\0", "a/b"] {
            assert_eq!(topic(bad.to_owned()).unwrap_err().status(), 400, "{bad}");
            assert_eq!(group(bad.to_owned()).unwrap_err().status(), 400, "{bad}");
        }
        assert_eq!(offset("17"), Ok(Offset::new(17)));
        for bad in ["", "-1", "1.5", "18446744073709551616", "x"] {
            assert_eq!(offset(bad).unwrap_err().status(), 400, "{bad}");
        }
    }
}
