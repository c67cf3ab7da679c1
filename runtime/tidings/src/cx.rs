//! What a handler knows of the event before it, and what it can do beside its own work.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidings_delivery::session::Delivery;
use tidings_types::offset::Offset;

use crate::context::ServiceContext;
use crate::emit::Emitted;
use crate::event::Event;
use crate::publish::Publisher;

/// The surroundings of one handling of one event.
#[derive(Debug)]
pub struct Cx {
    pub(crate) context: Arc<ServiceContext>,
    pub(crate) topic: Arc<str>,
    pub(crate) delivery: Delivery,
    pub(crate) emitted: Emitted,
}

impl Cx {
    /// The event's id. It is the same at every attempt: effects outside go by it, so that a
    /// redelivery does not repeat them.
    pub fn event_id(&self) -> &str {
        self.delivery.event.id()
    }

    /// The event's type.
    pub fn kind(&self) -> &str {
        self.delivery.event.kind()
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

    /// Publishes an event if, and only if, this handling succeeds: it stands in the same log entry
    /// as the ack.
    ///
    /// An event that cannot be encoded or is too large makes the handled one a dead letter, with
    /// the reason.
    pub fn emit<E: Event>(&mut self, event: E) {
        self.emitted.push(&event, self.context.publisher());
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
}

pub(crate) fn time(delivery: &Delivery) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(delivery.event.time_ms)
}
