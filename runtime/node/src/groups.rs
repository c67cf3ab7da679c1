//! What delivery knows of groups beside their events: their names, and why one is paused.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tidings_types::id::{GroupId, TopicId};
use tidings_types::name::GroupName;

/// See the module's description. Cheap to clone; all clones are one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupNames {
    names: Arc<RwLock<BTreeMap<GroupId, GroupName>>>,
    paused: Arc<RwLock<BTreeMap<GroupId, BTreeMap<Cause, String>>>>,
}

/// What a group may be paused for; for several at once, too. Those that wait for a person come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    DeadLettersFull,
    TooManyHeld,
    ReadFailed(TopicId),
    BreakerOpen,
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

    /// Remembers that a group is paused for this, whatever else it is paused for.
    pub(crate) fn paused_for(&self, group: GroupId, cause: Cause, why: String) {
        let mut paused = self.paused.write().unwrap_or_else(PoisonError::into_inner);
        paused.entry(group).or_default().insert(cause, why);
    }

    /// The group is not paused for this any more.
    pub(crate) fn goes_on(&self, group: GroupId, cause: Cause) {
        let mut paused = self.paused.write().unwrap_or_else(PoisonError::into_inner);
        paused.entry(group).or_default().remove(&cause);
    }

    /// The group is not paused for anything that was told.
    pub(crate) fn forget_pauses_of(&self, group: GroupId) {
        self.paused.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    /// Nobody here knows any more who is paused.
    pub(crate) fn forget_pauses(&self) {
        self.paused.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All that the group is paused for, if it is.
    pub(crate) fn paused(&self, group: GroupId) -> Option<String> {
        let paused = self.paused.read().unwrap_or_else(PoisonError::into_inner);
        let whys: Vec<_> = paused.get(&group)?.values().map(String::as_str).collect();
        (!whys.is_empty()).then(|| whys.join("; and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who mends one cause must still see the other one.
    #[test]
    fn pauses_end_one_by_one() {
        let (names, group) = (GroupNames::default(), GroupId::new(1));
        names.paused_for(group, Cause::BreakerOpen, "it fails".to_owned());
        names.paused_for(group, Cause::DeadLettersFull, "full".to_owned());
        assert_eq!(names.paused(group).as_deref(), Some("full; and it fails"));
        names.goes_on(group, Cause::BreakerOpen);
        names.goes_on(group, Cause::ReadFailed(TopicId::new(1)));
        assert_eq!(names.paused(group).as_deref(), Some("full"));
        names.goes_on(group, Cause::DeadLettersFull);
        assert_eq!(names.paused(group), None);
        names.paused_for(group, Cause::BreakerOpen, "it fails".to_owned());
        names.forget_pauses_of(group);
        assert_eq!(names.paused(group), None, "it begins anew");
    }
}
