//! All that the entries so far have come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidings_types::effect::GroupSnapshot;
use tidings_types::id::{GroupId, Incarnation, NodeId};
use tidings_types::name::GroupName;
use tidings_types::offset::LogIndex;

use crate::group::Group;
use crate::publishers::Publishers;
use crate::room::Room;
use crate::topics::Topics;

/// The state machine. Equal entries in equal order give equal states.
///
/// A clone shares payloads and messages, so that a checkpoint can be encoded elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) applied: LogIndex,
    pub(crate) ts_ms: u64,
    pub(crate) topics: Topics,
    pub(crate) publishers: Publishers,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// The last id that was given.
    pub(crate) last_group: GroupId,
    /// The newest start of each node that ever joined a group.
    pub(crate) nodes: BTreeMap<NodeId, Incarnation>,
    #[serde(skip)]
    pub(crate) group_ids: BTreeMap<GroupName, GroupId>,
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
        let snapshot = |(&id, group): (&GroupId, &Group)| group.snapshot(id, &self.topics);
        self.groups.iter().map(snapshot).collect()
    }
}
