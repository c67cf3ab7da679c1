//! Outcomes on their way into the log: acks folded per mailbox, turns and dead letters one by one.
//!
//! Invariant: an outcome is in the outbox or proposed, until the log has applied or refused it. A
//! proposal that is lost goes back into the outbox, and rests there before it is proposed again.

use bytes::Bytes;
use tidings_types::id::TopicId;
use tidings_types::layout::acks::Acks;
use tidings_types::layout::command::{Command, DeadReason};
use tidings_types::limits::{OUTCOMES_WAIT_MAX, TURN_BYTES_MAX};
use tidings_types::offset::Offset;

use crate::dispatcher::group::Group;
use crate::dispatcher::mailbox::fold;
use crate::dispatcher::proposals::{Kept, KeptFailure, KeptLetter, KeptTurn, Step};
use crate::dispatcher::tracked::{Stage, TrackId};

/// Turns of one group that are proposed.
const TURNS_OUT_MAX: usize = 1_024;
/// Bytes of turns of one group that are proposed, as soon as there are any.
const TURN_BYTES_OUT_MAX: usize = 2 * TURN_BYTES_MAX;
/// Dead letters of one group that are proposed; one while there may be no room.
const LETTERS_OUT_MAX: usize = 64;
/// Rest before a lost proposal is proposed again.
const LOST_PAUSE_MS: u64 = OUTCOMES_WAIT_MAX.as_millis() as u64;
/// Rest before a dead letter is proposed again that was applied without effect.
const LETTER_PAUSE_MS: u64 = 1_000;

impl Group {
    /// Proposes what may be proposed now.
    pub(super) fn propose(&mut self, step: &mut Step<'_>) {
        if step.now_ms < self.outbox.propose_after_ms {
            return;
        }
        while let Some(idx) = self.outbox.mailboxes.pop_first() {
            self.propose_acks(idx, step);
        }
        while self.outbox.n_turns_out < TURNS_OUT_MAX
            && self.outbox.turn_bytes_out < TURN_BYTES_OUT_MAX
        {
            let Some(turn) = self.outbox.turns.pop_front() else { break };
            self.propose_turn(turn, step);
        }
        let n_letters_max = if self.outbox.is_full { 1 } else { LETTERS_OUT_MAX };
        while self.outbox.n_letters_out < n_letters_max
            && self.outbox.letters_after_ms <= step.now_ms
        {
            let Some(letter) = self.outbox.letters.pop_front() else { break };
            self.propose_letter(letter, step);
        }
    }

    fn propose_acks(&mut self, mailbox_idx: u32, step: &mut Step<'_>) {
        let group = self.id;
        let mailbox = self.mailbox_mut(mailbox_idx);
        let topic = mailbox.topic;
        let (mut done, kept) = mailbox.outcomes.take();
        // A failure that was counted meanwhile is not proposed again: it would count twice.
        let mut kept_failures = Vec::with_capacity(kept.len());
        for failure in kept {
            let Some(id) = self.find_failing(mailbox_idx, &failure) else { continue };
            if self.is_current(id) {
                kept_failures.push(failure);
            } else {
                self.hold(id, step.now_ms);
            }
        }
        let ranges = fold(&mut done);
        if ranges.is_empty() && kept_failures.is_empty() {
            self.free_acks(mailbox_idx);
            return;
        }
        self.mailbox_mut(mailbox_idx).outcomes.is_proposed = true;
        let (handed_as, failures): (Vec<_>, Vec<_>) =
            kept_failures.into_iter().map(|kept| (kept.handed_as, kept.failure)).unzip();
        let acks = Acks { group, topic, ranges, failures };
        let body = acks.encode();
        let failures = handed_as.into_iter().zip(acks.failures);
        let failures = failures.map(|(handed_as, failure)| KeptFailure { handed_as, failure });
        let failures = failures.collect();
        step.propose(group, Kept::Acks { mailbox_idx, done, failures }, body);
    }

    fn propose_turn(&mut self, kept: KeptTurn, step: &mut Step<'_>) {
        let Some(id) = self.find_turn(&kept) else { return };
        if !self.is_current(id) {
            self.give_back(id, step.now_ms);
            return;
        }
        let body = kept.turn.encode();
        self.outbox.n_turns_out += 1;
        self.outbox.turn_bytes_out += kept.n_bytes;
        step.propose(self.id, Kept::Turn(kept), body);
    }

    /// Lanes have moved: turns of those that left us cannot count any more, those that are proposed
    /// neither, so their events wait again. At once, because later events of their keys wait too and
    /// must not be first.
    pub(super) fn recall_turns(&mut self, step: &Step<'_>) {
        let now_ms = step.now_ms;
        for kept in step.proposals.turns_of(self.id) {
            let found = self.find_turn(kept);
            if let Some(id) = found.filter(|&id| !self.is_current(id)) {
                self.give_back(id, now_ms);
            }
        }
        for kept in std::mem::take(&mut self.outbox.turns) {
            let Some(id) = self.find_turn(&kept) else { continue };
            if self.is_current(id) {
                self.outbox.turns.push_back(kept);
            } else {
                self.give_back(id, now_ms);
            }
        }
    }

