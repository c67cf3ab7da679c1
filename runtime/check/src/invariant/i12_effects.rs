//! I12: what a group did for a key is what the log says, in the log's order.
//!
//! For a user: a handler that ignores repeats and adds each event of a key to that key's state ends
//! with the state that one gets from reading the log: nothing left out, nothing twice, nothing in
//! another order. This is a chain `h = H(h, event)` over first successes, compared with that over
//! the log without the group's dead letters; it is computed as what equality of the two means: the
//! same events, and each first success after that of the event before it. In contrast to I1 it also
//! covers events that are stored and were never acknowledged.
//!
//! Not checked in a run that did not end by itself.

use crate::facts::{Facts, Mailbox, Place, Source};
use crate::findings::{Breaks, Findings, Point};
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let Some(end) = facts.end else {
        return findings.not_checked(Invariant::I12, "the run did not end by itself");
    };
    if !facts.has.started {
        return findings.not_checked(Invariant::I12, "no handler was seen");
    }
    let mut breaks = Breaks::default();
    for mailbox in facts.mailboxes.iter().filter(|mailbox| mailbox.is_planned) {
        chains(facts, &mut breaks, mailbox, end);
    }
    findings.report(Invariant::I12, breaks);
}

fn chains(facts: &Facts<'_>, breaks: &mut Breaks, mailbox: &Mailbox, end: usize) {
    let Some(topic) = facts.topics.get(mailbox.topic) else { return };
    // The newest first success of the place's key, up to and with each place, and which place's.
    let mut newest: Vec<Option<(usize, usize)>> = vec![None; topic.places.len()];
    for (idx, (place, slot)) in topic.places.iter().zip(&mailbox.slots).enumerate() {
        let Some(event) = place.event.filter(|_| is_of_log(place, topic.read.is_some())) else {
            continue;
        };
        let before = place.prev_of_key.and_then(|before| newest.get(before).copied().flatten());
        let offset = topic.offsets.number(idx);
        let point =
            |lines| Point { event: Some(event), place: Some((mailbox.topic, offset)), lines };
        let number = facts.number(event);
        let group = mailbox.group;
        let is_dead = slot.letter.is_some() || slot.is_settled_dead;
        let now = match slot.done {
            // A handler that outlived its membership may still succeed with a dead letter.
            _ if is_dead => before,
            None if slot.over_from().is_some() => before,
            None => {
                breaks.add(end, || {
                    let what = format!(
                        "group {group} has no effect of event {number} (offset {offset}), which the log has"
                    );
                    (point(vec![place.line]), what)
                });
                before
            }
            Some(done) => {
                if let Some((earlier, other)) = before.filter(|(earlier, _)| done < *earlier) {
                    breaks.add(earlier, || {
                        let other = topic.offsets.number(other);
                        let what = format!(
                            "group {group} has the effect of offset {offset} (event {number}) before that of {other}, of the same key"
                        );
                        (point(vec![done]), what)
                    });
                }
                before.filter(|(earlier, _)| done < *earlier).or(Some((done, idx)))
            }
        };
        if let Some(newest) = newest.get_mut(idx) {
            *newest = now;
        }
    }
}

/// Where logs were read, only what they have counts.
fn is_of_log(place: &Place, was_read: bool) -> bool {
    match was_read {
        true => place.source == Source::Log,
        false => place.source >= Source::Publisher,
    }
}
