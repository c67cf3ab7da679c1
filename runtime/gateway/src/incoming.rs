//! Reads published events from a body: one JSON object, or one on each line.
//!
//! Nothing is copied that need not be: words borrow from the body, and an event's data is stored as
//! the bytes that came, checked to be JSON and not looked into.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;
use tidings_types::event::{BadEvent, NewEvent};
use tidings_types::layout::headers;
use tidings_types::limits::HEADERS_BYTES_MAX;

use crate::codes;
use crate::problem::Problem;

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// Its line in the body, from 1; 0 if the body is one object.
    pub(crate) line: usize,
    /// Its id, if its publisher gave it one.
    pub(crate) id: Option<Text<'a>>,
    kind: Text<'a>,
    key: Text<'a>,
    time_ms: Option<u64>,
    headers: Vec<u8>,
    payload: &'a str,
}

impl Incoming<'_> {
    /// The event for the log; `id` and `now_ms` stand in where the publisher gave none.
    pub(crate) fn as_new<'b>(&'b self, id: &'b str, now_ms: u64) -> NewEvent<'b> {
        NewEvent {
            id: self.id.as_ref().map_or(id, |id| &id.0),
            kind: &self.kind.0,
            key: self.key.0.as_bytes(),
            time_ms: self.time_ms.unwrap_or(now_ms),
            headers: &self.headers,
            payload: self.payload.as_bytes(),
        }
    }

    /// Blames this event for what is wrong with it.
    pub(crate) fn blame(&self, problem: Problem) -> Problem {
        if self.line == 0 { problem } else { problem.at_line(self.line) }
    }
}

/// Reads a body of one event.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn read_one(body: &[u8]) -> Result<Incoming<'_>, Problem> {
    read_object(utf8(body, false)?, 0)
}

/// Reads a body of one event on each line. Empty lines are skipped, as the last one is empty.
///
/// # Errors
/// What is wrong with the first bad line. No other line was taken either.
pub(crate) fn read_lines(body: &[u8]) -> Result<Vec<Incoming<'_>>, Problem> {
    let lines = utf8(body, true)?.split('\n').zip(1..);
    let full = lines.filter(|(line, _)| !line.trim_ascii().is_empty());
    let events = full.map(|(line, at)| read_object(line, at)).collect::<Result<Vec<_>, _>>()?;
    if events.is_empty() {
        return Err(Problem::new(codes::WRONG_SHAPE, "body has no event"));
    }
    Ok(events)
}

