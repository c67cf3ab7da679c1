//! `tidings publish`: one event from the command line, or a file of them.
//!
//! Of a file each request is all or nothing, and the requests go in order; so when one fails, what
//! was stored are the lines before it, and the failure says which.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::command::progress;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::count;
use crate::server::{JSON, NDJSON, Server, segment};

/// Lines of one request.
const LINES_MAX: usize = 1_000;
/// Bytes of one request, well below what a node takes as one.
const REQUEST_BYTES_MAX: usize = 512 << 10;

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
    let data = content(args.data.as_deref().unwrap_or_default())?;
    let mut event = json!({ "type": args.kind, "data": data });
    for (name, value) in [("key", args.key), ("id", args.id)] {
        if let (Some(value), Some(event)) = (value, event.as_object_mut()) {
            event.insert(name.to_owned(), value.into());
        }
    }
    let began = Instant::now();
    let path = events_path(&args.topic);
    let published: Published = server.post(&path, JSON, event.to_string()).await?;
    let took = began.elapsed();
    context.output.one(&published, |Published { id, topic, offset }| {
        format!("stored {topic} @{offset}  id {id}  in {:.1} ms", took.as_secs_f64() * 1e3)
    })?;
    context.output.next(&[&format!("tidings event {}", published.id)]);
    Ok(())
}

fn content(data: &str) -> Result<Box<RawValue>, Failure> {
    let mut text = data.to_owned();
    if data == "-" {
        text.clear();
        io::stdin().lock().read_to_string(&mut text).map_err(|error| unreadable("-", &error))?;
    }
    RawValue::from_string(text).map_err(|error| Failure::Usage {
        what: format!("the event's content is not JSON: {error}"),
        help: "a text needs its quotes: '\"hello\"'",
    })
}

async fn publish_file(
    context: &Context,
    server: &Server,
    topic: &str,
    file: &Path,
) -> Result<(), Failure> {
    let (reader, n_bytes) = open(file)?;
    let bar = progress::bytes(&context.output, n_bytes);
    let mut chunks = Chunks { reader, file, n_lines: 0, left: None };
    let (began, path) = (Instant::now(), events_path(topic));
    let (mut n_events, mut first_offset) = (0, None);
    loop {
        let n_lines_stored = chunks.n_lines;
        // A broken line is found before its request leaves: then that one is not sent at all.
        let chunk = chunks.next().map_err(|cause| partly(n_lines_stored, None, cause))?;
        let Some(Chunk { body, first_line, last_line }) = chunk else { break };
        let n_bytes = body.len();
        let published: BatchPublished = server
            .post(&path, NDJSON, body)
            .await
            .map_err(|cause| partly(first_line - 1, Some((first_line, last_line)), cause))?;
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
        format!("stored {} events in {topic}  in {wall_s:.2} s  ({per_second}/s)", count(*events))
    })?;
    let from = first_offset.unwrap_or(0);
    context.output.next(&[&format!("tidings tail {} --from {from}", done.topic)]);
    Ok(())
}

/// Says which lines are stored, which are not, and which may be.
fn partly(n_lines_stored: u64, sent: Option<(u64, u64)>, cause: Failure) -> Failure {
    let stored = match n_lines_stored {
        0 => "no line is surely stored".to_owned(),
        n_lines => format!("lines 1 to {n_lines} are stored"),
    };
    let stored = match sent {
        Some((first, last)) if cause.exit() == 4 => {
            format!("{stored}, lines {first} to {last} may be, the rest is not")
        }
        Some((first, last)) => {
            let of_file = |line| format!(", because of line {} of the file", first - 1 + line);
            let blamed = match &cause {
                Failure::Refused(problem) => problem.line.map(of_file).unwrap_or_default(),
                _ => String::new(),
            };
            format!("{stored}, lines {first} to {last} and the rest are not{blamed}")
        }
        None => format!("{stored}, the rest is not"),
    };
    Failure::Partly { stored, cause: Box::new(cause) }
}

