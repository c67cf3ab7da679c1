//! I9: a group's floor never goes back and never passes an unsettled event.
//!
//! For a user: a group's position is a promise in both directions. What it has passed was handled or
//! is a dead letter; what it has passed it need not do again.
//!
//! A node that is behind tells an older floor, so floors are compared on one node between its start
//! and its end; and at the end somebody must know the greatest floor that anybody ever told. A floor
//! passes only what the log took before as settled; what it took as handled, a handler had finished
//! before. Where a history does not tell what the log took, a floor passes only what handlers had
//! finished or given up. Not checked where neither is told.

use std::collections::BTreeMap;

use crate::facts::{Facts, Mailbox};
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    if !facts.has.floor && !facts.has.settled {
        return findings.not_checked(Invariant::I9, "nobody told floors or outcomes");
    }
    if !facts.has.started {
        return findings.not_checked(Invariant::I9, "no handler was seen");
    }
    if !facts.has.floor {
        findings.not_checked(Invariant::I9, "nobody told floors");
    }
    let mut sweep = Sweep {
        facts,
        breaks: Breaks::default(),
        of_life: BTreeMap::new(),
        last: BTreeMap::new(),
        covered: vec![0; facts.mailboxes.len()],
    };
    for (at, line) in facts.lines.iter().enumerate() {
        match &line.seen {
            Seen::Up { node } | Seen::Down { node, .. } | Seen::DiskLost { node } => {
                sweep.of_life.retain(|(of_node, _), _| of_node != node);
            }
            Seen::Floor { node, group, topic, floor } => {
                if let Some(mailbox) = facts.mailbox_of.get(&(*group, *topic)) {
                    sweep.floor(at, *node, *mailbox, *floor);
                }
            }
            Seen::Settled { group, topic, first, n_events, is_dead: false } => {
                if let Some(mailbox) = facts.mailbox_of.get(&(*group, *topic)) {
                    sweep.settled(at, *mailbox, *first, *n_events);
                }
            }
            _ => {}
        }
    }
    if facts.end.is_some() {
        sweep.at_the_end();
    }
    let breaks = sweep.breaks;
    findings.report(Invariant::I9, breaks);
}

struct Sweep<'a> {
    facts: &'a Facts<'a>,
    breaks: Breaks,
    /// The newest floor by node and mailbox, since the node started, and its line.
    of_life: BTreeMap<(u32, usize), (u64, usize)>,
    /// The newest and the greatest floor by mailbox and node, whatever happened between.
    last: BTreeMap<(usize, u32), (u64, (u64, usize))>,
    /// By mailbox: all places before this one are over.
    covered: Vec<usize>,
}

impl Sweep<'_> {
    fn floor(&mut self, at: usize, node: u32, mailbox_idx: usize, floor: u64) {
        let facts = self.facts;
        let Some(mailbox) = facts.mailboxes.get(mailbox_idx) else { return };
        let point = |lines| Point { event: None, place: Some((mailbox.topic, floor)), lines };
        let group = mailbox.group;
        let older = self.of_life.insert((node, mailbox_idx), (floor, at));
        if let Some((older, line)) = older.filter(|(older, _)| floor < *older) {
            self.breaks.add(at, || {
                let what = format!("node {node} told floor {older} of group {group}, then {floor}");
                (point(vec![line]), what)
            });
        }
        let last = self.last.entry((mailbox_idx, node)).or_insert((floor, (floor, at)));
        last.0 = floor;
        last.1 = last.1.max((floor, at));
        self.passes(at, mailbox_idx, mailbox, floor);
    }

    /// No event before the floor may be on its way.
    fn passes(&mut self, at: usize, mailbox_idx: usize, mailbox: &Mailbox, floor: u64) {
        let facts = self.facts;
        let Some(topic) = facts.topics.get(mailbox.topic) else { return };
        let Some(covered) = self.covered.get_mut(mailbox_idx) else { return };
        let node_read_it = topic.read.filter(|_| facts.end.is_some());
        if let Some((_, end)) = node_read_it.filter(|(_, end)| *end < floor) {
            self.breaks.add(at, || {
                let what = format!(
                    "the floor of group {} is {floor}, and the log ends at {end}",
                    mailbox.group
                );
                (Point { event: None, place: Some((mailbox.topic, end)), lines: Vec::new() }, what)
            });
        }
        while *covered < topic.places.len() && topic.offsets.number(*covered) < floor {
            let (slot, place) = (mailbox.slots.get(*covered), topic.places.get(*covered));
            let over = slot.and_then(|slot| match facts.has.settled {
                true => slot.settled,
                false => slot.over_from(),
            });
            if over.is_some_and(|over| over < at) || place.is_some_and(|p| p.event.is_none()) {
                *covered += 1;
                continue;
            }
            let offset = topic.offsets.number(*covered);
            let event = place.and_then(|place| place.event);
            let began = slot.and_then(|slot| facts.chain(slot.last).map(|h| h.line).next());
            self.breaks.add(at, || {
                let number = event.map_or(0, |event| facts.number(event));
                let what = format!(
                    "group {} passed offset {offset} (event {number}), which it had not settled: its floor was {floor}",
                    mailbox.group
                );
                let lines = over.into_iter().chain(began).collect();
                (Point { event, place: Some((mailbox.topic, offset)), lines }, what)
            });
            return;
        }
    }

    /// What is settled as handled was handled before.
    fn settled(&mut self, at: usize, mailbox: usize, first: u64, n_events: u64) {
        let facts = self.facts;
        let Some(mailbox) = facts.mailboxes.get(mailbox) else { return };
        let Some(topic) = facts.topics.get(mailbox.topic) else { return };
        let start = topic.offsets.lower_bound(first);
        let end = topic.offsets.lower_bound(first.saturating_add(n_events)).max(start);
        let slots = mailbox.slots.get(start..end).unwrap_or_default();
        let is_open =
            |(_, slot): &(usize, &crate::facts::Slot)| slot.done.is_none_or(|done| at < done);
        let Some((idx, slot)) = slots.iter().enumerate().find(is_open) else { return };
        let (place, offset) = (topic.places.get(start + idx), topic.offsets.number(start + idx));
        let event = place.and_then(|place| place.event);
        self.breaks.add(at, || {
            let number = event.map_or(0, |event| facts.number(event));
            let what = format!(
                "group {} settled offset {offset} (event {number}) as handled, and no handler had succeeded",
                mailbox.group
            );
            let lines = facts.chain(slot.last).map(|handling| handling.line).take(2).collect();
            (Point { event, place: Some((mailbox.topic, offset)), lines }, what)
        });
    }

    /// Somebody must still know the greatest floor.
    fn at_the_end(&mut self) {
        let facts = self.facts;
        for (idx, mailbox) in facts.mailboxes.iter().enumerate() {
            let of_mailbox = self.last.range((idx, 0)..=(idx, u32::MAX));
            let told = of_mailbox.map(|(_, told)| *told);
            let newest = told.clone().map(|(newest, _)| newest).max();
            let greatest = told.map(|(_, greatest)| greatest).max();
            let (Some(newest), Some((greatest, line))) = (newest, greatest) else { continue };
            if newest < greatest {
                self.breaks.add(facts.end.unwrap_or(line), || {
                    let what = format!(
                        "group {} had floor {greatest}; at the end no node knows more than {newest}",
                        mailbox.group
                    );
                    let place = Some((mailbox.topic, newest));
                    (Point { event: None, place, lines: vec![line] }, what)
                });
            }
        }
    }
}
