//! Publishing: events are checked, admitted and encoded on their caller's thread.
//!
//! Each goes into the open batch of its topic; one message is sent when a batch begins, and one
//! completion wakes all its futures.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use ractor::ActorRef;
use tidings_delivery::error::PublishError;
use tidings_types::effect::{Answer, Placed};
use tidings_types::event::{ID_BYTES, IdMaker, NewEvent};
use tidings_types::id::TopicId;
use tidings_types::layout::command::Command;
use tidings_types::limits::SECTION_BYTES_MAX;
use tidings_types::name::TopicName;
use tidings_types::offset::Offset;
use tidings_types::seam::{Clock, SplitMix};
use tidings_types::sync::{ByteGate, OpenBatch, Permit, Waiting, section_bytes};

use crate::commands::Commands;
use crate::error::CommandError;
use crate::mail::ToPubSub;
use crate::topics::TopicTable;

/// The answer to a batch.
pub(crate) type BatchResult = Result<Placed, PublishError>;

/// The open batches of all topics, by the topic's number. Topics count up, so a vector will do.
#[derive(Debug, Default)]
pub(crate) struct OpenBatches {
    topics: RwLock<Vec<Arc<OpenBatch<BatchResult>>>>,
}

impl OpenBatches {
    /// The topic's open batch.
    pub(crate) fn of(&self, topic: TopicId) -> Arc<OpenBatch<BatchResult>> {
        let idx = topic.get() as usize;
        // Each change is whole, so a table that a panic poisoned is still sound.
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = topics.get(idx) {
            return Arc::clone(batch);
        }
        drop(topics);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        while topics.len() <= idx {
            topics.push(Arc::default());
        }
        topics.get(idx).map(Arc::clone).expect("just made")
    }

    /// Tells all who wait for a departure that there will be none.
    pub(crate) fn refuse_all(&self) {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner).clone();
        topics.iter().for_each(|batch| refuse(batch));
    }
}

/// What was taken out cannot depart any more, so it is surely not stored.
fn refuse(batch: &OpenBatch<BatchResult>) {
    while let Some(sealed) = batch.take() {
        sealed.cell.complete(Err(PublishError::Stopping));
    }
}

/// Publishes events into the topics of the cluster.
///
/// Cheap to clone; all clones are one producer, so the order of publishing is the order in a topic.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) pubsub: ActorRef<ToPubSub>,
    pub(crate) batches: Arc<OpenBatches>,
    pub(crate) gate: ByteGate,
    pub(crate) topics: TopicTable,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Mutex<IdMaker<SplitMix>>,
}

impl Publisher {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// The topic of that name, made if there is none.
    ///
    /// # Errors
    /// If the command that makes it fails.
    pub async fn topic(&self, name: &TopicName) -> Result<TopicId, CommandError> {
        if let Some(topic) = self.known_topic(name) {
            return Ok(topic);
        }
        let commands = Commands { pubsub: self.shared.pubsub.clone() };
        match commands.run(Command::CreateTopic { name: name.clone() }).await? {
            Answer::Topic { topic, .. } => Ok(topic),
            _ => Err(CommandError::Unknown),
        }
    }

    /// The topic of that name, if this node knows it.
    pub fn known_topic(&self, name: &TopicName) -> Option<TopicId> {
        self.shared.topics.id(name)
    }

    /// The name of a topic.
    pub fn topic_name(&self, topic: TopicId) -> Option<TopicName> {
        self.shared.topics.name(topic)
    }

    /// Publishes one event and waits for its answer: its place in the topic.
    ///
    /// `Ok` means stored: on the disk of a majority, by fdatasync. Dropping the future after its
    /// first poll stops the waiting and not the publishing.
    ///
    /// # Errors
    /// [`PublishError::retry`] tells whether it may be stored all the same.
    pub async fn publish(
        &self,
        topic: TopicId,
        event: &NewEvent<'_>,
    ) -> Result<Offset, PublishError> {
        self.submit(topic, event).await?.await
    }

