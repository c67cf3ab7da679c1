//! Several events of one type at once, for sinks that commit: one transaction instead of 64.

use std::path::Path;
use std::slice::Iter;
use std::sync::Arc;
use std::time::SystemTime;
use std::vec::IntoIter;

use tidings_delivery::session::Delivery;
use tidings_types::offset::Offset;

use crate::context::ServiceContext;
use crate::cx::time;
use crate::emit::Emitted;
use crate::event::Event;
use crate::failure::Failure;
use crate::publish::Publisher;

/// Events of one type, in order: as many as wait, up to 64.
#[derive(Debug)]
pub struct Batch<E> {
    pub(crate) items: Vec<Item<E>>,
}

impl<E> Batch<E> {
    /// How many; at least one.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Never: a batch has an event.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The events in order.
    pub fn iter(&self) -> Iter<'_, Item<E>> {
        self.items.iter()
    }
}

impl<E> IntoIterator for Batch<E> {
    type Item = Item<E>;
    type IntoIter = IntoIter<Item<E>>;

    fn into_iter(self) -> IntoIter<Item<E>> {
        self.items.into_iter()
    }
}

impl<'a, E> IntoIterator for &'a Batch<E> {
    type Item = &'a Item<E>;
    type IntoIter = Iter<'a, Item<E>>;

    fn into_iter(self) -> Iter<'a, Item<E>> {
        self.items.iter()
    }
}

/// One event of a batch.
#[derive(Debug)]
pub struct Item<E> {
    /// The event.
    pub event: E,
    pub(crate) idx: usize,
    pub(crate) topic: Arc<str>,
    pub(crate) delivery: Delivery,
}

impl<E> Item<E> {
    /// Its place in the batch.
    pub const fn idx(&self) -> usize {
        self.idx
    }

    /// The event's id. It is the same at every attempt.
    pub fn event_id(&self) -> &str {
        self.delivery.event.id()
    }

    /// The event's key; empty if it stands for itself.
    pub fn key(&self) -> &[u8] {
        self.delivery.event.key()
    }

    /// The topic that the event came from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The event's place in its topic.
    pub const fn offset(&self) -> Offset {
        self.delivery.offset
    }

    /// 1 at the first attempt.
    pub const fn attempt(&self) -> u32 {
        self.delivery.attempt
    }

    /// When the event was published, by its publisher's clock.
    pub fn time(&self) -> SystemTime {
        time(&self.delivery)
    }
}

/// The surroundings of one handling of a batch.
#[derive(Debug)]
pub struct BatchCx {
    pub(crate) context: Arc<ServiceContext>,
    pub(crate) turns: Vec<BatchTurn>,
}

/// What becomes of one event of a batch.
#[derive(Debug)]
pub(crate) struct BatchTurn {
    pub(crate) delivery: Delivery,
    pub(crate) emitted: Emitted,
    pub(crate) failure: Option<Failure>,
}

impl BatchCx {
    /// Gives one event an outcome of its own; the others have what the handler returns.
    ///
    /// Later events of its key in this batch come again behind it, whatever was done with them.
    ///
    /// # Panics
    /// If the batch has no such event.
    pub fn fail(&mut self, idx: usize, failure: impl Into<Failure>) {
        self.turn(idx).failure = Some(failure.into());
    }

    /// Publishes an event if, and only if, this one of the batch succeeds: it stands in the same
    /// log entry as its ack.
    ///
    /// # Panics
    /// If the batch has no such event.
    pub fn emit<E: Event>(&mut self, idx: usize, event: E) {
        let context = Arc::clone(&self.context);
        self.turn(idx).emitted.push(&event, context.publisher());
    }

    /// Publishes at once, whether this handling succeeds or not.
    pub fn publisher(&self) -> &Publisher {
        self.context.publisher()
    }

    /// Where services keep what they project.
    pub fn data_dir(&self) -> &Path {
        self.context.data_dir()
    }

    /// The group whose mailbox is read.
    pub fn group(&self) -> &str {
        self.context.group()
    }

    fn turn(&mut self, idx: usize) -> &mut BatchTurn {
        let n_events = self.turns.len();
        let turn = self.turns.get_mut(idx);
        turn.unwrap_or_else(|| panic!("batch of {n_events} has no event {idx}"))
    }
}
