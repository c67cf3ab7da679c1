//! One node: its disk, and while it runs its process with the cores in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tidings_log::{Checkpoint, Disk, Job, Writer, checkpoint};
use tidings_replica::{Input, Replica};
use tidings_types::id::{Incarnation, NodeId, ProducerId};
use tidings_types::offset::LogIndex;

use crate::disk::SimDisk;
use crate::happen::What;
use crate::link::Uplink;
use crate::mail::Boxes;
use crate::publishing::Publishing;
use crate::serving::{Dispatching, Serving};
use crate::tokens::Tokens;

/// The rate of a clock that is right.
pub(crate) const CLOCK_RATE: u64 = 1_000;

/// A node of the cluster.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// Who votes while its log is empty.
    pub(crate) voters: Vec<NodeId>,
    /// Nothing, if it has no replica.
    pub(crate) disk: Option<SimDisk>,
    /// An older copy of it, as a backup would have.
    #[cfg(test)]
    pub(crate) copy: Option<SimDisk>,
    /// Its disk is not what it was, so it is to say that it is damaged.
    pub(crate) is_rolled_back: bool,
    pub(crate) process: Option<Process>,
    /// Counts its starts, so that what was meant for an earlier one is told apart.
    pub(crate) start: u32,
    /// Nothing of its process runs before.
    pub(crate) paused_until: u64,
    /// What came while it was paused.
    pub(crate) held: VecDeque<What>,
    /// How fast its monotonic clock runs.
    pub(crate) clock_rate: u64,
    /// How wrong its wall clock is.
    pub(crate) wall_skew_ms: i64,
    /// Its disk is slow until then, by so much.
    pub(crate) slow: (u64, u64),
    /// It never comes back.
    pub(crate) is_gone: bool,
}

impl Node {
    pub(crate) fn new(id: NodeId, voters: Vec<NodeId>, has_store: bool) -> Self {
        Self {
            id,
            voters,
            disk: has_store.then(SimDisk::new),
            #[cfg(test)]
            copy: None,
            is_rolled_back: false,
            process: None,
            start: 0,
            paused_until: 0,
            held: VecDeque::new(),
            clock_rate: CLOCK_RATE,
            wall_skew_ms: 0,
            slow: (0, 0),
            is_gone: false,
        }
    }

    pub(crate) fn store(&self) -> Option<&Store> {
        self.process.as_ref()?.store.as_ref()
    }

    pub(crate) fn store_mut(&mut self) -> Option<&mut Store> {
        self.process.as_mut()?.store.as_mut()
    }

    /// Whether its replica leads, in its own words.
    pub(crate) fn leads(&self) -> bool {
        self.store().is_some_and(|store| store.leads)
    }
}

/// What a running process has; lost when it ends.
pub(crate) struct Process {
    pub(crate) incarnation: Incarnation,
    pub(crate) store: Option<Store>,
    pub(crate) publishing: Publishing,
    pub(crate) tokens: Tokens,
    pub(crate) uplink: Uplink,
    /// On the leader: over which link each producer's answers go.
    pub(crate) producers: BTreeMap<ProducerId, u64>,
    /// Between the cores of this process.
    pub(crate) mail: Boxes,
    pub(crate) serving: Serving,
    /// Nothing, if it has no replica.
    pub(crate) dispatching: Option<Dispatching>,
}

/// The part of a process that is its replica.
pub(crate) struct Store {
    pub(crate) replica: Replica,
    pub(crate) writer: Writer,
    /// What waits for the disk.
    pub(crate) queued: Vec<Job>,
    /// What the disk is busy with.
    pub(crate) writing: Vec<Job>,
    /// What is being written beside the log, oldest first.
    pub(crate) aside: VecDeque<Aside>,
    /// The next wake that is on its way.
    pub(crate) wake: Option<Duration>,
    pub(crate) leads: bool,
    /// It took a step since somebody looked where it stands.
    pub(crate) has_stepped: bool,
    /// What it has said to be settled in this life: group, topic, offset.
    pub(crate) settled: BTreeSet<(u32, u32, u64)>,
}

/// A file beside the log.
#[derive(Debug)]
pub(crate) enum Aside {
    /// A checkpoint of the replica's own, and an older one that must stay.
    Checkpoint(Checkpoint, LogIndex),
    /// A snapshot that came from the leader.
    Install(Checkpoint),
}

impl Aside {
    /// Writes it; the answer is for the replica.
    pub(crate) fn write(&self, disk: &dyn Disk) -> Input {
        match self {
            Self::Checkpoint(made, keep) => {
                let index = made.index;
                match checkpoint::write_keeping(disk, made, *keep) {
                    Ok(()) => Input::CheckpointWritten { index },
                    Err(_) => Input::CheckpointFailed { index },
                }
            }
            Self::Install(snapshot) => {
                let index = snapshot.index;
                match checkpoint::write_installed(disk, snapshot) {
                    Ok(digest) => Input::Installed { index, digest },
                    Err(_) => Input::InstallFailed { index },
                }
            }
        }
    }
}
