//! How much is tried, and what came of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Args {
    /// Decides what is tossed for.
    pub seed: u64,
    /// Each call, each second one, and so on.
    pub every: u64,
    /// Whether to stop at the first violation.
    pub stops: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self { seed: 1, every: 1, stops: false }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Calls of the disk that were the last one, over all lives.
    pub n_points: u64,
    /// Crashes and failures that were tried: each point with each fate.
    pub n_runs: u64,
    /// Bits that were flipped.
    pub n_flips: u64,
    /// What should not be; the first ones are told.
    pub violations: Vec<String>,
    /// One line for each kind of life.
    pub lines: Vec<String>,
}

impl Summary {
    /// Whether all is as it must be.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn note(&mut self, what: String, result: Result<(), String>) {
        if let Err(why) = result {
            self.violations.push(format!("{what}: {why}"));
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        for violation in self.violations.iter().take(20) {
            writeln!(f, "VIOLATION {violation}")?;
        }
        write!(
            f,
            "{} crash points, {} runs, {} bits flipped, {} violations",
            self.n_points,
            self.n_runs,
            self.n_flips,
            self.violations.len()
        )
    }
}

/// A panic is a violation, and no end of the enumeration.
pub(crate) fn guarded(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}
