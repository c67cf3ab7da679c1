//! Reading a topic's events from any offset, newest from memory, older from the disk.

use tidings_log::{Block, TailRead};
use tidings_types::id::TopicId;
use tidings_types::layout::records::Event;
use tidings_types::limits::READ_STEP_BYTES;
use tidings_types::name::TopicName;
use tidings_types::offset::Offset;

use crate::error::ReadError;
use crate::handle::NodeHandle;

/// A page holds no more than this, or one event if that is larger.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl NodeHandle {
    /// The events from `from` on, at most `limit` of them and about 4 MiB. Empty at the end.
    ///
    /// # Errors
    /// If there is no such topic, if the events are no longer retained, or if the log cannot be
    /// read.
    pub async fn read(
        &self,
        topic: &TopicName,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<(Offset, Event)>, ReadError> {
        let wanted = topic.clone();
        let look = move |core: &tidings_replica::Replica| {
            let state = core.state();
            state.topic_id(&wanted).and_then(|topic| state.topic(topic))
        };
        let no_such = || ReadError::NoSuchTopic { name: topic.to_string() };
        let view = self.inspect(look).await?.ok_or_else(no_such)?;
        if from < view.start {
            let (from, start) = (from.get(), view.start.get());
            return Err(ReadError::BelowStart { name: topic.to_string(), from, start });
        }
        let mut events = Vec::new();
        let (mut next, mut n_bytes) = (from, 0);
        while next < view.end && events.len() < limit && n_bytes < PAGE_BYTES_MAX {
            let blocks = self.blocks(view.id, next).await?;
            if blocks.is_empty() {
                break;
            }
            for (offset, event) in events_from(&blocks, next) {
                if events.len() == limit || n_bytes >= PAGE_BYTES_MAX {
                    break;
                }
                n_bytes += event.encoded_bytes();
                next = offset.next();
                events.push((offset, event));
            }
        }
        Ok(events)
    }

    /// Blocks whose first one holds `from`; empty at the end.
    pub(super) async fn blocks(
        &self,
        topic: TopicId,
        from: Offset,
    ) -> Result<Vec<Block>, ReadError> {
        let reader = &self.shared.reader;
        let failed = |reason: String| ReadError::Log { reason };
        match reader.read_tail(topic, from, READ_STEP_BYTES) {
            TailRead::Hit(blocks) => return Ok(blocks),
            TailRead::End => return Ok(Vec::new()),
            TailRead::Miss => {}
        }
        if self.shared.reads_inline {
            let blocks = reader.read_disk(topic, from, READ_STEP_BYTES);
            return blocks.map_err(|error| failed(error.to_string()));
        }
        let reader = reader.clone();
        let read = move || reader.read_disk(topic, from, READ_STEP_BYTES);
        match self.shared.core.spawn_blocking(read).await {
            Ok(blocks) => blocks.map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    pub(super) fn topic_text(&self, topic: TopicId) -> String {
        let name = self.shared.publisher.topic_name(topic);
        name.map_or_else(|| topic.to_string(), Into::into)
    }
}

/// The events of these blocks at `from` and after. A malformed one ends its block: the crc of its
/// section was checked when it was read, so there is none.
pub(super) fn events_from(blocks: &[Block], from: Offset) -> impl Iterator<Item = (Offset, Event)> {
    let of_block = move |block: &Block| {
        let first = block.placed.first;
        let numbered = (0..).zip(block.records.events());
        let numbered = numbered.map_while(move |(n, event)| Some((first.plus(n), event.ok()?)));
        numbered.filter(move |(offset, _)| from <= *offset).collect::<Vec<_>>()
    };
    blocks.iter().flat_map(of_block)
}
