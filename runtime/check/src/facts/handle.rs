//! The part of the second sweep that follows groups: what their handlers did and what was settled.

use crate::facts::build::Builder;
use crate::facts::{Cut, Handling, Slot, Source};
use crate::history::{Outcome, Seen};

impl Builder<'_> {
    /// Takes in a line about a group, a worker or a node's life.
    pub(crate) fn of_group(&mut self, at: usize, seen: &Seen) {
        match seen {
            Seen::Started { .. } => self.started(at, seen),
            Seen::Ended { .. } => self.ended(at, seen),
            Seen::WorkerGone { group, node, worker } => {
                let lines = self.facts.cuts.gone.entry((*group, *node, *worker));
                lines.or_default().push(at);
                self.cut(at, Cut::Gone, Some(*group), *node, Some(*worker));
            }
            Seen::Down { node, .. } => {
                self.facts.cuts.down.entry(*node).or_default().push(at);
                self.cut(at, Cut::Gone, None, *node, None);
            }
            Seen::Removed { group, node } => {
                self.facts.cuts.removed.entry((*group, *node)).or_default().push(at);
                self.cut(at, Cut::Removed, Some(*group), *node, None);
            }
            Seen::Settled { .. } => self.settled(at, seen),
            Seen::Floor { group, topic, .. } => {
                self.mailbox(*group, *topic);
            }
            Seen::DeadLetter { group, topic, offset, .. } => {
                if let Some(slot) = self.slot(*group, *topic, *offset) {
                    slot.letter.get_or_insert(at);
                }
            }
            _ => {}
        }
    }

    fn slot(&mut self, group: u32, topic: u32, offset: u64) -> Option<&mut Slot> {
        let mailbox = self.mailbox(group, topic)?;
        let mailbox = self.facts.mailboxes.get_mut(mailbox)?;
        let place = self.facts.topics.get(mailbox.topic)?.offsets.idx(offset)?;
        mailbox.slots.get_mut(place)
    }

    fn started(&mut self, at: usize, seen: &Seen) {
        let Seen::Started {
            group, node, worker, topic, offset, event, key, attempt, epoch, ..
        } = seen
        else {
            return;
        };
        let Some(mailbox) = self.mailbox(*group, *topic) else {
            return self.stray(at, "is of one group too many");
        };
        let topic = self.facts.topic(*topic).unwrap_or_default();
        let held = self.holds(topic, *offset, *event, Source::Handler, at);
        let Some((place, event)) = held else { return };
        let mut handling = Handling {
            line: at,
            mailbox,
            place,
            event,
            key: *key,
            node: *node,
            worker: *worker,
            attempt: *attempt,
            epoch: *epoch,
            end: None,
            cut: None,
            prev: None,
        };
        let idx = self.facts.handlings.len();
        if let Some(slot) = self.slot(*group, self.number_of(topic), *offset) {
            handling.prev = slot.last.replace(idx);
        }
        self.facts.handlings.push(handling);
        self.running.push(idx);
        self.sweep();
    }

    fn number_of(&self, topic: usize) -> u32 {
        self.facts.topics.get(topic).map_or(0, |topic| topic.number)
    }

    fn ended(&mut self, at: usize, seen: &Seen) {
        let Seen::Ended { group, node, worker, topic, offset, outcome } = seen else { return };
        let last = self.slot(*group, *topic, *offset).and_then(|slot| slot.last);
        let mut next = last;
        while let Some(handling) = next.and_then(|idx| self.facts.handlings.get_mut(idx)) {
            if handling.node == *node && handling.worker == *worker && handling.end.is_none() {
                handling.end = Some((at, *outcome));
                self.n_over += 1;
                let is_fenced = handling.is_fenced();
                if *outcome == Outcome::Done {
                    self.done(at, (*group, *topic, *offset), is_fenced);
                }
                return;
            }
            next = handling.prev;
        }
        self.stray(at, "ends a handling that had not begun");
    }

    fn done(&mut self, at: usize, (group, topic, offset): (u32, u32, u64), is_fenced: bool) {
        let Some(slot) = self.slot(group, topic, offset) else { return };
        slot.done.get_or_insert(at);
        if !is_fenced {
            slot.done_in_force.get_or_insert(at);
        }
    }

    /// Work is taken from a node, a member or a worker: what of it still runs counts no more.
    fn cut(&mut self, at: usize, cut: Cut, group: Option<u32>, node: u32, worker: Option<u64>) {
        for idx in &self.running {
            let Some(handling) = self.facts.handlings.get_mut(*idx) else { continue };
            let mailbox = self.facts.mailboxes.get(handling.mailbox);
            let is_meant = handling.node == node
                && worker.is_none_or(|worker| worker == handling.worker)
                && group.is_none_or(|group| mailbox.is_some_and(|m| m.group == group));
            if is_meant && handling.end.is_none() && handling.cut.is_none() {
                handling.cut = Some((at, cut));
                self.n_over += 1;
            }
        }
    }

    /// Forgets which have ended, each time that half of them have.
    fn sweep(&mut self) {
        const FEW: usize = 64;
        if self.n_over < self.running.len() / 2 + FEW {
            return;
        }
        let handlings = &self.facts.handlings;
        let runs = |idx: &usize| {
            let runs_on = |h: &Handling| h.end.is_none() && h.cut.is_none();
            handlings.get(*idx).is_some_and(runs_on)
        };
        self.running.retain(runs);
        self.n_over = 0;
    }

    fn settled(&mut self, at: usize, seen: &Seen) {
        let Seen::Settled { group, topic, first, n_events, is_dead } = seen else { return };
        let Some(mailbox) = self.mailbox(*group, *topic) else { return };
        let Some(mailbox) = self.facts.mailboxes.get_mut(mailbox) else { return };
        let Some(topic) = self.facts.topics.get(mailbox.topic) else { return };
        let start = topic.offsets.lower_bound(*first);
        let end = topic.offsets.lower_bound(first.saturating_add(*n_events));
        // A range that begins twice costs a sweep over all of it each time; I11 reports it anyway.
        for slot in mailbox.slots.get_mut(start..end.max(start)).unwrap_or_default() {
            if slot.settled.is_none() {
                (slot.settled, slot.is_settled_dead) = (Some(at), *is_dead);
            }
        }
    }

    /// Where nothing says when an event was given up, it is from its last attempt's end on; where
    /// no letter is listed either, from the end that gave it up.
    pub(crate) fn give_up(&mut self) {
        let has_settled = self.facts.has.settled;
        let attempts_max = self.facts.attempts_max().unwrap_or(u32::MAX);
        for mailbox in &mut self.facts.mailboxes {
            for slot in mailbox.slots.iter_mut().filter(|_| !has_settled) {
                let last = slot.last.and_then(|last| self.facts.handlings.get(last));
                let gives_up = |handling: &&Handling| match handling.end {
                    Some((_, Outcome::Dead)) => true,
                    Some((_, Outcome::Again | Outcome::Lost)) => attempts_max <= handling.attempt,
                    _ => false,
                };
                slot.given_up = match (slot.letter, last) {
                    (Some(_), None) => Some(0),
                    (Some(letter), Some(last)) => Some(last.over().unwrap_or(letter)),
                    (None, last) => {
                        last.filter(gives_up).and_then(|last| last.end).map(|end| end.0)
                    }
                };
            }
        }
    }
}