    /// Hands one event over, waiting for admission only; the receipt is the answer to come.
    ///
    /// Events that are submitted one after the other have their offsets in that order.
    ///
    /// # Errors
    /// The event is surely not stored.
    pub async fn submit(
        &self,
        topic: TopicId,
        event: &NewEvent<'_>,
    ) -> Result<Receipt, PublishError> {
        event.check()?;
        let permit = self.admit(event.encoded_bytes()).await;
        self.push(topic, std::slice::from_ref(event), permit)
    }

    /// Hands one event over, or says [`PublishError::Busy`] instead of waiting for admission.
    ///
    /// # Errors
    /// The event is surely not stored.
    pub fn try_submit(
        &self,
        topic: TopicId,
        event: &NewEvent<'_>,
    ) -> Result<Receipt, PublishError> {
        event.check()?;
        let permit = self.shared.gate.try_acquire(event.encoded_bytes());
        let permit = permit.ok_or(PublishError::Busy)?;
        self.push(topic, std::slice::from_ref(event), permit)
    }

    /// Publishes all events or none, as part of one section of one log entry, in order.
    ///
    /// # Panics
    /// If there is no event.
    ///
    /// # Errors
    /// [`PublishError::retry`] tells whether they may be stored all the same.
    pub async fn publish_all(
        &self,
        topic: TopicId,
        events: &[NewEvent<'_>],
    ) -> Result<Placed, PublishError> {
        for event in events {
            event.check()?;
        }
        let n_bytes = section_bytes(events);
        if n_bytes > SECTION_BYTES_MAX {
            return Err(PublishError::TooLarge { n_bytes });
        }
        let permit = self.admit(n_bytes).await;
        let Receipt { idx, waiting } = self.push(topic, events, permit)?;
        let placed = waiting.await?;
        let n_events = u32::try_from(events.len()).expect("a section has fewer events than bytes");
        Ok(Placed { first: placed.first.plus(idx.into()), n_events, ..placed })
    }

    /// A fresh event id.
    pub fn new_id<'b>(&self, buffer: &'b mut [u8; ID_BYTES]) -> &'b str {
        let mut ids = self.shared.ids.lock().expect("nobody panics while holding the lock");
        ids.make(self.wall_ms(), buffer)
    }

    /// Wall time in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.shared.clock.wall_ms()
    }

    /// Bytes of events that were taken from callers and are not answered.
    pub(crate) fn admitted_bytes(&self) -> usize {
        self.shared.gate.n_held()
    }

    async fn admit(&self, n_bytes: usize) -> Permit {
        match self.shared.gate.try_acquire(n_bytes) {
            Some(permit) => permit,
            None => self.shared.gate.acquire(n_bytes).await,
        }
    }

    /// Encodes the events into the topic's open batch, and tells the PubSub actor when one begins.
    fn push(
        &self,
        topic: TopicId,
        events: &[NewEvent<'_>],
        permit: Permit,
    ) -> Result<Receipt, PublishError> {
        let now = self.shared.clock.now();
        let batch = self.shared.batches.of(topic);
        let pushed = batch.push_all(events, false, permit, now);
        if pushed.must_kick && self.shared.pubsub.cast(ToPubSub::Kick(topic)).is_err() {
            // Without the actor nothing leaves this process any more, and who has joined the batch
            // since relies on this kick.
            refuse(&batch);
            return Err(PublishError::Stopping);
        }
        Ok(Receipt { idx: pushed.idx, waiting: pushed.cell.wait() })
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// The answer to come to one submitted event. Dropping it stops the waiting and not the publishing.
#[derive(Debug)]
#[must_use = "an event is stored when its receipt says so"]
pub struct Receipt {
    idx: u32,
    waiting: Waiting<BatchResult>,
}

impl Future for Receipt {
    type Output = Result<Offset, PublishError>;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        let idx = self.idx;
        let placed = ready!(Pin::new(&mut self.waiting).poll(ctx));
        Poll::Ready(placed.map(|placed| placed.first.plus(idx.into())))
    }
}
