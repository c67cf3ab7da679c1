//! I8: events of one key are handled one after the other, in order.
//!
//! For a user: in a group, the handler of a key's later event does not begin before the earlier one
//! has succeeded or is a dead letter, and no two handlers work on one key at a time. A handler needs
//! no lock against its own peers.
//!
//! The stated exception: a handler that already ran when its member was taken out cannot be stopped
//! from afar. It stands in nobody's way from then on, and what it does after does not count as the
//! success that opens the way for the next event. One that *begins* after its member was taken out
//! has no such excuse. A handler whose worker or process ended has ended.
//!
//! A dead letter opens the way once the log took it; where a history has no such lines, from the end
//! of its last attempt on.

use std::collections::BTreeMap;

use crate::facts::{Facts, Handling, Source};
use crate::findings::{Breaks, Findings, Point};
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    // Of each mailbox and key, the handling that runs longest, with the line that ends it.
    let mut busy: BTreeMap<(usize, u64), (usize, usize)> = BTreeMap::new();
    for (idx, handling) in facts.handlings.iter().enumerate() {
        waits_for_predecessor(facts, &mut breaks, handling);
        let over = handling.over().unwrap_or(usize::MAX);
        let longest = busy.entry((handling.mailbox, handling.key)).or_insert((0, idx));
        if handling.line < longest.0 {
            overlaps(facts, &mut breaks, handling, longest.1);
        }
        if longest.0 <= over {
            *longest = (over, idx);
        }
    }
    if facts.handlings.is_empty() {
        findings.not_checked(Invariant::I8, "no handler was seen");
    }
    findings.n_out_of_order = breaks.n();
    findings.report(Invariant::I8, breaks);
}

fn waits_for_predecessor(facts: &Facts<'_>, breaks: &mut Breaks, handling: &Handling) {
    let Some(mailbox) = facts.mailboxes.get(handling.mailbox) else { return };
    let Some(topic) = facts.topics.get(mailbox.topic) else { return };
    let place = topic.places.get(handling.place);
    // A handler that was given something else than the log has is another invariant's.
    let place = place.filter(|place| place.event == Some(handling.event));
    let Some(before) = place.and_then(|place| place.prev_of_key) else { return };
    let Some(slot) = mailbox.slots.get(before) else { return };
    let open_from = slot.open_from();
    if open_from.is_some_and(|open_from| open_from < handling.line) {
        return;
    }
    breaks.add(handling.line, || {
        let (group, _, offset) = facts.about(handling);
        let before_offset = topic.offsets.number(before);
        let earlier = topic.places.get(before);
        let held = earlier.and_then(|place| place.event).map_or(0, |event| facts.number(event));
        let known = earlier.filter(|place| place.source > Source::Handler).map(|place| place.line);
        let mut lines: Vec<_> = open_from.into_iter().chain(known).collect();
        lines.extend(facts.chain(slot.last).map(|earlier| earlier.line).take(3));
        let state = if slot.last.is_none() { "was never begun" } else { "was not settled" };
        let what = format!(
            "group {group} began event {} (key {}, offset {offset}) while event {held} of the same key (offset {before_offset}) {state}",
            facts.number(handling.event),
            handling.key,
        );
        let place = Some((mailbox.topic, offset));
        (Point { event: Some(handling.event), place, lines }, what)
    });
}

fn overlaps(facts: &Facts<'_>, breaks: &mut Breaks, handling: &Handling, longest: usize) {
    let Some(other) = facts.handlings.get(longest) else { return };
    breaks.add(handling.line, || {
        let (group, _, offset) = facts.about(handling);
        let (event, held) = (facts.number(handling.event), facts.number(other.event));
        let what = format!(
            "group {group} began event {event} on node {} while node {} worked on event {held}, both of key {}",
            handling.node, other.node, handling.key
        );
        let lines = [Some(other.line), other.over()].into_iter().flatten().collect();
        let topic = facts.mailboxes.get(handling.mailbox).map(|mailbox| mailbox.topic);
        let place = topic.map(|topic| (topic, offset));
        (Point { event: Some(handling.event), place, lines }, what)
    });
}
