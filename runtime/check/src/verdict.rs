//! The verdict on a history: valid, invalid, or unknown because it proves nothing.

use std::fmt;

use crate::facts::build;
use crate::findings::Findings;
use crate::history::Line;
use crate::invariant;
use crate::ledger::Tally;
use crate::violation::{Invariant, NotChecked, Violation};

/// What a history proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// All that could be checked holds, and enough was seen.
    Valid,
    /// Something does not hold.
    Invalid,
    /// Nothing is wrong, but too little was seen. Counts as a failure.
    Unknown,
}

/// The verdict on one history.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// In one word.
    pub judgement: Judgement,
    /// What does not hold: at most one for each invariant, in their order.
    pub violations: Vec<Violation>,
    /// Why too little was seen. May be there beside violations.
    pub doubts: Vec<String>,
    /// What could not be checked, wholly or in part, for want of lines.
    pub not_checked: Vec<NotChecked>,
    /// The figures.
    pub tally: Tally,
}

impl Verdict {
    /// 0 if valid, 1 if invalid, 2 if unknown.
    pub fn exit_code(&self) -> u8 {
        match self.judgement {
            Judgement::Valid => 0,
            Judgement::Invalid => 1,
            Judgement::Unknown => 2,
        }
    }

    /// Whether all is well.
    pub fn is_valid(&self) -> bool {
        self.judgement == Judgement::Valid
    }

    /// The violation of an invariant, if there is one.
    pub fn violation(&self, invariant: Invariant) -> Option<&Violation> {
        self.violations.iter().find(|violation| violation.invariant == invariant)
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        for NotChecked { invariant, why } in &self.not_checked {
            writeln!(f, "not checked  {invariant}: {why}")?;
        }
        for doubt in &self.doubts {
            writeln!(f, "too little   {doubt}")?;
        }
        write!(f, "{}", self.judgement)
    }
}

/// Judges a history. Never panics, whatever the lines are.
pub fn check(lines: &[Line]) -> Verdict {
    let facts = build::facts(lines);
    let mut findings = Findings::new(&facts);
    invariant::judge(&facts, &mut findings);
    let mut tally = findings.tally.clone();
    tally.missing = findings.n_missing;
    tally.out_of_order = findings.n_out_of_order;
    (tally.duplicates, tally.duplicates_bound) = findings.repeats;
    let Findings { violations, not_checked, doubts, .. } = findings;
    let judgement = match (violations.is_empty(), doubts.is_empty()) {
        (false, _) => Judgement::Invalid,
        (true, false) => Judgement::Unknown,
        (true, true) => Judgement::Valid,
    };
    Verdict { judgement, violations, doubts, not_checked, tally }
}