fn utf8(body: &[u8], has_lines: bool) -> Result<&str, Problem> {
    str::from_utf8(body).map_err(|error| {
        let n_valid = error.valid_up_to();
        let before = body.get(..n_valid).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        let detail = format!("byte {n_valid} of the body is not UTF-8");
        let problem = Problem::new(codes::NOT_UTF8, detail);
        if has_lines { problem.at_line(line) } else { problem }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    key: Option<Text<'a>>,
    #[serde(borrow, default)]
    time: Option<Text<'a>>,
    #[serde(borrow, default)]
    headers: Vec<(Text<'a>, Text<'a>)>,
    #[serde(borrow)]
    data: &'a RawValue,
    // So that what was read from a topic can be published as it is.
    #[serde(default, rename = "offset")]
    _offset: IgnoredAny,
}

fn read_object(json: &str, line: usize) -> Result<Incoming<'_>, Problem> {
    let at_line = |problem: Problem| if line == 0 { problem } else { problem.at_line(line) };
    let wire: Wire<'_> =
        serde_json::from_str(json).map_err(|error| at_line(json_problem(&error)))?;
    let time_ms = wire.time.as_ref().map(|time| time_ms(&time.0)).transpose().map_err(at_line)?;
    Ok(Incoming {
        line,
        id: wire.id,
        kind: wire.kind,
        key: wire.key.unwrap_or_default(),
        time_ms,
        headers: put_headers(&wire.headers).map_err(|error| at_line(error.into()))?,
        payload: wire.data.get(),
    })
}

/// What serde_json says is wrong, told apart: no JSON at all, or JSON of another shape.
pub(crate) fn json_problem(error: &serde_json::Error) -> Problem {
    let code = match error.classify() {
        Category::Data => codes::WRONG_SHAPE,
        Category::Syntax | Category::Eof | Category::Io => codes::NOT_JSON,
    };
    Problem::new(code, error.to_string())
}

fn time_ms(time: &str) -> Result<u64, Problem> {
    let wrong = |why: &dyn fmt::Display| {
        let detail = format!("time {:?} is not RFC 3339 since 1970: {why}", cut_short(time));
        Problem::new(codes::BAD_EVENT, detail)
    };
    let time: Timestamp = time.parse().map_err(|error: jiff::Error| wrong(&error))?;
    u64::try_from(time.as_millisecond()).map_err(|error| wrong(&error))
}

fn cut_short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn put_headers(pairs: &[(Text<'_>, Text<'_>)]) -> Result<Vec<u8>, BadEvent> {
    let n_bytes = pairs.iter().map(|(name, value)| 4 + name.0.len() + value.0.len()).sum();
    if n_bytes > HEADERS_BYTES_MAX {
        return Err(BadEvent::HeadersTooLarge { n_bytes });
    }
    let mut target = Vec::with_capacity(n_bytes);
    for (name, value) in pairs {
        headers::put(&mut target, &name.0, &value.0);
    }
    Ok(target)
}

/// Text that borrows from the body unless it has escapes. (`Option<Cow<str>>` always copies.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy as _, any, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    fn code(result: Result<Incoming<'_>, Problem>) -> &'static str {
        result.unwrap_err().code().code
    }

    #[test]
    fn an_event_is_taken_as_it_came() {
        let body = r#"{"id":"e-1","type":"user.signed_up.v1","key":"u\"1",
            "time":"2026-01-02T03:04:05.678Z","headers":[["a","b"]],"data":{"x": [1, 2.50]},
            "offset":7}"#;
        let incoming = read_one(body.as_bytes()).unwrap();
        let event = incoming.as_new("unused", 1);
        assert_eq!((event.id, event.kind), ("e-1", "user.signed_up.v1"));
        assert_eq!(event.key, b"u\"1");
        assert_eq!(event.time_ms, 1_767_323_045_678);
        assert_eq!(headers::iter(event.headers), Ok(vec![("a", "b")]));
        // Not a byte of the data is changed: 2.50 stays 2.50.
        assert_eq!(event.payload, br#"{"x": [1, 2.50]}"#);
        assert!(matches!(&incoming.id, Some(Text(Cow::Borrowed(_)))));
    }

    #[test]
    fn what_is_absent_stands_in() {
        let incoming = read_one(br#"{"type":"a","data":null,"key":null}"#).unwrap();
        let event = incoming.as_new("fresh", 5);
        assert_eq!((event.id, event.key, event.time_ms), ("fresh", &b""[..], 5));
        assert_eq!((event.headers, event.payload), (&b""[..], &b"null"[..]));
    }

    #[test]
    fn bad_objects_are_told_apart() {
        for not_json in [
            "",
            "{",
            "[",
            "{\"type\":\"a\",\"data\":{}",
            r#"{"type":"a","data":1} {}"#,
            "{\"data\":tru}",
        ] {
            assert_eq!(code(read_one(not_json.as_bytes())), "T0201", "{not_json}");
        }
        for wrong_shape in [
            "[]",
            "7",
            "{}",
            r#"{"type":"a"}"#,
            r#"{"data":1}"#,
            r#"{"type":7,"data":1}"#,
            r#"{"type":"a","data":1,"tpye":1}"#,
            r#"{"type":"a","type":"b","data":1}"#,
            r#"{"type":"a","data":1,"key":5}"#,
        ] {
            assert_eq!(code(read_one(wrong_shape.as_bytes())), "T0203", "{wrong_shape}");
        }
        for time in ["yesterday", "2026-01-02", "1969-12-31T23:59:59Z", ""] {
            let body = json!({"type": "a", "data": 1, "time": time}).to_string();
            assert_eq!(code(read_one(body.as_bytes())), "T0120", "{time}");
        }
        let long = "x".repeat(HEADERS_BYTES_MAX);
        let body = json!({"type": "a", "data": 1, "headers": [["a", long]]}).to_string();
        assert_eq!(code(read_one(body.as_bytes())), "T0120");
        assert_eq!(code(read_one(b"{\"type\":\"a\",\"data\":\"\xc0\xa0\"}")), "T0202");
        // A bomb of brackets is neither recursed into nor taken.
        let bomb = format!("{{\"type\":\"a\",\"data\":{}", "[".repeat(1_000_000));
        assert_eq!(code(read_one(bomb.as_bytes())), "T0201");
    }

    /// A batch is all or nothing and says which line was wrong: we break line 7 of 10.
    #[test]
    fn the_bad_line_is_named() {
        let good = r#"{"type":"a","data":1}"#;
        let mut lines = [good; 10];
        let body = lines.join("\n") + "\r\n\n";
        let events = read_lines(body.as_bytes()).unwrap();
        assert_eq!(
            events.iter().map(|event| event.line).collect::<Vec<_>>(),
            (1..11).collect::<Vec<_>>()
        );

        for (bad, status) in [("{\"type\":", 400), ("{\"type\":\"a\"}", 422), ("x", 400)] {
            lines[6] = bad;
            let problem = read_lines(lines.join("\n").as_bytes()).unwrap_err();
            assert_eq!(problem.status(), status, "{bad}");
            assert!(problem.detail().starts_with("line 7: "), "{}", problem.detail());
        }
        lines[6] = good;
        let mut bytes = lines.join("\n").into_bytes();
        bytes[6 * (good.len() + 1) + 3] = 0xff;
        let problem = read_lines(&bytes).unwrap_err();
        assert_eq!(problem.status(), 400);
        assert!(problem.detail().starts_with("line 7: "), "{}", problem.detail());
        assert_eq!(read_lines(b" \n\n").unwrap_err().code(), codes::WRONG_SHAPE);
    }

    proptest! {
        /// Whatever bytes come, reading answers, and never panics.
        #[test]
        fn any_bytes_are_answered(bytes in any::<Vec<u8>>()) {
            let _ = read_one(&bytes);
            let _ = read_lines(&bytes);
        }

        /// Whatever is published comes out with the same content.
        #[test]
        fn events_round_trip(
            words in proptest::collection::vec(any::<String>(), 3),
            data in any::<f64>().prop_filter("JSON has no such number", |n| n.is_finite()),
        ) {
            let body = json!({"id": words[0], "type": words[1], "key": words[2], "data": data});
            let body = body.to_string();
            let incoming = read_one(body.as_bytes()).expect("made by serde_json");
            let event = incoming.as_new("", 0);
            prop_assert_eq!(event.id, &words[0]);
            prop_assert_eq!(event.kind, &words[1]);
            prop_assert_eq!(event.key, words[2].as_bytes());
            prop_assert_eq!(event.payload, serde_json::to_vec(&data).expect("a number"));
        }
    }
}
