//! Publishing typed events: encoded once on the caller's thread, stored when the answer says so.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use serde::Serialize;
use thiserror::Error;
use tidings_node::error::CommandError;
use tidings_node::publish;
use tidings_types::effect::Refused;
use tidings_types::event::{ID_BYTES, NewEvent};
use tidings_types::id::TopicId;
use tidings_types::limits::{PUBLISH_REFUSED_PAUSE, PUBLISH_WAIT_MAX};
use tidings_types::name::{BadName, TopicName};
use tidings_types::offset::Offset;
use tidings_types::retry::Retry;
use tokio::time::{sleep, timeout};

use crate::codec::EncodeError;
use crate::event::{Event, EventId};

/// Where a published event stands. Having one means that the event is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Its id.
    pub id: EventId,
    /// Its topic.
    pub topic: &'static str,
    /// Its place in the topic.
    pub offset: Offset,
}

/// Why an event is not, or perhaps not, stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// Its content cannot be encoded.
    #[error("event of type {kind}: {source}")]
    Encode {
        /// The event's type.
        kind: &'static str,
        /// What the codec said.
        source: EncodeError,
    },
    /// Its type names a topic that cannot be one.
    #[error("topic {topic:?} of type {kind}: {source}")]
    TopicName {
        /// The event's type.
        kind: &'static str,
        /// The name.
        topic: &'static str,
        /// What is wrong with it.
        source: BadName,
    },
    /// Its topic did not exist and could not be made; the event is surely not stored.
    #[error("topic {topic} cannot be made: {source}")]
    Topic {
        /// The topic.
        topic: &'static str,
        /// Why not.
        source: CommandError,
    },
    /// The node's answer.
    #[error(transparent)]
    Node(#[from] tidings_delivery::error::PublishError),
}

impl PublishError {
    /// What the caller may do. Only [`Retry::Unknown`] leaves open whether the event is stored.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Encode { .. } | Self::TopicName { .. } => Retry::Never,
            Self::Topic { source: CommandError::Refused(Refused::TooManyTopics), .. } => {
                Retry::Never
            }
            // The topic may have been made, the event is surely not stored: making it is repeatable.
            Self::Topic { .. } => Retry::SameRequest,
            Self::Node(error) => error.retry(),
        }
    }
}

/// Publishes events of any type, each to the topic that its type names.
///
/// Cheap to clone; all clones are one producer, so that the order of publishing is the order in a
/// topic. The first event of a type makes its topic.
///
/// ```no_run
/// # use tidings::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
/// # struct UserSignedUp { user_id: Uuid }
/// # async fn example(publisher: Publisher, event: UserSignedUp) -> Result<(), PublishError> {
/// let published = publisher.publish(&event).await?; // on the disk of a majority now
/// println!("{} is event {} of topic {}", published.id, published.offset, published.topic);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Publisher {
    node: publish::Publisher,
    /// Read at each publish, written once for each topic: hence a read-write lock.
    topics: Arc<RwLock<HashMap<&'static str, TopicId>>>,
}

impl Publisher {
    pub(crate) fn new(node: publish::Publisher) -> Self {
        Self { node, topics: Arc::default() }
    }

    /// Publishes an event and waits until it is stored.
    ///
    /// Dropping the future after its first poll stops the waiting and not the publishing.
    ///
    /// # Errors
    /// [`PublishError::retry`] tells whether it may be stored all the same.
    pub async fn publish<E: Event>(&self, event: &E) -> Result<Published, PublishError> {
        self.submit(event).await?.await
    }

    /// Hands an event over, waiting for admission only; the receipt is the answer to come.
    ///
    /// Events that are submitted one after the other stand in their topic in that order.
    ///
    /// # Errors
    /// The event is surely not stored.
    pub async fn submit<E: Event>(&self, event: &E) -> Result<Receipt, PublishError> {
        let topic = self.topic::<E>().await?;
        let draft = Draft::of(event)?;
        let id = self.new_id();
        let new = draft.event::<E>(&id, self.node.wall_ms());
        let answer = self.node.submit(topic, &new).await?;
        draft.put_back();
        Ok(Receipt { answer, id, topic: E::TOPIC })
    }

    /// Hands an event over, or says busy instead of waiting for admission.
    ///
    /// # Errors
    /// The event is surely not stored.
    pub async fn try_submit<E: Event>(&self, event: &E) -> Result<Receipt, PublishError> {
        let topic = self.topic::<E>().await?;
        let draft = Draft::of(event)?;
        let id = self.new_id();
        let answer = self.node.try_submit(topic, &draft.event::<E>(&id, self.node.wall_ms()))?;
        draft.put_back();
        Ok(Receipt { answer, id, topic: E::TOPIC })
    }

