//! Reads and writes a history as text: one JSON object a line.
//!
//! A run may be cut short, by a full disk or by whoever waited for it. What it wrote until then is
//! worth reading, so an unfinished last line is told apart from a line that is wrong.

use std::io::{self, BufRead, Write};

use thiserror::Error;

use crate::history::Line;

/// A line longer than this is refused before it is read whole.
pub const LINE_BYTES_MAX: u64 = 16 << 20;

/// Why the next line of a history cannot be had. Lines are counted from 1.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The source failed.
    #[error("line {line} of the history cannot be read: {source}")]
    Io {
        /// Which line.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// The line is whole, and it is not one of a history.
    #[error("line {line} of the history is wrong: {source}")]
    Wrong {
        /// Which line.
        line: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// The line exceeds [`LINE_BYTES_MAX`].
    #[error("line {line} of the history exceeds 16 MiB")]
    TooLong {
        /// Which line.
        line: u64,
    },
    /// The last line has no end: the run was cut short while it was written. All lines before it
    /// are good.
    #[error("line {line} of the history is unfinished: the run was cut short")]
    CutShort {
        /// Which line.
        line: u64,
    },
}

/// The lines of a history, one after the other. Ends after the first error.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    n_read: u64,
    buffer: Vec<u8>,
    is_over: bool,
}

/// Begins to read a history.
pub fn read<R: BufRead>(source: R) -> Lines<R> {
    Lines { source, n_read: 0, buffer: Vec::new(), is_over: false }
}

impl<R: BufRead> Lines<R> {
    fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        self.buffer.clear();
        let line = self.n_read + 1;
        let mut bounded = io::Read::take(&mut self.source, LINE_BYTES_MAX + 1);
        bounded
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| ReadError::Io { line, source })?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        if LINE_BYTES_MAX < self.buffer.len() as u64 {
            return Err(ReadError::TooLong { line });
        }
        self.n_read = line;
        let is_whole = self.buffer.last() == Some(&b'\n');
        match serde_json::from_slice(&self.buffer) {
            Ok(read) => Ok(Some(read)),
            Err(_) if !is_whole => Err(ReadError::CutShort { line }),
            Err(source) => Err(ReadError::Wrong { line, source }),
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.next_line().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A history that was read to its end.
#[derive(Debug)]
pub struct Loaded {
    /// Its whole lines.
    pub lines: Vec<Line>,
    /// Whether an unfinished line followed them.
    pub is_cut_short: bool,
}

/// Reads a whole history. One that was cut short is given as far as it goes; it has no
/// [`End`](crate::history::Seen::End), so its verdict is at best unknown.
///
/// # Errors
/// All of [`ReadError`] but `CutShort`.
pub fn load(source: impl BufRead) -> Result<Loaded, ReadError> {
    let mut loaded = Loaded { lines: Vec::new(), is_cut_short: false };
    for line in read(source) {
        match line {
            Ok(line) => loaded.lines.push(line),
            Err(ReadError::CutShort { .. }) => loaded.is_cut_short = true,
            Err(error) => return Err(error),
        }
    }
    Ok(loaded)
}

/// Writes one line, with its end. The target should be buffered.
///
/// # Errors
/// Those of the target.
pub fn write(line: &Line, target: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *target, line)?;
    target.write_all(b"\n")
}
