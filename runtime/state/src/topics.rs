//! The topics: their names, and which offset each gives next.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_types::effect::Placed;
use tidings_types::id::TopicId;
use tidings_types::limits::TOPICS_MAX;
use tidings_types::name::TopicName;
use tidings_types::offset::Offset;

/// One topic. Its events are `start..end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
}

/// All topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Topics {
    by_id: BTreeMap<TopicId, Topic>,
    /// The last id that was given.
    last: TopicId,
    #[serde(skip)]
    by_name: Arc<BTreeMap<TopicName, TopicId>>,
}

impl Topics {
    /// The topic of that name.
    pub(crate) fn id(&self, name: &TopicName) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// The topic of that id.
    pub(crate) fn get(&self, topic: TopicId) -> Option<&Topic> {
        self.by_id.get(&topic)
    }

    /// The offset that the topic gives next; nothing lies below the end of an unknown one.
    pub(crate) fn end(&self, topic: TopicId) -> Offset {
        self.by_id.get(&topic).map_or(Offset::ZERO, |topic| topic.end)
    }

    /// All of them, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicId, &Topic)> {
        self.by_id.iter().map(|(&id, topic)| (id, topic))
    }

    /// Whether there may be so many more.
    pub(crate) fn has_room_for(&self, n_topics: usize) -> bool {
        self.by_id.len() + n_topics <= TOPICS_MAX
    }

    /// Makes a topic whose name is not taken and which there is room for.
    pub(crate) fn create(&mut self, name: TopicName) -> TopicId {
        assert!(self.has_room_for(1), "the caller has looked");
        let id = TopicId::new(self.last.get() + 1);
        self.last = id;
        let before = Arc::make_mut(&mut self.by_name).insert(name.clone(), id);
        assert!(before.is_none(), "the caller has looked");
        self.by_id.insert(id, Topic { name, start: Offset::ZERO, end: Offset::ZERO });
        id
    }

    /// Gives events their offsets. `None`: there is no such topic.
    pub(crate) fn place(&mut self, topic: TopicId, n_events: u32) -> Option<Placed> {
        let found = self.by_id.get_mut(&topic)?;
        let first = found.end;
        found.end = first.plus(n_events.into());
        Some(Placed { topic, first, n_events })
    }

    /// Moves the topic's earliest event up; never down.
    pub(crate) fn begin_at(&mut self, topic: TopicId, start: Offset) {
        if let Some(found) = self.by_id.get_mut(&topic) {
            assert!(start <= found.end, "no event is given up before it exists");
            found.start = found.start.max(start);
        }
    }

    /// Derives what is not stored. `false`: what was read back is not sound.
    pub(crate) fn restore(&mut self) -> bool {
        let names = self.by_id.iter().map(|(&id, topic)| (topic.name.clone(), id));
        self.by_name = Arc::new(names.collect());
        let is_sound =
            |(&id, topic): (&TopicId, &Topic)| id <= self.last && topic.start <= topic.end;
        self.by_name.len() == self.by_id.len() && self.by_id.iter().all(is_sound)
    }
}
