//! What the services of this process are doing, for people: written by supervisors, read by all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_delivery::family::{Restart, Strategy};
use tidings_types::name::GroupName;

use crate::seat::Seat;

/// One service's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It waits for its group to be committed.
    Starting,
    /// It takes events.
    Running,
    /// It finishes what it has.
    Draining,
    /// A child died too often; its backlog waits.
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

/// One child's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildLife {
    /// It waits for its delay, or for others to end.
    Waiting,
    Up,
    /// It was asked to end.
    Ending,
    /// It does not come back.
    Gone,
}

impl ChildLife {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Up => "up",
            Self::Ending => "ending",
            Self::Gone => "gone",
        }
    }
}

/// One child, as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct ChildStatus {
    pub(crate) name: String,
    pub(crate) restart: Restart,
    pub(crate) life: ChildLife,
    /// When this life began, by the node's clock.
    pub(crate) since: Duration,
    pub(crate) n_restarts: u64,
    /// Why it ended last.
    pub(crate) last_reason: Option<String>,
    /// A worker's events.
    pub(crate) seat: Option<Arc<Seat>>,
}

/// One service, as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct ServiceStatus {
    pub(crate) life: Life,
    pub(crate) reason: Option<String>,
    pub(crate) n_workers: u32,
    pub(crate) n_restarts: u64,
    pub(crate) strategy: Strategy,
    /// In the order of their start.
    pub(crate) children: Vec<ChildStatus>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    services: Mutex<BTreeMap<GroupName, ServiceStatus>>,
}

impl Registry {
    pub(crate) fn add(&self, group: GroupName, n_workers: u32, strategy: Strategy) {
        let (life, reason, children) = (Life::Starting, None, Vec::new());
        let status = ServiceStatus { life, reason, n_workers, n_restarts: 0, strategy, children };
        self.lock().insert(group, status);
    }

    pub(crate) fn change(&self, group: &GroupName, change: impl FnOnce(&mut ServiceStatus)) {
        if let Some(status) = self.lock().get_mut(group) {
            change(status);
        }
    }

    /// Looks at them without a copy; to be quick, as supervisors wait meanwhile.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&BTreeMap<GroupName, ServiceStatus>) -> R) -> R {
        look(&self.lock())
    }

    pub(crate) fn all(&self) -> BTreeMap<GroupName, ServiceStatus> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<GroupName, ServiceStatus>> {
        // Each change is whole, so a table that a panic poisoned is still sound.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
