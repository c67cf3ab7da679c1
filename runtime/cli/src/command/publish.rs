//! `tidings publish`: one event from the command line, or a file of them.
//!
//! Content goes out as it was typed, byte for byte: a number of more digits than ours keeps them.
//! Of a file each request is all or nothing, and the requests go in order; so when one fails, what
//! was stored are the lines before it, and the failure says which.

mod chunks;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::command::progress;
use crate::command::publish::chunks::{Chunk, Chunks, open, unreadable, without_line};
use crate::context::Context;
use crate::failure::{Failure, Problem};
use crate::output::{count, counted, word};
use crate::server::{JSON, NDJSON, Server, segment};

/// What to publish.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic
    topic: String,
    /// The event's content as JSON; - reads it from standard input
    #[arg(required_unless_present = "file")]
    data: Option<String>,
    /// The name of the event's type and version, such as user.signed_up.v1
    #[arg(long = "type", value_name = "TYPE", required_unless_present = "file")]
    kind: Option<String>,
    /// Events of one key are handled in order
    #[arg(short, long)]
    key: Option<String>,
    /// The event's id; without one the node makes it
    #[arg(long)]
    id: Option<String>,
    /// A file with one event a line, as {"type","key"?,"id"?,"time"?,"data"}; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "kind", "key", "id"])]
    file: Option<PathBuf>,
}

/// An event as it goes out.
#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    data: &'a RawValue,
}

#[derive(Debug, Serialize, Deserialize)]
struct Published {
    id: String,
    topic: String,
    offset: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct BatchPublished {
    topic: String,
    first_offset: u64,
    count: u64,
}

#[derive(Debug, Serialize)]
struct FilePublished {
    topic: String,
    lines: u64,
    events: u64,
    first_offset: Option<u64>,
    wall_s: f64,
}

/// Runs the command.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let server = context.server()?;
    match &args.file {
        Some(file) => publish_file(context, &server, &args.topic, file).await,
        None => publish_one(context, &server, args).await,
    }
}

async fn publish_one(context: &Context, server: &Server, args: Args) -> Result<(), Failure> {
    let body = outgoing(&args)?;
    let began = Instant::now();
    let path = events_path(&args.topic);
    let published: Published = server.post(&path, JSON, body).await?;
    let took = began.elapsed();
    context.output.one(&published, |Published { id, topic, offset }| {
        format!("stored {topic} @{offset}  id {id}  in {:.1} ms", took.as_secs_f64() * 1e3)
    })?;
    context.output.next(&[&format!("tidings event {}", word(&published.id))]);
    Ok(())
}

fn outgoing(args: &Args) -> Result<String, Failure> {
    let data = content(args.data.as_deref().unwrap_or_default())?;
    let [kind, key, id] = [&args.kind, &args.key, &args.id].map(Option::as_deref);
    let event = Outgoing { kind, key, id, data: &data };
    Ok(serde_json::to_string(&event).expect("text and checked JSON can be written"))
}

/// An event's content as it was given, or read from standard input for `-`.
///
/// # Errors
/// If it cannot be read, or is not JSON.
pub(crate) fn content(data: &str) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(given(data)?).map_err(|error| Failure::Usage {
        what: format!("the event's content is not JSON: {error}"),
        help: "a text needs its quotes: '\"hello\"'",
    })
}

/// Text as it was given, or standard input for `-`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn given(data: &str) -> Result<String, Failure> {
    if data != "-" {
        return Ok(data.to_owned());
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(|error| unreadable("-", &error))?;
    Ok(text)
}

async fn publish_file(
    context: &Context,
    server: &Server,
    topic: &str,
    file: &Path,
) -> Result<(), Failure> {
    let (reader, n_bytes) = open(file)?;
    let bar = progress::bytes(&context.output, n_bytes);
    let mut chunks = Chunks::new(reader, file);
    let mut last_line_stored = 0;
    let (began, path) = (Instant::now(), events_path(topic));
    let (mut n_events, mut first_offset) = (0, None);
    loop {
        // A broken line is found before its request leaves: then that one is not sent at all.
        let chunk = chunks.next().map_err(|cause| partly(last_line_stored, &[], cause))?;
        let Some(Chunk { body, lines }) = chunk else { break };
        let n_bytes = body.len();
        let published: BatchPublished = server
            .post(&path, NDJSON, body)
            .await
            .map_err(|cause| partly(last_line_stored, &lines, cause))?;
        last_line_stored = lines.last().copied().unwrap_or(last_line_stored);
        n_events += published.count;
        first_offset = first_offset.or(Some(published.first_offset));
        bar.inc(n_bytes as u64);
    }
    bar.finish_and_clear();
    let (topic, wall_s) = (topic.to_owned(), began.elapsed().as_secs_f64());
    let lines = chunks.n_lines;
    let done = FilePublished { topic, lines, events: n_events, first_offset, wall_s };
    context.output.one(&done, |done| {
        let per_second = count((done.events as f64 / done.wall_s.max(1e-9)) as u64);
        let FilePublished { topic, events, wall_s, .. } = done;
        let events = counted(*events, "event");
        format!("stored {events} in {topic}  in {wall_s:.2} s  ({per_second}/s)")
    })?;
    if let Some(from) = first_offset {
        context.output.next(&[&format!("tidings tail {} --from {from}", done.topic)]);
    }
    Ok(())
}

