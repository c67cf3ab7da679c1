//! What a run must never show, and how the smallest proof that it did is told.

use std::fmt;

use crate::history::{Event, Line};

/// What must hold in every run. Each has a file of its own under `invariant/`, which says what it
/// means for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No acknowledged event is lost.
    I1,
    /// Nothing is read that was not sent, and nothing is altered.
    I2,
    /// An offset holds one event, for all and for ever.
    I3,
    /// An acknowledgement tells the truth.
    I4,
    /// Events of one publisher keep its order.
    I5,
    /// What was acknowledged before a call began lies before it in the log.
    I6,
    /// Only what is in the log was ever delivered.
    I7,
    /// Events of one key are handled one after the other, in order.
    I8,
    /// A group's floor never goes back and never passes an unsettled event.
    I9,
    /// Attempts are counted, and an event is given up once, for a reason.
    I10,
    /// One outcome is accepted for an event, and none of a member that was taken out.
    I11,
    /// What a group did for a key is what the log says, in the log's order.
    I12,
    /// Nothing is done twice without a cause.
    I13,
    /// Replicas agree.
    I14,
    /// Terms and positions do not go back; a term has one leader.
    I15,
    /// What is acknowledged was on the disks of a majority before.
    I16,
    /// Once all faults are over, the system is whole again.
    I17,
    /// No part of the system breaks by itself, and errors are typed.
    I19,
    /// The run saw enough to prove something.
    I20,
}

impl Invariant {
    /// All, in order.
    pub const ALL: [Self; 19] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I14,
        Self::I15,
        Self::I16,
        Self::I17,
        Self::I19,
        Self::I20,
    ];

    /// In a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::I1 => "no acknowledged event is lost",
            Self::I2 => "nothing is altered or made up",
            Self::I3 => "an offset holds one event",
            Self::I4 => "an acknowledgement tells the truth",
            Self::I5 => "a publisher's order is kept",
            Self::I6 => "what was acknowledged first lies first",
            Self::I7 => "only what is in the log is delivered",
            Self::I8 => "order per key",
            Self::I9 => "the floor passes only what is settled",
            Self::I10 => "attempts are counted, given up once",
            Self::I11 => "one outcome is accepted",
            Self::I12 => "effects follow the log",
            Self::I13 => "repeats have a cause",
            Self::I14 => "replicas agree",
            Self::I15 => "terms and positions never go back",
            Self::I16 => "acknowledged means durable on a majority",
            Self::I17 => "whole again after the faults",
            Self::I19 => "nothing breaks by itself",
            Self::I20 => "enough was seen",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} {}", self.title())
    }
}

/// An invariant that does not hold, with the smallest proof of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What happened, in one sentence or a few.
    pub what: String,
    /// In how many places it happened, this one included.
    pub n_places: u64,
    /// The proof.
    pub witness: Witness,
}

/// An invariant, or a part of it, that this history cannot tell about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotChecked {
    /// Which.
    pub invariant: Invariant,
    /// What is missing.
    pub why: &'static str,
}

/// What shows a violation: all that one needs to see, and no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// The event, if it is about one.
    pub event: Option<Event>,
    /// Topic and offset, if it is about a place.
    pub place: Option<(u32, u64)>,
    /// Lines that concern it, in order; at most [`Witness::LINES_MAX`].
    pub lines: Vec<Quote>,
    /// How many more lines concern it.
    pub n_more_lines: u64,
    /// The nearest faults before and after.
    pub faults: Vec<Quote>,
    /// What each node has around that place; at most [`Witness::LOGS_MAX`].
    pub logs: Vec<Slice>,
}

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Its number, counted from 1.
    pub number: usize,
    /// The line.
    pub line: Line,
}

/// A piece of a node's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The node.
    pub node: u32,
    /// Offsets with what was last read there, in order.
    pub events: Vec<(u64, Event)>,
    /// First offset and end of what was read.
    pub range: (u64, u64),
}

impl Witness {
    /// More lines help nobody.
    pub const LINES_MAX: usize = 12;
    /// More nodes than a cluster has.
    pub const LOGS_MAX: usize = 7;
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.n_places;
        let alike =
            if n > 1 { format!(" (in {n} places; this is the first)") } else { String::new() };
        writeln!(f, "{}: {}{alike}", self.invariant, self.what)?;
        write!(f, "{}", self.witness)
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for quote in &self.lines {
            writeln!(f, "  {quote}")?;
        }
        if self.n_more_lines > 0 {
            writeln!(f, "  … and {} more lines about it", self.n_more_lines)?;
        }
        if !self.faults.is_empty() {
            writeln!(f, "  nearest faults:")?;
        }
        for quote in &self.faults {
            writeln!(f, "    {quote}")?;
        }
        for log in &self.logs {
            writeln!(f, "  {log}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH_MAX: usize = 160;
        let (number, at_us) = (self.number, self.line.at_us);
        let text = serde_json::to_string(&self.line.seen).unwrap_or_default();
        let mut shown: String = text.chars().take(WIDTH_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        write!(f, "line {number:<6} {:>11.6} s  {shown}", at_us as f64 / 1e6)
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = self.range;
        write!(f, "log of node {} [{start}, {end}):", self.node)?;
        if self.events.is_empty() {
            write!(f, " nothing there")?;
        }
        for (offset, event) in &self.events {
            write!(f, " {offset}→{event}")?;
        }
        Ok(())
    }
}
