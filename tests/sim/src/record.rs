//! What was seen, line by line, for the checker.

use tidings_check::history::{Line, Seen};

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Record {
    now_us: u64,
    lines: Vec<Line>,
}

impl Record {
    /// Time goes on.
    pub(crate) const fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    pub(crate) fn see(&mut self, seen: Seen) {
        self.lines.push(Line { at_us: self.now_us, seen });
    }

    pub(crate) fn into_lines(self) -> Vec<Line> {
        self.lines
    }
}