fn events_path(topic: &str) -> String {
    format!("/v1/topics/{}/events", segment(topic))
}

/// Opens the file, and says how long it is if that can be known.
fn open(file: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    let n_bytes = opened.metadata().ok().map(|metadata| metadata.len());
    Ok((Box::new(BufReader::new(opened)), n_bytes))
}

fn unreadable(path: impl AsRef<Path>, error: &io::Error) -> Failure {
    Failure::File { path: path.as_ref().to_owned(), reason: error.to_string() }
}

/// Cuts a file into requests.
struct Chunks<'a> {
    reader: Box<dyn BufRead>,
    file: &'a Path,
    n_lines: u64,
    /// A line that did not fit into the request before.
    left: Option<String>,
}

struct Chunk {
    body: String,
    first_line: u64,
    last_line: u64,
}

impl Chunks<'_> {
    /// The next request; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Chunk>, Failure> {
        let mut body = String::new();
        let first_line = self.n_lines + 1;
        let mut n_lines = 0;
        while n_lines < LINES_MAX {
            let Some(line) = self.line()? else { break };
            if !body.is_empty() && body.len() + line.len() > REQUEST_BYTES_MAX {
                self.n_lines -= 1;
                self.left = Some(line);
                break;
            }
            n_lines += 1;
            body.push_str(&line);
        }
        let last_line = self.n_lines;
        Ok((!body.trim().is_empty()).then_some(Chunk { body, first_line, last_line }))
    }

    /// The next line with its end, checked to be JSON; `None` at the end of the file.
    fn line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = self.left.take().unwrap_or_default();
        if line.is_empty() {
            let read = self.reader.read_line(&mut line);
            read.map_err(|error| unreadable(self.file, &error))?;
        }
        if line.is_empty() {
            return Ok(None);
        }
        self.n_lines += 1;
        if !line.trim().is_empty()
            && let Err(error) = serde_json::from_str::<IgnoredAny>(&line)
        {
            let reason = format!("line {}: not JSON: {error}", self.n_lines);
            return Err(Failure::File { path: self.file.to_owned(), reason });
        }
        if !line.ends_with('\n') {
            line.push('\n');
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str) -> Chunks<'_> {
        let reader = Box::new(io::Cursor::new(text.to_owned().into_bytes()));
        Chunks { reader, file: Path::new("events.jsonl"), n_lines: 0, left: None }
    }

    /// Each line must go in exactly one request, and the numbers must be those of the file, or
    /// people repair the wrong lines. We cut by number, by size, and within blank lines.
    #[test]
    fn every_line_goes_in_one_request() {
        let big = format!("\"{}\"\n", "x".repeat(REQUEST_BYTES_MAX / 2));
        let text = format!("1\n\n2\n{big}{big}{}", "3\n".repeat(LINES_MAX));
        let mut chunks = chunks(&text);
        let (mut sent, mut next_line) = (String::new(), 1);
        while let Some(chunk) = chunks.next().unwrap() {
            assert!(chunk.body.len() <= REQUEST_BYTES_MAX);
            assert_eq!(chunk.first_line, next_line);
            next_line = chunk.last_line + 1;
            sent.push_str(&chunk.body);
        }
        assert_eq!(sent, text);
        assert_eq!(next_line, 1 + text.lines().count() as u64);
    }

    #[test]
    fn broken_line_is_named_by_its_number_in_the_file() {
        let failure = chunks("{}\n\n{\"type\"\n").next().err().unwrap();
        assert!(failure.to_string().starts_with("events.jsonl: line 3: not JSON"), "{failure}");
        let unknown =
            || Failure::Lost { server: "http://x".to_owned(), reason: "reset".to_owned() };
        let told = partly(10, Some((11, 20)), unknown()).to_string();
        assert!(told.starts_with("lines 1 to 10 are stored, lines 11 to 20 may be"), "{told}");
    }
}
