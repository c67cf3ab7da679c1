//! Cuts a file with one event a line into requests, and keeps each line's number in the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::de::IgnoredAny;

use crate::failure::Failure;

/// Lines of one request.
const LINES_MAX: usize = 1_000;
/// Bytes of one request, well below what a node takes as one.
const REQUEST_BYTES_MAX: usize = 512 << 10;

/// Cuts a file into requests. Blank lines go into none.
pub(super) struct Chunks<'a> {
    reader: Box<dyn BufRead>,
    file: &'a Path,
    /// Lines that were read, blank ones too.
    pub(super) n_lines: u64,
    /// A line that did not fit into the request before.
    left: Option<String>,
}

pub(super) struct Chunk {
    pub(super) body: String,
    /// The number in the file of each line of the body.
    pub(super) lines: Vec<u64>,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(reader: Box<dyn BufRead>, file: &'a Path) -> Self {
        Self { reader, file, n_lines: 0, left: None }
    }

    /// The next request; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, Failure> {
        let (mut body, mut lines) = (String::new(), Vec::new());
        while lines.len() < LINES_MAX {
            let Some(line) = self.full_line()? else { break };
            if !body.is_empty() && body.len() + line.len() > REQUEST_BYTES_MAX {
                self.n_lines -= 1;
                self.left = Some(line);
                break;
            }
            lines.push(self.n_lines);
            body.push_str(&line);
        }
        Ok((!lines.is_empty()).then_some(Chunk { body, lines }))
    }

    /// The next line that is not blank, with its end; `None` at the end of the file.
    fn full_line(&mut self) -> Result<Option<String>, Failure> {
        while let Some(line) = self.line()? {
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// The next line with its end, checked to be JSON or blank; `None` at the end of the file.
    fn line(&mut self) -> Result<Option<String>, Failure> {
        if let Some(line) = self.left.take() {
            self.n_lines += 1;
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let read = self.reader.read_until(b'\n', &mut line);
        if read.map_err(|error| unreadable(self.file, &error))? == 0 {
            return Ok(None);
        }
        self.n_lines += 1;
        let mut line = String::from_utf8(line).map_err(|error| {
            let column = error.utf8_error().valid_up_to() + 1;
            self.broken(&format!("not UTF-8 at column {column}"))
        })?;
        let json = line.trim_ascii_end();
        if !json.is_empty()
            && let Err(error) = serde_json::from_str::<IgnoredAny>(json)
        {
            let said = without_line(&error.to_string());
            return Err(self.broken(&format!("not JSON: {said}")));
        }
        if !line.ends_with('\n') {
            line.push('\n');
        }
        Ok(Some(line))
    }

    fn broken(&self, what: &str) -> Failure {
        let reason = format!("line {}: {what}", self.n_lines);
        Failure::File { path: self.file.to_owned(), reason }
    }
}

/// Opens the file, and says how long it is if that can be known.
pub(super) fn open(file: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    let n_bytes = opened.metadata().ok().map(|metadata| metadata.len());
    Ok((Box::new(BufReader::new(opened)), n_bytes))
}

pub(super) fn unreadable(path: impl AsRef<Path>, error: &io::Error) -> Failure {
    Failure::File { path: path.as_ref().to_owned(), reason: error.to_string() }
}

/// serde_json ends what it says with a place; each line is parsed by itself, so that it always
/// names line 1, and next to the line's own number that would mislead. The column stays.
pub(super) fn without_line(said: &str) -> String {
    let place = said.rsplit_once(" at line ");
    let place = place.and_then(|(what, place)| Some((what, place.split_once(" column ")?)));
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    match place {
        Some((what, (line, column))) if is_number(line) && is_number(column) => {
            format!("{what} at column {column}")
        }
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: impl Into<Vec<u8>>) -> Chunks<'static> {
        let reader = Box::new(io::Cursor::new(text.into()));
        Chunks::new(reader, Path::new("events.jsonl"))
    }

    /// Each event must go in exactly one request, and the numbers must be those of the file, or
    /// people repair the wrong lines. We cut by number, by size, and within blank lines.
    #[test]
    fn every_event_goes_in_one_request() {
        let big = format!("\"{}\"\n", "x".repeat(REQUEST_BYTES_MAX / 2));
        let text = format!("1\n\n2\n{big}\n{big}\r\n{}7", "3\n \n".repeat(LINES_MAX));
        let full = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
        let expected: Vec<(String, u64)> = full.map(|(line, at)| (line.to_owned(), at)).collect();
        let mut chunks = chunks(text);
        let mut sent = Vec::new();
        while let Some(Chunk { body, lines }) = chunks.next().unwrap() {
            assert!(body.len() <= REQUEST_BYTES_MAX && lines.len() <= LINES_MAX);
            assert_eq!(body.lines().count(), lines.len());
            sent.extend(body.lines().map(str::to_owned).zip(lines));
        }
        assert!(sent == expected, "an event is lost, doubled or misnumbered");
    }

    /// Blank lines must not look like the end of the file: we fill more than one request of them.
    #[test]
    fn events_behind_many_blank_lines_are_sent() {
        for n_blank in [LINES_MAX - 1, LINES_MAX, 2 * LINES_MAX] {
            let mut chunks = chunks("\n".repeat(n_blank) + "{}\n");
            let Chunk { body, lines } = chunks.next().unwrap().unwrap();
            assert_eq!((body.as_str(), lines), ("{}\n", vec![n_blank as u64 + 1]));
            assert!(chunks.next().unwrap().is_none());
        }
        assert!(chunks("\n \n\r\n").next().unwrap().is_none());
    }

    #[test]
    fn broken_line_is_named_by_its_number_in_the_file() {
        let told = |text: &[u8]| chunks(text).next().err().unwrap().to_string();
        let not_json = told(b"{}\n\n{\"type\"\n");
        assert!(not_json.starts_with("events.jsonl: line 3: not JSON: "), "{not_json}");
        assert!(!not_json.contains("at line"), "{not_json}");
        assert_eq!(told(b"{}\n\n\"\xff\"\n"), "events.jsonl: line 3: not UTF-8 at column 2");
    }
}
