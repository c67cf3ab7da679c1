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
use tidings_types::effect::{Redriven, Refused};
use tidings_types::event::NewEvent;
use tidings_types::id::TopicId;
use tidings_types::layout::command::DeadReason;
use tidings_types::layout::records::Records;
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
    /// What was published, of letters that a person edited. In the checkpoint it stands behind all
    /// groups.
    #[serde(skip)]
    originals: Originals,
}

/// What was published, by topic and offset: a records section each.
pub(crate) type Originals = BTreeMap<(TopicId, Offset), Bytes>;

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
        self.give_room(place, &letter.records, room);
        true
    }

    /// Gives a dead letter another payload, and keeps what was published beside it.
    ///
    /// # Errors
    /// If there is no such letter, or no room.
    pub(crate) fn edit(
        &mut self,
        (topic, offset): (TopicId, Offset),
        records: Bytes,
        room: &mut Room,
    ) -> Result<(), Refused> {
        let place = (topic, offset);
        let before = self.dead.get(&place).ok_or(Refused::NoSuchLetter { topic, offset })?;
        if !is_same_event(&before.records, &records) {
            return Err(Refused::OtherEvent);
        }
        let published = self.originals.get(&place).unwrap_or(&before.records).clone();
        let kept = if published == records { 0 } else { published.len() };
        let n_before = self.n_bytes(place, &before.records);
        if !room.resize_letter(n_before, records.len() + kept) {
            return Err(Refused::DeadLettersFull);
        }
        if kept == 0 {
            self.originals.remove(&place);
        } else {
            self.originals.insert(place, published);
        }
        let letter = Arc::make_mut(&mut self.dead).get_mut(&place).expect("just seen");
        Arc::make_mut(letter).records = records;
        Ok(())
    }

    /// What was published, if a person edited the letter since.
    pub(crate) fn original(&self, topic: TopicId, offset: Offset) -> Option<&Bytes> {
        self.originals.get(&(topic, offset))
    }

    /// Of all letters that were edited.
    pub(crate) const fn originals(&self) -> &Originals {
        &self.originals
    }

    /// Takes back what stood behind all groups in a checkpoint.
    pub(crate) fn restore(&mut self, originals: Originals) {
        self.originals = originals;
    }

    /// What a letter takes: its payload, and what was published if that is another one.
    fn n_bytes(&self, place: (TopicId, Offset), records: &Bytes) -> usize {
        records.len() + self.originals.get(&place).map_or(0, Bytes::len)
    }

    /// The letter is gone for good.
    fn give_room(&mut self, place: (TopicId, Offset), records: &Bytes, room: &mut Room) {
        room.give_letter(self.n_bytes(place, records));
        self.originals.remove(&place);
    }

    /// How many letters of a topic there are from here on, redriven ones too.
    pub(crate) fn n_from(&self, topic: TopicId, from: Offset) -> usize {
        let places = (topic, from)..=(topic, Offset::new(u64::MAX));
        self.dead.range(places.clone()).count() + self.redriven.range(places).count()
    }

    /// The events from here on come again from the log: their letters go, redriven ones too.
    pub(crate) fn come_again(&mut self, topic: TopicId, from: Offset, room: &mut Room) {
        self.settle(topic, from..Offset::new(u64::MAX), room);
        let places = (topic, from)..=(topic, Offset::new(u64::MAX));
        let dead: Vec<_> = self.dead.range(places).map(|(&(_, offset), _)| offset).collect();
        for offset in dead {
            self.discard(topic, offset, room);
        }
    }

    /// Settles the redriven events among these.
    pub(crate) fn settle(&mut self, topic: TopicId, events: Range<Offset>, room: &mut Room) {
        let places = (topic, events.start)..(topic, events.end);
        if self.redriven.is_empty() || places.end <= places.start {
            return;
        }
        while let Some((&place, _)) = self.redriven.range(places.clone()).next() {
            if let Some(redriving) = self.redriven.remove(&place) {
                self.give_room(place, &redriving.records, room);
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
        let dead = self.dead.iter().map(|(&place, letter)| self.n_bytes(place, &letter.records));
        let redriven = self.redriven.iter();
        let redriven = redriven.map(|(&place, redriving)| self.n_bytes(place, &redriving.records));
        let mut payloads = dead.chain(redriven);
        let is_placed = self.dead.iter().all(|(&place, l)| place == (l.topic, l.offset));
        let is_one = self.redriven.keys().all(|place| !self.dead.contains_key(place));
        let mut edited = self.originals.keys();
        let is_kept =
            edited.all(|place| self.dead.contains_key(place) || self.redriven.contains_key(place));
        let has_room = payloads.all(|n_bytes| room.take_letter(n_bytes));
        n_letters <= GROUP_DEAD_LETTERS_MAX && is_placed && is_one && is_kept && has_room
    }
}

/// Whether two sections hold one event each, which differ in their payload at most.
fn is_same_event(before: &Bytes, after: &Bytes) -> bool {
    let only = |bytes: &Bytes| {
        let records = Records::parse(bytes.clone()).ok()?;
        let mut events = records.events();
        let event = events.next()?.ok()?;
        events.next().is_none().then_some((records.topic, event))
    };
    let (Some((topic, before)), Some((other, after))) = (only(before), only(after)) else {
        return false;
    };
    let (before, after) = (before.as_new(), after.as_new());
    topic == other && NewEvent { payload: b"", ..before } == NewEvent { payload: b"", ..after }
}
