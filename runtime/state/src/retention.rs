//! What a purge may name: the last Checkpoint entries, and what would go with each.
//!
//! A purge takes away every entry up to a Checkpoint entry, that one included, so a topic's events
//! that go are those below its end behind that entry, whatever stood beside the command.
//!
//! ```text
//!   entries   … 41  42  43 Checkpoint │ 44 …
//!   topic       0 ── 17  18 ── 25     │ 26 …     `Purge 43` moves its start to 26
//! ```
//!
//! The log is every group's mailbox, so what a group has not settled holds it. Acks above a floor
//! do not count: the event at the floor itself would go. A dead letter and a redriven event hold
//! nothing, because both are settled in their mailbox and carry their payload themselves.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_types::id::TopicId;
use tidings_types::limits::CHECKPOINTS_KEPT;
use tidings_types::offset::{LogIndex, Offset};

use crate::topics::Topics;

/// The last Checkpoint entries, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boundaries(VecDeque<Boundary>);

/// One Checkpoint entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Boundary {
    index: LogIndex,
    /// The end that each topic had behind it, by topic. Shared between clones.
    ends: Arc<Vec<(TopicId, Offset)>>,
}

impl Boundaries {
    /// Remembers an entry that was applied whole and held a Checkpoint; forgets the oldest one.
    pub(crate) fn note(&mut self, index: LogIndex, topics: &Topics) {
        if self.0.len() == CHECKPOINTS_KEPT {
            self.0.pop_front();
        }
        let ends = topics.iter().map(|(topic, found)| (topic, found.end)).collect();
        self.0.push_back(Boundary { index, ends: Arc::new(ends) });
    }

    /// The entries that a purge may name, oldest first.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = LogIndex> {
        self.0.iter().map(|boundary| boundary.index)
    }

    /// Where each topic would begin if the entries up to this one went. `None`: it is no Checkpoint
    /// entry, or an old one.
    pub(crate) fn starts_behind(&self, index: LogIndex) -> Option<Arc<Vec<(TopicId, Offset)>>> {
        let found = self.0.iter().find(|boundary| boundary.index == index);
        found.map(|boundary| Arc::clone(&boundary.ends))
    }

    /// Entries below a purged one are gone and never named again.
    pub(crate) fn purged(&mut self, index: LogIndex) {
        self.0.retain(|boundary| index <= boundary.index);
    }

    /// Whether what was read back fits to the topics and the last entry.
    pub(crate) fn is_sound(&self, topics: &Topics, applied: LogIndex) -> bool {
        let is_real = |boundary: &Boundary| {
            let is_past = |&(topic, end): &(TopicId, Offset)| {
                topics.get(topic).is_some_and(|found| end <= found.end)
            };
            boundary.index <= applied
                && boundary.ends.is_sorted_by(|(left, _), (right, _)| left < right)
                && boundary.ends.iter().all(is_past)
        };
        self.0.len() <= CHECKPOINTS_KEPT
            && self.0.iter().is_sorted_by(|left, right| left.index < right.index)
            && self.0.iter().all(is_real)
    }
}
