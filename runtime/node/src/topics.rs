//! Names of topics and their numbers, for all who publish and show: read often, written rarely.
//!
//! A read-write lock, because each publish of a name reads it and only a new topic writes it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tidings_types::id::TopicId;
use tidings_types::name::TopicName;

/// See the module's description. Cheap to clone; all clones are one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicTable {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    ids: BTreeMap<TopicName, TopicId>,
    names: BTreeMap<TopicId, TopicName>,
}

impl TopicTable {
    pub(crate) fn id(&self, name: &TopicName) -> Option<TopicId> {
        self.read(|inner| inner.ids.get(name).copied())
    }

    pub(crate) fn name(&self, id: TopicId) -> Option<TopicName> {
        self.read(|inner| inner.names.get(&id).cloned())
    }

    pub(crate) fn insert(&self, name: TopicName, id: TopicId) {
        // Each write is whole, so a table that a panic poisoned is still sound.
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.names.insert(id, name.clone());
        inner.ids.insert(name, id);
    }

    fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }
}
