//! All that the entries so far have come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_types::effect::{GroupSnapshot, Refused};
use tidings_types::id::{GroupId, Incarnation, NodeId, TopicId};
use tidings_types::name::GroupName;
use tidings_types::offset::{LogIndex, Offset};

use crate::group::{Group, Groups};
use crate::publishers::Publishers;
use crate::retention::Boundaries;
use crate::room::Room;
use crate::topics::Topics;

/// The state machine. Equal entries in equal order give equal states.
///
/// A clone for a checkpoint that is encoded elsewhere is cheap: it shares whatever is large, and what
/// is changed behind it is copied only then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) applied: LogIndex,
    pub(crate) ts_ms: u64,
    pub(crate) topics: Topics,
    pub(crate) publishers: Publishers,
    pub(crate) groups: Groups,
    /// The last id that was given.
    pub(crate) last_group: GroupId,
    /// The newest start of each node that ever joined a group.
    pub(crate) nodes: BTreeMap<NodeId, Incarnation>,
    /// Came with the second form of checkpoints, which writes it behind all others.
    #[serde(skip)]
    pub(crate) boundaries: Boundaries,
    #[serde(skip)]
    pub(crate) group_ids: Arc<BTreeMap<GroupName, GroupId>>,
    #[serde(skip)]
    pub(crate) room: Room,
}

impl State {
    /// The state before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last entry that was applied.
    pub const fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Cluster time as of the last entry, in milliseconds. Never goes back.
    pub const fn ts_ms(&self) -> u64 {
        self.ts_ms
    }

    /// All that delivery must know to serve every group from here on.
    pub fn group_snapshots(&self) -> Vec<GroupSnapshot> {
        let snapshot = |(&id, group): (&GroupId, &Arc<Group>)| group.snapshot(id, &self.topics);
        self.groups.iter().map(snapshot).collect()
    }

    /// The entries that a purge may name, oldest first: the last Checkpoint entries.
    pub fn checkpoints(&self) -> impl Iterator<Item = LogIndex> {
        self.boundaries.indexes()
    }

    /// Whether a purge up to this entry would be accepted now.
    ///
    /// # Errors
    /// If it is none of [`State::checkpoints`], or a group still needs an event that would go.
    pub fn check_purge(&self, index: LogIndex) -> Result<(), Refused> {
        self.starts_behind(index).map(|_| ())
    }

    /// Where each topic begins behind a purge up to this entry.
    ///
    /// # Errors
    /// See [`State::check_purge`].
    pub(crate) fn starts_behind(
        &self,
        index: LogIndex,
    ) -> Result<Arc<Vec<(TopicId, Offset)>>, Refused> {
        let starts = self.boundaries.starts_behind(index);
        let starts = starts.ok_or(Refused::NotACheckpoint { index })?;
        for (&group, found) in &self.groups {
            for (&topic, mailbox) in &found.mailboxes {
                let floor = mailbox.cursor().floor();
                let start_idx = starts.binary_search_by_key(&topic, |&(topic, _)| topic);
                let start = start_idx.ok().and_then(|idx| starts.get(idx));
                if start.is_some_and(|&(_, start)| floor < start) {
                    return Err(Refused::PurgePinned { group, topic, floor });
                }
            }
        }
        Ok(starts)
    }
}
