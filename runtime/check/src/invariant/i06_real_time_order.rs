//! I6: what was acknowledged before a call began lies before it in the log.
//!
//! For a user: when one tells the other "it is stored", and that one publishes, every reader sees
//! both in that order.

use crate::facts::{Answer, Facts};
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    // The greatest offset that was acknowledged so far, and the line that did it, by topic.
    let mut newest: Vec<Option<(u64, usize)>> = vec![None; facts.topics.len()];
    for (at, line) in facts.lines.iter().enumerate() {
        match &line.seen {
            Seen::Publish { op, .. } => {
                let Some(call) = facts.call_of(*op).filter(|call| call.line == at) else {
                    continue;
                };
                let newest = newest.get(call.topic).copied().flatten();
                let Some((before, told)) = newest else { continue };
                let Some((event, offset)) = first_stored(facts, call) else { continue };
                if offset <= before {
                    breaks.add(at, || {
                        let number = facts.number(event);
                        let what = format!(
                            "event {number} lies at offset {offset}, and offset {before} was acknowledged before it was published"
                        );
                        let place = Some((call.topic, offset));
                        (Point { event: Some(event), place, lines: vec![told] }, what)
                    });
                }
            }
            Seen::Published { op, first } => {
                let Some(call) = facts.call_of(*op) else { continue };
                if call.answer != (Answer::Stored { line: at, first: *first }) {
                    continue;
                }
                let last = first.saturating_add((call.events.len() as u64).saturating_sub(1));
                let Some(newest) = newest.get_mut(call.topic) else { continue };
                if newest.is_none_or(|(before, _)| before < last) {
                    *newest = Some((last, at));
                }
            }
            _ => {}
        }
    }
    findings.report(Invariant::I6, breaks);
}

/// The first event of a call and where it is, if that is known.
fn first_stored(facts: &Facts<'_>, call: &crate::facts::Call<'_>) -> Option<(usize, u64)> {
    let event = call.events.first().and_then(|(event, _)| facts.event(*event))?;
    if let Answer::Stored { first, .. } = call.answer {
        return Some((event, first));
    }
    let sent = facts.sent.get(event).filter(|sent| sent.n_calls == 1)?;
    sent.place.map(|place| (event, facts.offset(call.topic, place)))
}
