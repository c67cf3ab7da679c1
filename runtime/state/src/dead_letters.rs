//! Events that a group gave up, and those of them that are delivered once more.
//!
//! ```text
//!   event ──DeadLetter──▶ dead ──Redrive──▶ redriven ──ack, turn──▶ gone
//!                           ▲                  │
//!                           └────DeadLetter────┘
//! ```
//!
//! A letter keeps the event's payload, so that it can be shown and redriven after the log is gone.
//! Invariant: a redriven event keeps its place and its room among the dead letters, so that it can
//! always die again; nothing is ever dropped but what a person discards.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_types::effect::Redriven;
use tidings_types::id::TopicId;
use tidings_types::layout::command::DeadReason;
use tidings_types::limits::GROUP_DEAD_LETTERS_MAX;
use tidings_types::offset::Offset;

use crate::room::Room;

/// An event that a group gave up, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterView {
    /// The event's topic.
    pub topic: TopicId,
    /// The event's offset.
    pub offset: Offset,
    /// Why it was given up.
    pub reason: DeadReason,
    /// The last error's text.
    pub message: String,
    /// Attempts made, the last one included.
    pub attempts: u32,
    /// When it was given up, in milliseconds of cluster time.
    pub dead_at_ms: u64,
    /// The event: a records section of this one event.
    pub records: Bytes,
}

/// The dead letters of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadLetters {
    /// Shared between clones until one of them buries or redrives.
    dead: Arc<BTreeMap<(TopicId, Offset), Arc<DeadLetterView>>>,
    redriven: BTreeMap<(TopicId, Offset), Redriving>,
    /// Numbers redriven events in the order in which they were.
    n_ever_redriven: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Redriving {
    order: u64,
    attempts: u32,
    retry_at_ms: u64,
    records: Bytes,
}

impl Redriving {
    fn as_effect(&self, (topic, offset): (TopicId, Offset)) -> Redriven {
        Redriven {
            topic,
            offset,
            number: self.order,
            attempts: self.attempts,
            retry_at_ms: self.retry_at_ms,
            records: self.records.clone(),
        }
    }
}

impl DeadLetters {
    /// The dead letters, by topic and offset.
    pub(crate) fn dead(&self) -> impl Iterator<Item = &DeadLetterView> {
        self.dead.values().map(Arc::as_ref)
    }

    /// How many events are dead letters.
    pub(crate) fn n_dead(&self) -> usize {
        self.dead.len()
    }

    /// How many events are redriven and not settled.
    pub(crate) fn n_redriven(&self) -> usize {
        self.redriven.len()
    }

    /// Whether the event is a dead letter.
    pub(crate) fn is_dead(&self, topic: TopicId, offset: Offset) -> bool {
        self.dead.contains_key(&(topic, offset))
    }

    /// Whether the event is redriven and not settled.
    pub(crate) fn is_redriven(&self, topic: TopicId, offset: Offset) -> bool {
        self.redriven.contains_key(&(topic, offset))
    }

    /// Keeps a letter; one that was redriven takes its old place, with the payload that it had.
    /// `false`: there is no room for it.
    pub(crate) fn bury(&mut self, mut letter: DeadLetterView, room: &mut Room) -> bool {
        let place = (letter.topic, letter.offset);
        if let Some(redriving) = self.redriven.remove(&place) {
            letter.records = redriving.records;
        } else {
            let n_letters = self.dead.len() + self.redriven.len();
            let has_place = n_letters < GROUP_DEAD_LETTERS_MAX;
            if !has_place || !room.take_letter(letter.records.len()) {
                return false;
            }
        }
        let before = Arc::make_mut(&mut self.dead).insert(place, Arc::new(letter));
        assert!(before.is_none(), "an event dies once before it is redriven");
        true
    }

    /// Takes a dead letter back into delivery, without the attempts that it had.
    pub(crate) fn redrive(&mut self, topic: TopicId, offset: Offset) -> Option<Redriven> {
        let place = (topic, offset);
        if !self.dead.contains_key(&place) {
            return None;
        }
        let letter = Arc::make_mut(&mut self.dead).remove(&place)?;
        let order = self.n_ever_redriven;
        self.n_ever_redriven += 1;
        let records = letter.records.clone();
        let redriving = Redriving { order, attempts: 0, retry_at_ms: 0, records };
        let effect = redriving.as_effect(place);
        self.redriven.insert(place, redriving);
        Some(effect)
    }

    /// Counts an attempt on a redriven event; how many there are now.
    pub(crate) fn fail(&mut self, topic: TopicId, offset: Offset, retry_at_ms: u64) -> Option<u32> {
        let redriving = self.redriven.get_mut(&(topic, offset))?;
        redriving.attempts = redriving.attempts.saturating_add(1);
        redriving.retry_at_ms = retry_at_ms;
        Some(redriving.attempts)
    }

    /// A redriven event that failed need not wait. `false`: it did not, or there is none.
    pub(crate) fn retry_now(&mut self, topic: TopicId, offset: Offset) -> bool {
        let redriving = self.redriven.get_mut(&(topic, offset));
        let redriving = redriving.filter(|redriving| redriving.retry_at_ms > 0);
        redriving.map(|redriving| redriving.retry_at_ms = 0).is_some()
    }

    /// Takes a dead letter away for good. `false`: there is none.
    pub(crate) fn discard(&mut self, topic: TopicId, offset: Offset, room: &mut Room) -> bool {
        let place = (topic, offset);
        if !self.dead.contains_key(&place) {
            return false;
        }
        let letter = Arc::make_mut(&mut self.dead).remove(&place).expect("just seen");
        room.give_letter(letter.records.len());
        true
    }

    /// Settles the redriven events among these.
    pub(crate) fn settle(&mut self, topic: TopicId, events: Range<Offset>, room: &mut Room) {
        let places = (topic, events.start)..(topic, events.end);
        if self.redriven.is_empty() || places.end <= places.start {
            return;
        }
        while let Some((&place, _)) = self.redriven.range(places.clone()).next() {
            if let Some(redriving) = self.redriven.remove(&place) {
                room.give_letter(redriving.records.len());
            }
        }
    }

    /// Redriven events that are not settled, oldest first.
    pub(crate) fn redriven(&self) -> Vec<Redriven> {
        let mut redriven: Vec<_> = self.redriven.iter().collect();
        redriven.sort_by_key(|(_, redriving)| redriving.order);
        redriven.into_iter().map(|(&place, redriving)| redriving.as_effect(place)).collect()
    }

    /// Whether letters that were read back keep the bounds; takes their room.
    pub(crate) fn is_sound(&self, room: &mut Room) -> bool {
        let n_letters = self.dead.len() + self.redriven.len();
        let dead = self.dead.values().map(|letter| letter.records.len());
        let redriven = self.redriven.values().map(|redriving| redriving.records.len());
        let mut payloads = dead.chain(redriven);
        let is_placed = self.dead.iter().all(|(&place, l)| place == (l.topic, l.offset));
        let is_one = self.redriven.keys().all(|place| !self.dead.contains_key(place));
        let has_room = payloads.all(|n_bytes| room.take_letter(n_bytes));
        n_letters <= GROUP_DEAD_LETTERS_MAX && is_placed && is_one && has_room
    }
}