/// Says what of a file is stored, after a request with these `lines` failed; there are none if no
/// request left. Lines are told by their numbers in the file, from 1.
fn partly(last_line_stored: u64, lines: &[u64], cause: Failure) -> Failure {
    let sure = match last_line_stored {
        0 => None,
        1 => Some("line 1 is stored".to_owned()),
        last => Some(format!("lines 1 to {last} are stored")),
    };
    let is_any_stored = sure.is_some();
    let stored = match (sure, lines.first().zip(lines.last())) {
        (sure, Some((first, last))) if may_be_done(&cause) => {
            let sure = sure.map(|sure| sure + ", ").unwrap_or_default();
            let lines = if first == last {
                format!("line {first}")
            } else {
                format!("lines {first} to {last}")
            };
            format!("{sure}{lines} may be stored, the rest is not")
        }
        (Some(sure), _) => format!("{sure}, the rest is not"),
        (None, _) => "nothing is stored".to_owned(),
    };
    let cause = Box::new(in_file(lines, cause));
    Failure::Partly { stored, is_any_stored, cause }
}

/// Whether a request that ended so was perhaps carried out.
fn may_be_done(cause: &Failure) -> bool {
    match cause {
        // It was done, or we asked something that is no node.
        Failure::NotUnderstood { .. } => true,
        // What has no code of ours comes from something between us and the node.
        Failure::Refused(problem) if problem.code.is_empty() && problem.status >= 500 => true,
        cause => cause.exit() == 4,
    }
}

/// The node names a line by its number in the request; people look for it in the file.
fn in_file(lines: &[u64], cause: Failure) -> Failure {
    let Failure::Refused(mut problem) = cause else { return cause };
    let Some(of_request) = problem.line else { return Failure::Refused(problem) };
    let idx = usize::try_from(of_request).ok().and_then(|line| line.checked_sub(1));
    if let Some(line) = idx.and_then(|idx| lines.get(idx)) {
        let Problem { detail, title, .. } = &*problem;
        let said = if detail.is_empty() { title } else { detail };
        let said = said.strip_prefix(&format!("line {of_request}: ")).unwrap_or(said);
        problem.detail = format!("line {line}: {}", without_line(said));
        problem.line = Some(*line);
    }
    Failure::Refused(problem)
}

fn events_path(topic: &str) -> String {
    format!("/v1/topics/{}/events", segment(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is typed must be what is stored, whatever we could make of it. We send what a number
    /// or a string of Rust cannot hold.
    #[test]
    fn content_goes_out_as_it_was_typed() {
        for data in [
            "1e999",
            r#""\ud800""#,
            "1.50",
            "12345678901234567890123",
            r#"{"b": 1,  "a": 2, "b": 3}"#,
        ] {
            let args = Args {
                topic: "users".to_owned(),
                data: Some(data.to_owned()),
                kind: Some("a.v1".to_owned()),
                key: Some("k\"".to_owned()),
                id: None,
                file: None,
            };
            let expected = format!(r#"{{"type":"a.v1","key":"k\"","data":{data}}}"#);
            assert_eq!(outgoing(&args).unwrap(), expected);
        }
    }

    fn refused(line: Option<u64>, retry: &str) -> Failure {
        let at = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        Failure::Refused(Box::new(Problem {
            detail: format!("{at}missing field `data` at line 1 column 12"),
            code: "T0203".to_owned(),
            status: 422,
            retry: retry.to_owned(),
            help: Some("look; nothing was stored".to_owned()),
            line,
            ..Problem::default()
        }))
    }

    /// People publish the rest after a failure: what may be stored must not be called lost, and
    /// what is stored must not be called nothing.
    #[test]
    fn what_is_stored_is_told() {
        let lost = || Failure::Lost { server: "http://x".to_owned(), reason: "reset".to_owned() };
        let foreign = Failure::Refused(Box::new(Problem { status: 502, ..Problem::default() }));
        for (stored, lines, cause, expected) in [
            (
                10,
                &[11, 13, 20][..],
                lost(),
                "lines 1 to 10 are stored, lines 11 to 20 may be stored, the rest is not; ",
            ),
            (0, &[1, 2], lost(), "lines 1 to 2 may be stored, the rest is not; "),
            (0, &[3], foreign, "line 3 may be stored, the rest is not; "),
            (0, &[1, 2], refused(None, "never"), "nothing is stored; missing"),
            (
                1,
                &[2, 4],
                refused(Some(2), "never"),
                "line 1 is stored, the rest is not; line 4: missing field `data` at column 12",
            ),
            (0, &[], refused(None, "never"), "nothing is stored; "),
        ] {
            let told = partly(stored, lines, cause).to_string();
            assert!(told.starts_with(expected), "{told:?} is not {expected:?}");
        }
        let told = partly(10, &[11], refused(Some(1), "never")).told();
        assert!(!told.contains("nothing was stored"), "{told}");
        assert!(partly(0, &[1], refused(Some(1), "never")).told().contains("nothing was stored"));
    }
}
