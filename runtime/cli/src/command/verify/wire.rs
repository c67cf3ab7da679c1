//! The journal's lines, as they pass from the node under test to its judge: short text.
//!
//! ```text
//!   up 45123                                  it takes work, at this HTTP port
//!   start GROUP WORKER OFFSET EVENT KEY WHOLE ATTEMPT
//!   end GROUP WORKER OFFSET done|again|dead
//! ```
//!
//! A node dies in the middle of a line, so a reader takes whole lines only.

use std::fmt;

use tidings_check::history::Outcome;

/// One line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The node takes work.
    Up { port: u16 },
    /// A handler begins.
    Start {
        group: u32,
        worker: u64,
        offset: u64,
        event: u64,
        key: u64,
        is_whole: bool,
        attempt: u32,
    },
    /// A handler has ended.
    End { group: u32, worker: u64, offset: u64, outcome: Outcome },
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Up { port } => write!(f, "up {port}"),
            Self::Start { group, worker, offset, event, key, is_whole, attempt } => {
                let is_whole = u8::from(is_whole);
                write!(f, "start {group} {worker} {offset} {event} {key} {is_whole} {attempt}")
            }
            Self::End { group, worker, offset, outcome } => {
                let outcome = match outcome {
                    Outcome::Done => "done",
                    Outcome::Again => "again",
                    Outcome::Dead => "dead",
                    Outcome::Lost => "lost",
                };
                write!(f, "end {group} {worker} {offset} {outcome}")
            }
        }
    }
}

/// Reads a line, without its end; nothing if it is none.
pub(super) fn parse(line: &[u8]) -> Option<Entry> {
    let mut words = str::from_utf8(line).ok()?.split(' ');
    let entry = match words.next()? {
        "up" => Entry::Up { port: number(&mut words)? },
        "start" => Entry::Start {
            group: number(&mut words)?,
            worker: number(&mut words)?,
            offset: number(&mut words)?,
            event: number(&mut words)?,
            key: number(&mut words)?,
            is_whole: number::<u8>(&mut words)? == 1,
            attempt: number(&mut words)?,
        },
        "end" => Entry::End {
            group: number(&mut words)?,
            worker: number(&mut words)?,
            offset: number(&mut words)?,
            outcome: match words.next()? {
                "done" => Outcome::Done,
                "again" => Outcome::Again,
                "dead" => Outcome::Dead,
                _ => return None,
            },
        },
        _ => return None,
    };
    words.next().is_none().then_some(entry)
}

fn number<'a, T: std::str::FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<T> {
    words.next()?.parse().ok()
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
}

impl Lines {
    /// Takes what came, and gives each line that is whole now; `None` for one that cannot be read.
    pub(super) fn take(&mut self, bytes: &[u8], mut give: impl FnMut(Option<Entry>)) {
        let mut bytes = bytes;
        while let Some(at) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, behind) = bytes.split_at(at);
            if self.rest.is_empty() {
                give(parse(line));
            } else {
                self.rest.extend_from_slice(line);
                give(parse(&self.rest));
                self.rest.clear();
            }
            bytes = behind.get(1..).unwrap_or_default();
        }
        self.rest.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: [Entry; 4] = [
        Entry::Up { port: 45_123 },
        Entry::Start {
            group: 2,
            worker: u64::MAX,
            offset: 17,
            event: 18,
            key: 3,
            is_whole: true,
            attempt: 2,
        },
        Entry::End { group: 2, worker: 7, offset: 17, outcome: Outcome::Again },
        Entry::End { group: 0, worker: 1, offset: 0, outcome: Outcome::Dead },
    ];

    fn text() -> Vec<u8> {
        ENTRIES.iter().flat_map(|entry| format!("{entry}\n").into_bytes()).collect()
    }

    /// However the socket cuts the stream, the same lines must come out. We cut it everywhere, and
    /// then let it end everywhere: what is cut off must be no line and no panic.
    #[test]
    fn lines_come_whole_or_not_at_all() {
        let text = text();
        for at in 0..=text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            let (first, second) = text.split_at(at);
            lines.take(first, |entry| found.push(entry));
            let n_whole = first.iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(found.len(), n_whole);
            lines.take(second, |entry| found.push(entry));
            assert_eq!(found, ENTRIES.map(Some), "cut at {at}");
        }
    }

    /// What is no line must be seen as that: a half-read line would be believed.
    #[test]
    fn garbage_is_no_line() {
        for bad in [
            "",
            "up",
            "up x",
            "up 70000",
            "up 1 2",
            "start 1 2 3",
            "end 1 2 3 lost",
            "end 1 2 3",
            "start 0 1 2 3 4 1 1 1",
            "ended 0 1 2 done",
            "up  1",
            "end -1 2 3 done",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        let mut bytes = text();
        for at in 0..bytes.len() {
            for byte in [0, 0xff, b' ', b'\n'] {
                let before = std::mem::replace(&mut bytes[at], byte);
                Lines::default().take(&bytes, |_| ());
                bytes[at] = before;
            }
        }
    }
}
