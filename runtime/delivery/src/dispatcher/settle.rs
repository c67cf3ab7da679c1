//! What the log applied: events leave, come again, or are told that their outcome did not count.

use tidings_types::effect::OutcomeRefused;
use tidings_types::id::TopicId;
use tidings_types::limits::GROUP_HELD_EVENTS_MAX;
use tidings_types::offset::Offset;

use crate::dispatcher::breaker::Why;
use crate::dispatcher::group::Group;
use crate::dispatcher::port::{Output, Pause, Story};
use crate::dispatcher::proposals::Step;
use crate::dispatcher::tracked::{Stage, TrackId};

/// How long a dead letter waits that was refused for want of room.
const LETTER_PAUSE_MS: u64 = 1_000;

impl Group {
    /// Events of a topic are settled, from `start` up to and without `end`.
    pub(super) fn settle(&mut self, topic: TopicId, start: Offset, end: Offset, now_ms: u64) {
        if let Some(&idx) = self.mailbox_idxs.get(&topic) {
            self.settle_range(idx, start, end, now_ms);
        }
        self.settle_redriven(topic, start, end, now_ms);
    }

    pub(super) fn settle_range(&mut self, idx: u32, start: Offset, end: Offset, now_ms: u64) {
        let mut settled = std::mem::take(&mut self.scratch);
        let mailbox = self.mailbox_mut(idx);
        mailbox.settle_ahead(start, end);
        mailbox.window.remove(start, end, |id| settled.push(id));
        for id in settled.drain(..) {
            self.let_go(id, now_ms);
        }
        self.scratch = settled;
    }

    pub(super) fn settle_redriven(
        &mut self,
        topic: TopicId,
        start: Offset,
        end: Offset,
        now_ms: u64,
    ) {
        if self.redriven.is_empty() || end <= start {
            return;
        }
        while let Some((&place, &id)) = self.redriven.range((topic, start)..(topic, end)).next() {
            self.redriven.remove(&place);
            self.let_go(id, now_ms);
            // It has given its room to others, perhaps.
            self.outbox.letters_after_ms = 0;
        }
    }

    /// An event is settled and in no index any more. Whoever still holds it forgets it.
    fn let_go(&mut self, id: TrackId, now_ms: u64) {
        let tracked = self.table.get_mut(id);
        let lane = tracked.lane();
        match tracked.stage() {
            Stage::Waiting | Stage::Out => tracked.is_settled = true,
            Stage::Done => self.table.forget(id),
            Stage::Held | Stage::Failing | Stage::Dying => {
                self.queues.unblock(id, &mut self.table, now_ms);
                self.table.forget(id);
                self.want(lane);
            }
        }
    }

    /// An attempt on an event is counted.
    pub(super) fn fail_committed(
        &mut self,
        topic: TopicId,
        offset: Offset,
        (attempts, retry_at_ms): (u32, u64),
        now_ms: u64,
    ) {
        if let Some(id) = self.find(topic, offset) {
            self.count_attempt(id, attempts, retry_at_ms, now_ms);
        } else if let Some(&idx) = self.mailbox_idxs.get(&topic) {
            let mailbox = self.mailbox_mut(idx);
            if mailbox.next() <= offset {
                mailbox.fail_ahead(offset, attempts, retry_at_ms);
            }
        }
    }

    pub(super) fn count_attempt(
        &mut self,
        id: TrackId,
        attempts: u32,
        retry_at_ms: u64,
        now_ms: u64,
    ) {
        let tracked = self.table.get_mut(id);
        tracked.attempts = attempts;
        tracked.retry_at_ms = retry_at_ms;
        if tracked.stage() == Stage::Failing {
            self.hold(id, now_ms);
        }
    }

    /// The event need not wait for its back-off, nor for a person.
    pub(super) fn retry_now(&mut self, topic: TopicId, offset: Offset, now_ms: u64) {
        if let Some(id) = self.find(topic, offset) {
            let tracked = self.table.get_mut(id);
            tracked.retry_at_ms = 0;
            let (lane, key_hash, stage) = (tracked.lane(), tracked.key_hash, tracked.stage());
            if stage == Stage::Held {
                self.queues.look_at_key(lane, key_hash, &mut self.table, now_ms);
                self.want(lane);
            }
        } else if let Some(&idx) = self.mailbox_idxs.get(&topic) {
            self.mailbox_mut(idx).retry_ahead(offset);
        }
    }

    /// There is room for dead letters again.
    pub(super) const fn letters_discarded(&mut self) {
        self.outbox.has_room = true;
        self.outbox.letters_after_ms = 0;
    }