    /// Publishes all events or none, next to each other and in order.
    ///
    /// # Errors
    /// [`PublishError::retry`] tells whether they may be stored all the same.
    pub async fn publish_all<E: Event>(
        &self,
        events: &[E],
    ) -> Result<Vec<Published>, PublishError> {
        let topic = self.topic::<E>().await?;
        let time_ms = self.node.wall_ms();
        let drafts = events.iter().map(Draft::of).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<EventId> = events.iter().map(|_| self.new_id()).collect();
        let pairs = drafts.iter().zip(&ids);
        let new: Vec<_> = pairs.map(|(draft, id)| draft.event::<E>(id, time_ms)).collect();
        let placed = self.node.publish_all(topic, &new).await?;
        let published = |(n, id)| Published { id, topic: E::TOPIC, offset: placed.first.plus(n) };
        Ok((0..).zip(ids).map(published).collect())
    }

    pub(crate) fn new_id(&self) -> EventId {
        let mut text = [0; ID_BYTES];
        self.node.new_id(&mut text);
        EventId::new(text)
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        self.node.wall_ms()
    }

    /// The topic of a type, made if there is none.
    pub(crate) async fn topic<E: Event>(&self) -> Result<TopicId, PublishError> {
        if let Some(topic) = self.known_topic(E::TOPIC) {
            return Ok(topic);
        }
        let name = TopicName::new(E::TOPIC);
        let name = name.map_err(|source| PublishError::TopicName {
            kind: E::KIND,
            topic: E::TOPIC,
            source,
        })?;
        self.make_topic(E::TOPIC, &name).await
    }

    /// The topic of a name that passed [`TopicName::new`], made if there is none.
    pub(crate) async fn topic_named(
        &self,
        topic: &'static str,
        name: &TopicName,
    ) -> Result<TopicId, PublishError> {
        match self.known_topic(topic) {
            Some(topic) => Ok(topic),
            None => self.make_topic(topic, name).await,
        }
    }

    fn known_topic(&self, topic: &'static str) -> Option<TopicId> {
        // Each write is whole, so a table that a panic poisoned is still sound.
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    async fn make_topic(
        &self,
        topic: &'static str,
        name: &TopicName,
    ) -> Result<TopicId, PublishError> {
        let id = match timeout(PUBLISH_WAIT_MAX, self.try_make_topic(name)).await {
            Ok(made) => made,
            Err(_) => Err(CommandError::NotProposed),
        };
        let id = id.map_err(|source| PublishError::Topic { topic, source })?;
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(topic, id);
        Ok(id)
    }

    /// While there is no leader, as right after the start, the event waits for its topic as it would
    /// wait for its place in it. Making a topic twice makes it once, so it can be asked for again.
    async fn try_make_topic(&self, name: &TopicName) -> Result<TopicId, CommandError> {
        loop {
            match self.node.topic(name).await {
                Err(CommandError::NotProposed | CommandError::Unknown) => {
                    sleep(PUBLISH_REFUSED_PAUSE).await;
                }
                made => return made,
            }
        }
    }
}

/// The answer to come to one submitted event. Dropping it stops the waiting and not the publishing.
#[derive(Debug)]
#[must_use = "an event is stored when its receipt says so"]
pub struct Receipt {
    answer: publish::Receipt,
    id: EventId,
    topic: &'static str,
}

impl Receipt {
    /// The event's id.
    pub const fn id(&self) -> EventId {
        self.id
    }
}

impl Future for Receipt {
    type Output = Result<Published, PublishError>;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        let (id, topic) = (self.id, self.topic);
        let answer = Pin::new(&mut self.answer).poll(ctx);
        answer.map(|answer| Ok(Published { id, topic, offset: answer? }))
    }
}

/// An event's key and content in bytes. Its memory is used again by the thread's next event.
#[derive(Default)]
pub(crate) struct Draft {
    key: String,
    payload: Vec<u8>,
}

thread_local! {
    static SPARE: Cell<Draft> = const { Cell::new(Draft { key: String::new(), payload: Vec::new() }) };
}

/// A buffer that a large event has grown beyond this is not kept.
const SPARE_BYTES_MAX: usize = 64 * 1024;

impl Draft {
    pub(crate) fn of<E: Event>(event: &E) -> Result<Self, PublishError> {
        // Another draft of this thread may be in use over an await: then this one starts empty.
        let mut draft = SPARE.take();
        draft.key.clear();
        draft.payload.clear();
        write!(draft.key, "{}", event.key()).expect("a string takes all text");
        match event.encode(&mut draft.payload) {
            Ok(()) => Ok(draft),
            Err(source) => Err(PublishError::Encode { kind: E::KIND, source }),
        }
    }

    pub(crate) fn event<'a, E: Event>(&'a self, id: &'a EventId, time_ms: u64) -> NewEvent<'a> {
        NewEvent {
            id: id.as_str(),
            kind: E::KIND,
            key: self.key.as_bytes(),
            time_ms,
            headers: &[],
            payload: &self.payload,
        }
    }

    pub(crate) fn put_back(self) {
        if self.payload.capacity() <= SPARE_BYTES_MAX {
            SPARE.set(self);
        }
    }
}