    fn propose_letter(&mut self, kept: KeptLetter, step: &mut Step<'_>) {
        let Some(id) = self.find_dying(&kept) else { return };
        if !self.is_current(id) {
            self.hold(id, step.now_ms);
            return;
        }
        self.outbox.n_letters_out += 1;
        let body = Bytes::from(Command::DeadLetter(kept.letter.clone()).encode());
        step.propose(self.id, Kept::Letter(kept), body);
    }

    /// A proposal was applied; its effects came before.
    pub(super) fn taken(&mut self, kept: Kept, now_ms: u64) {
        match kept {
            Kept::Acks { mailbox_idx, failures, .. } => {
                self.free_acks(mailbox_idx);
                for kept in failures {
                    // Applied, and yet neither counted nor refused: the section did not parse.
                    if let Some(id) = self.find_failing(mailbox_idx, &kept) {
                        self.table.get_mut(id).retry_at_ms = kept.failure.retry_at_ms;
                        self.hold(id, now_ms);
                    }
                }
            }
            Kept::Turn(kept) => {
                self.free_turn(&kept);
                // Applied, and yet neither settled nor refused by its lane: what it emits cannot
                // be published, and another attempt would emit the same.
                if let Some(id) = self.find_turn(&kept) {
                    let attempts = self.table.get(id).attempts + 1;
                    self.bury(id, DeadReason::Fatal, "what it emits cannot be published", attempts);
                }
            }
            Kept::Letter(kept) => {
                self.outbox.n_letters_out -= 1;
                if self.find_dying(&kept).is_some() {
                    let after_ms = &mut self.outbox.letters_after_ms;
                    *after_ms = (*after_ms).max(now_ms + LETTER_PAUSE_MS);
                    self.outbox.letters.push_front(kept);
                }
            }
        }
    }

    /// A proposal was refused or its fate is unknown. What has no outcome is proposed again; what
    /// was applied after all is refused the second time, and that settles it.
    pub(super) fn lost(&mut self, kept: Kept, now_ms: u64) {
        self.outbox.propose_after_ms = now_ms + LOST_PAUSE_MS;
        match kept {
            Kept::Acks { mailbox_idx, done, failures } => {
                let outcomes = &mut self.mailbox_mut(mailbox_idx).outcomes;
                outcomes.done.extend(done);
                outcomes.failures.splice(..0, failures);
                self.free_acks(mailbox_idx);
            }
            Kept::Turn(kept) => {
                self.free_turn(&kept);
                if let Some(id) = self.find_turn(&kept)
                    && !self.is_current(id)
                {
                    self.give_back(id, now_ms);
                    return;
                }
                let turns = &mut self.outbox.turns;
                let place = turns.partition_point(|other| other.number < kept.number);
                turns.insert(place, kept);
            }
            Kept::Letter(kept) => {
                self.outbox.n_letters_out -= 1;
                self.outbox.letters.push_front(kept);
            }
        }
    }

    fn find_failing(&self, mailbox_idx: u32, kept: &KeptFailure) -> Option<TrackId> {
        let topic = self.mailboxes.get(mailbox_idx as usize)?.topic;
        self.find_at((topic, kept.failure.offset), kept.handed_as, Stage::Failing)
    }

    fn find_turn(&self, kept: &KeptTurn) -> Option<TrackId> {
        let turn = &kept.turn;
        self.find_at((turn.topic, turn.offset), kept.handed_as, Stage::Done)
    }

    fn find_dying(&self, kept: &KeptLetter) -> Option<TrackId> {
        let letter = &kept.letter;
        self.find_at((letter.topic, letter.offset), kept.handed_as, Stage::Dying)
    }

    /// The event if it still waits for the answer to this outcome, and not to a later one.
    fn find_at(
        &self,
        (topic, offset): (TopicId, Offset),
        handed_as: u64,
        stage: Stage,
    ) -> Option<TrackId> {
        let id = self.find(topic, offset)?;
        let tracked = self.table.get(id);
        (tracked.stage() == stage && tracked.handed_as == handed_as).then_some(id)
    }

    /// The lane has not moved since the event was handed out.
    pub(super) fn is_current(&self, id: TrackId) -> bool {
        let tracked = self.table.get(id);
        self.lanes.is_current(tracked.lane(), tracked.lane_epoch)
    }

    fn free_acks(&mut self, mailbox_idx: u32) {
        let outcomes = &mut self.mailbox_mut(mailbox_idx).outcomes;
        outcomes.is_proposed = false;
        if !outcomes.is_empty() {
            self.outbox.mailboxes.insert(mailbox_idx);
        }
    }

    const fn free_turn(&mut self, kept: &KeptTurn) {
        self.outbox.n_turns_out -= 1;
        self.outbox.turn_bytes_out -= kept.n_bytes;
    }
}
