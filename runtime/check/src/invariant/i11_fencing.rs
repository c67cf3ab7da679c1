//! I11: one outcome is accepted for an event, and none of a member that was taken out.
//!
//! For a user: when work moves to another process because its own was paused or cut off, the old one
//! cannot settle it any more, however late it wakes up; a failure of the new one is not hidden by a
//! success of the old one, and nothing begins on the old one once the new one has begun.
//!
//! Needs lines that tell what the log took; of lane epochs, as far as handlers can know them.

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    if facts.has.settled {
        settled_twice(facts, &mut breaks);
        settled_by_fenced(facts, &mut breaks);
    } else {
        findings.not_checked(Invariant::I11, "outcomes: nothing tells which the log took");
    }
    if facts.handlings.iter().any(|handling| handling.epoch.is_some()) {
        epochs_go_back(facts, &mut breaks);
    } else {
        findings.not_checked(Invariant::I11, "epochs: no handler knew its own");
    }
    findings.report(Invariant::I11, breaks);
}

/// No two accepted outcomes name one offset.
fn settled_twice(facts: &Facts<'_>, breaks: &mut Breaks) {
    let mut ranges: Vec<(usize, u64, u64, usize)> = Vec::new();
    for (at, line) in facts.lines.iter().enumerate() {
        let Seen::Settled { group, topic, first, n_events, .. } = &line.seen else { continue };
        let mailbox = facts.mailbox_of.get(&(*group, *topic));
        let Some(mailbox) = mailbox.filter(|_| 0 < *n_events) else { continue };
        ranges.push((*mailbox, *first, first.saturating_add(*n_events), at));
    }
    ranges.sort_unstable();
    // The range of the same mailbox that reaches furthest so far.
    let mut furthest: Option<(usize, u64, u64, usize)> = None;
    for range in ranges {
        let (mailbox_idx, first, end, line) = range;
        let Some((_, _, furthest_end, other)) = furthest.filter(|f| f.0 == mailbox_idx) else {
            furthest = Some(range);
            continue;
        };
        if first < furthest_end {
            breaks.add(line.max(other), || {
                let mailbox = facts.mailboxes.get(mailbox_idx);
                let (group, topic) = mailbox.map_or((0, 0), |m| (m.group, m.topic));
                let what = format!("group {group} settled offset {first} twice");
                let lines = vec![line, other];
                (
                    Point {
                        event: event_at(facts, topic, first),
                        place: Some((topic, first)),
                        lines,
                    },
                    what,
                )
            });
        }
        if furthest_end < end {
            furthest = Some(range);
        }
    }
}

fn event_at(facts: &Facts<'_>, topic: usize, offset: u64) -> Option<usize> {
    let topic = facts.topics.get(topic)?;
    topic.offsets.idx(offset).and_then(|idx| topic.places.get(idx)).and_then(|place| place.event)
}

/// An outcome is accepted only from a handler that was in force.
fn settled_by_fenced(facts: &Facts<'_>, breaks: &mut Breaks) {
    for mailbox in &facts.mailboxes {
        for (idx, slot) in mailbox.slots.iter().enumerate() {
            let (Some(settled), Some(done)) = (slot.settled, slot.done) else { continue };
            let is_in_force = slot.done_in_force.is_some_and(|in_force| in_force < settled);
            if slot.is_settled_dead || settled < done || is_in_force {
                continue;
            }
            breaks.add(settled, || {
                let offset = facts.offset(mailbox.topic, idx);
                let event = event_at(facts, mailbox.topic, offset);
                let what = format!(
                    "group {} settled offset {offset} by the report of a member that had been taken out",
                    mailbox.group
                );
                let began = facts.chain(slot.last).map(|handling| handling.line);
                let lines = began.take(3).chain([done]).collect();
                (Point { event, place: Some((mailbox.topic, offset)), lines }, what)
            });
        }
    }
}

/// Once a lane's new owner began with a key, its old one begins with it no more.
fn epochs_go_back(facts: &Facts<'_>, breaks: &mut Breaks) {
    let mut newest: BTreeMap<(usize, u64), (u64, usize)> = BTreeMap::new();
    for handling in &facts.handlings {
        let Some(epoch) = handling.epoch else { continue };
        let newest =
            newest.entry((handling.mailbox, handling.key)).or_insert((epoch, handling.line));
        if epoch < newest.0 {
            let (newer, line) = *newest;
            breaks.add(handling.line, || {
                let (group, _, offset) = facts.about(handling);
                let what = format!(
                    "group {group} began event {} in lane epoch {epoch}, after its key had moved on to {newer}",
                    facts.number(handling.event)
                );
                let topic = facts.mailboxes.get(handling.mailbox).map(|mailbox| mailbox.topic);
                let place = topic.map(|topic| (topic, offset));
                (Point { event: Some(handling.event), place, lines: vec![line] }, what)
            });
        } else {
            *newest = (epoch, handling.line);
        }
    }
}
