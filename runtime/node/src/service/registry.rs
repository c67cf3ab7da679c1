//! What the services of this process are doing, for people: written by supervisors, read by all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_types::name::GroupName;

/// One service's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It waits for its group to be committed.
    Starting,
    /// It takes events.
    Running,
    /// It finishes what it has.
    Draining,
    /// Its workers died too often; its backlog waits.
    Stopped,
}

impl Life {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// One service, as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct ServiceStatus {
    pub(crate) life: Life,
    pub(crate) reason: Option<String>,
    pub(crate) n_workers: u32,
    pub(crate) n_restarts: u64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    services: Mutex<BTreeMap<GroupName, ServiceStatus>>,
}

impl Registry {
    pub(crate) fn add(&self, group: GroupName, n_workers: u32) {
        let status = ServiceStatus { life: Life::Starting, reason: None, n_workers, n_restarts: 0 };
        self.lock().insert(group, status);
    }

    pub(crate) fn change(&self, group: &GroupName, change: impl FnOnce(&mut ServiceStatus)) {
        if let Some(status) = self.lock().get_mut(group) {
            change(status);
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<GroupName, ServiceStatus> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupName, ServiceStatus>> {
        // Each change is whole, so a table that a panic poisoned is still sound.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
