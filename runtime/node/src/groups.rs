//! What delivery knows of groups beside their events: their names, and why one is paused.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tidings_types::id::GroupId;
use tidings_types::name::GroupName;

/// See the module's description. Cheap to clone; all clones are one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupNames {
    names: Arc<RwLock<BTreeMap<GroupId, GroupName>>>,
    paused: Arc<RwLock<BTreeMap<GroupId, String>>>,
}

impl GroupNames {
    pub(crate) fn insert(&self, group: GroupId, name: &GroupName) {
        // Each write is whole, so a table that a panic poisoned is still sound.
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.entry(group).or_insert_with(|| name.clone());
    }

    /// The group's name, as a label.
    pub(crate) fn of(&self, group: GroupId) -> String {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&group).map_or_else(|| group.to_string(), ToString::to_string)
    }

    /// Remembers why a group is paused, or that it is not.
    pub(crate) fn set_paused(&self, group: GroupId, why: Option<String>) {
        let mut paused = self.paused.write().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => paused.insert(group, why),
            None => paused.remove(&group),
        };
    }

    /// Why the group is paused, if it is.
    pub(crate) fn paused(&self, group: GroupId) -> Option<String> {
        self.paused.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }
}
