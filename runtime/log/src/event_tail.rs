//! The newest events in memory, by topic and offset; they share the memory of their entries.

use std::collections::{BTreeMap, VecDeque};

use tidings_types::id::TopicId;
use tidings_types::offset::{LogIndex, Offset};

use crate::block::Block;
use crate::queue::pop_front_if;

/// See the module's description.
#[derive(Default)]
pub(crate) struct EventTail {
    by_topic: BTreeMap<TopicId, VecDeque<Block>>,
    /// All blocks as they came: which entry, which topic.
    order: VecDeque<(LogIndex, TopicId)>,
}

impl EventTail {
    pub(crate) fn push(&mut self, index: LogIndex, block: Block) {
        self.order.push_back((index, block.placed.topic));
        self.by_topic.entry(block.placed.topic).or_default().push_back(block);
    }

    /// Entries up to this one left the memory.
    pub(crate) fn evict(&mut self, through: LogIndex) {
        while let Some((_, topic)) = pop_front_if(&mut self.order, |(index, _)| *index <= through) {
            let blocks = self.by_topic.get_mut(&topic).expect("it is in the order");
            blocks.pop_front();
            if blocks.is_empty() {
                self.by_topic.remove(&topic);
            }
        }
    }

    /// The block that holds an offset and those behind it; `None` if it is not here.
    pub(crate) fn read(
        &self,
        topic: TopicId,
        from: Offset,
        max_bytes: usize,
    ) -> Option<Vec<Block>> {
        let blocks = self.by_topic.get(&topic)?;
        if from < blocks.front()?.placed.first {
            return None;
        }
        let end = |block: &Block| block.placed.first.plus(u64::from(block.placed.n_events));
        let start = blocks.partition_point(|block| end(block) <= from);
        let mut n_bytes = 0;
        let within = blocks.range(start..).take_while(|block| {
            let is_first = n_bytes == 0;
            n_bytes += block.records.events_bytes();
            is_first || n_bytes <= max_bytes
        });
        let found: Vec<Block> = within.cloned().collect();
        (!found.is_empty()).then_some(found)
    }
}
