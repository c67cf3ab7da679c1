//! What happened, as a hash always and as lines for people when they ask.
//!
//! The hash takes in the moment, the place and the content of all that happens, so two runs that
//! differ anywhere differ in it. Lines cost time, so they are made only when they are wanted.

use std::fmt::Write;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    text: Option<String>,
}

impl Trace {
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, text: is_wanted.then(String::new) }
    }

    /// Takes a number into the hash.
    pub(crate) const fn note(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    }

    /// Adds a line, if lines are wanted.
    pub(crate) fn line(&mut self, at_us: u64, line: impl FnOnce() -> String) {
        if let Some(text) = &mut self.text {
            let (seconds, micros) = (at_us / 1_000_000, at_us % 1_000_000);
            writeln!(text, "{seconds:3}.{micros:06} {}", line()).expect("a string takes all");
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }
}
