//! What one group has not settled yet of one topic: the floor above it, and the failed attempts.
//!
//! Invariant: an event with failed attempts is not settled.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_types::bugs::{Bug, is_planted};
use tidings_types::effect::{FailedEvent, MailboxSnapshot, NEVER_MS};
use tidings_types::id::TopicId;
use tidings_types::layout::acks::Failure;
use tidings_types::offset::Offset;

use crate::ack_floor::AckFloor;
use crate::room::Room;

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mailbox {
    cursor: AckFloor,
    failed: BTreeMap<Offset, Failed>,
}

/// The attempts on one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) attempts: u32,
    pub(crate) retry_at_ms: u64,
    /// The last error's text; empty if there was no room for it.
    pub(crate) message: Arc<str>,
}

impl Mailbox {
    /// The mailbox of a group that reads from `floor` on.
    pub(crate) const fn new(floor: Offset) -> Self {
        Self { cursor: AckFloor::new(floor), failed: BTreeMap::new() }
    }

    /// Which events are settled.
    pub(crate) const fn cursor(&self) -> &AckFloor {
        &self.cursor
    }

    /// The attempts on an event, if one failed.
    pub(crate) fn failed(&self, offset: Offset) -> Option<&Failed> {
        self.failed.get(&offset)
    }

    /// How many events have failed attempts.
    pub(crate) fn n_failed(&self) -> usize {
        self.failed.len()
    }

    /// Settles events and forgets their attempts.
    pub(crate) fn settle(&mut self, events: Range<Offset>, room: &mut Room) {
        let over_gaps = Offset::ZERO..events.end;
        let events = if is_planted(Bug::CursorMaxNotContiguous) { over_gaps } else { events };
        self.cursor.ack(events.clone());
        if events.end <= events.start {
            return;
        }
        while let Some((&offset, _)) = self.failed.range(events.clone()).next() {
            if let Some(failed) = self.failed.remove(&offset) {
                room.give_message(&failed.message);
            }
        }
    }

    /// Goes on elsewhere: what is before is settled, what is behind is not, and no attempt was made.
    pub(crate) fn seek(&mut self, to: Offset, room: &mut Room) {
        for failed in std::mem::take(&mut self.failed).into_values() {
            room.give_message(&failed.message);
        }
        self.cursor = AckFloor::new(to);
    }

    /// Counts an attempt on an event that is not settled; how many there are now.
    pub(crate) fn fail(&mut self, failure: &Failure, room: &mut Room) -> u32 {
        assert!(!self.cursor.is_acked(failure.offset), "a settled event cannot fail");
        let before = self.failed.remove(&failure.offset);
        let n_before = before.as_ref().map_or(0, |failed| failed.attempts);
        if let Some(before) = before {
            room.give_message(&before.message);
        }
        let attempts = n_before.saturating_add(1);
        let message = room.take_message(&failure.message);
        let failed = Failed { attempts, retry_at_ms: failure.retry_at_ms, message };
        self.failed.insert(failure.offset, failed);
        attempts
    }

    /// An event that failed need not wait. `false`: it did not.
    pub(crate) fn retry_now(&mut self, offset: Offset) -> bool {
        let failed = self.failed.get_mut(&offset).filter(|failed| failed.retry_at_ms > 0);
        failed.map(|failed| failed.retry_at_ms = 0).is_some()
    }

    /// How many of them wait for a person.
    pub(crate) fn n_paused(&self) -> usize {
        self.failed.values().filter(|failed| failed.retry_at_ms == NEVER_MS).count()
    }

    /// Events that wait for another attempt.
    pub(crate) fn failing(&self) -> impl Iterator<Item = (Offset, &Failed)> {
        self.failed.iter().map(|(&offset, failed)| (offset, failed))
    }

    /// What delivery must know; `end` is the topic's next offset.
    pub(crate) fn snapshot(&self, topic: TopicId, end: Offset) -> MailboxSnapshot {
        let failed = self.failed.iter().map(|(&offset, failed)| FailedEvent {
            offset,
            attempts: failed.attempts,
            retry_at_ms: failed.retry_at_ms,
        });
        MailboxSnapshot {
            topic,
            floor: self.cursor.floor(),
            acked: self.cursor.ranges(),
            failed: failed.collect(),
            end,
        }
    }

    /// Whether a mailbox that was read back keeps the invariants on a topic of these events; takes
    /// the room of its messages.
    pub(crate) fn is_sound(&self, events: Range<Offset>, room: &mut Room) -> bool {
        let is_sound = |(&offset, failed): (&Offset, &Failed)| {
            let has_room = room.take_message(&failed.message).len() == failed.message.len();
            has_room && offset < events.end && !self.cursor.is_acked(offset)
        };
        events.start <= self.cursor.floor()
            && self.cursor.is_sound(events.end)
            && self.failed.iter().all(is_sound)
    }
}