    /// The event waits in front of its key for its back-off.
    pub(super) fn hold(&mut self, id: TrackId, now_ms: u64) {
        let tracked = self.table.get(id);
        let (lane, key_hash) = (tracked.lane(), tracked.key_hash);
        if tracked.is_unread() {
            // It comes when it is read, before all that follow in its key.
            let (offset, attempts, retry_at_ms) =
                (tracked.offset, tracked.attempts, tracked.retry_at_ms);
            let mailbox_idx = tracked.mailbox_idx;
            self.mailbox_mut(mailbox_idx).fail_ahead(offset, attempts, retry_at_ms);
            self.give_back(id, now_ms);
            return;
        }
        self.table.move_to(id, Stage::Held);
        self.queues.look_at_key(lane, key_hash, &mut self.table, now_ms);
        self.want(lane);
    }

    /// The event is on its way no more, although it is not settled.
    #[cold]
    pub(super) fn untrack(&mut self, id: TrackId) {
        let (topic, tracked) = (self.topic_of(id), self.table.get(id));
        let (offset, mailbox_idx) = (tracked.offset, tracked.mailbox_idx);
        if tracked.is_redriven() {
            self.redriven.remove(&(topic, offset));
        } else {
            self.mailbox_mut(mailbox_idx).window.remove(offset, offset.next(), |_| ());
        }
        self.table.forget(id);
    }

    /// An outcome did not count.
    pub(super) fn refuse(
        &mut self,
        topic: TopicId,
        offset: Offset,
        why: OutcomeRefused,
        step: &mut Step<'_>,
    ) {
        match why {
            // It was proposed twice, because the fate of the first time was unknown.
            OutcomeRefused::AlreadySettled | OutcomeRefused::NoSuchEvent => {
                self.settle(topic, offset, offset.next(), step.now_ms);
            }
            OutcomeRefused::LaneMoved => {
                let Some(id) = self.find(topic, offset) else { return };
                // One that was recalled when the lane moved has a successor by now: that one stays.
                if self.is_current(id) {
                    return;
                }
                match self.table.get(id).stage() {
                    Stage::Failing | Stage::Dying => self.hold(id, step.now_ms),
                    // Only a turn is refused by its lane, and it keeps its event.
                    Stage::Done if self.table.get(id).keeps_event => {
                        self.give_back(id, step.now_ms);
                    }
                    Stage::Done | Stage::Waiting | Stage::Held | Stage::Out => {}
                }
            }
            OutcomeRefused::DeadLettersFull => {
                self.outbox.letters_after_ms = step.now_ms + LETTER_PAUSE_MS;
                self.outbox.has_room = false;
                if !std::mem::replace(&mut self.outbox.is_full, true) {
                    let (group, why) = (self.id, Pause::DeadLettersFull);
                    step.out.push(Output::Told(Story::Paused { group, why }));
                }
            }
        }
    }

    /// A dead letter was added, so there is room.
    pub(super) const fn letter_committed(&mut self) {
        self.outbox.has_room = true;
    }

    /// A person pauses the group, or lets it go on.
    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.want_all();
    }

    /// Nothing more is handed out for now, or it goes on.
    pub(super) fn hold_back(&mut self, is_held: bool) {
        self.is_held = is_held;
        self.want_all();
    }

    /// See [`Dispatcher::is_quiet`](crate::dispatcher::Dispatcher::is_quiet).
    pub(super) fn is_quiet(&self) -> bool {
        self.table.n_out() == 0 && self.table.n_uncommitted(self.outbox.is_full) == 0
    }

    /// Ends pauses that are over. Between too many held events and few enough lies a tenth, so that
    /// it is not told again and again.
    pub(super) fn tell_pauses(&mut self, step: &mut Step<'_>) {
        let has_letters = !self.outbox.letters.is_empty() || 0 < self.outbox.n_letters_out;
        if self.outbox.is_full && (self.outbox.has_room || !has_letters) {
            self.outbox.is_full = false;
            self.want_all();
            let (group, why) = (self.id, Pause::DeadLettersFull);
            step.out.push(Output::Told(Story::Resumed { group, why }));
        }
        if let Some(news) = self.breaker.news() {
            let group = self.id;
            let Why { n_failed, n_events } = news.err().unwrap_or_default();
            let why = Pause::BreakerOpen { n_failed, n_events };
            let story = match news {
                Err(_) => Story::Paused { group, why },
                Ok(()) => Story::Resumed { group, why },
            };
            step.out.push(Output::Told(story));
        }
        let n_held = self.table.n_held();
        let (group, why) = (self.id, Pause::TooManyHeld);
        if !self.reading.is_choked && GROUP_HELD_EVENTS_MAX / 10 * 9 <= n_held {
            self.reading.is_choked = true;
            step.out.push(Output::Told(Story::Paused { group, why }));
        } else if self.reading.is_choked && n_held < GROUP_HELD_EVENTS_MAX / 10 * 8 {
            self.reading.is_choked = false;
            step.out.push(Output::Told(Story::Resumed { group, why }));
        }
    }
}
