//! I19: no part of the system breaks by itself, and errors are typed.
//!
//! For a user: every failure has a name that a program can match on, and a node that dies was
//! killed.

use crate::facts::Facts;
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    for (at, line) in facts.lines.iter().enumerate() {
        match &line.seen {
            Seen::Panicked { node, message } => {
                let message: String = message.chars().take(200).collect();
                let what = format!("node {node} broke by itself: {message}");
                breaks.add(at, || (Point::default(), what));
            }
            Seen::Refused { op, error } | Seen::Unknown { op, error } if error.is_empty() => {
                let what = format!("call {op} failed with an error that has no code");
                let call = facts.call_of(*op);
                let event = call.and_then(|call| call.events.first());
                let event = event.and_then(|(event, _)| facts.event(*event));
                breaks.add(at, || (Point { event, place: None, lines: Vec::new() }, what));
            }
            _ => {}
        }
    }
    findings.report(Invariant::I19, breaks);
}
