//! I16: what is acknowledged was on the disks of a majority before.
//!
//! For a user: `Ok` means that power may go out everywhere at that moment. This shows a premature
//! acknowledgement in a run in which nothing crashes.
//!
//! Needs lines of an instrumented disk. A disk that is lost counts with what it had: the event may
//! have been committed with its help, and who publishes hears of that a moment later.

use std::collections::BTreeMap;

use crate::facts::{Answer, Facts};
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let n_voters = facts.run.map_or(0, |run| run.n_voters);
    if !facts.has.durable || n_voters == 0 {
        return findings.not_checked(Invariant::I16, "nobody looked at the disks");
    }
    let majority = n_voters / 2 + 1;
    let mut breaks = Breaks::default();
    // A bit for each node by event; a cluster has far fewer nodes than there are bits.
    let mut durable_on = vec![0_u64; facts.sent.len()];
    let mut bits: BTreeMap<u32, u64> = BTreeMap::new();
    for (at, line) in facts.lines.iter().enumerate() {
        match line.seen {
            Seen::Durable { node, event } => {
                let n_known = bits.len() as u32;
                let bit = *bits.entry(node).or_insert(1_u64.checked_shl(n_known).unwrap_or(0));
                let event = facts.event(event).and_then(|idx| durable_on.get_mut(idx));
                if let Some(nodes) = event {
                    *nodes |= bit;
                }
            }
            Seen::Published { op, first } => {
                let Some(call) = facts.call_of(op) else { continue };
                if call.answer != (Answer::Stored { line: at, first }) {
                    continue;
                }
                for ((event, _), offset) in call.events.iter().zip(first..=u64::MAX) {
                    let Some(idx) = facts.event(*event) else { continue };
                    let n_nodes = durable_on.get(idx).map_or(0, |nodes| nodes.count_ones());
                    if majority <= n_nodes {
                        continue;
                    }
                    breaks.add(at, || {
                        let what = format!(
                            "event {event} was acknowledged while it was on {n_nodes} disks of the {majority} that it needs"
                        );
                        let place = Some((call.topic, offset));
                        (Point { event: Some(idx), place, lines: Vec::new() }, what)
                    });
                }
            }
            _ => {}
        }
    }
    findings.report(Invariant::I16, breaks);
}
