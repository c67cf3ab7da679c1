//! Starting and ending a node: the one place where all its parts meet.
//!
//! ```text
//!   publishers ─▶ PubSub ─▶ replica ─▶ log's thread          core runtime, 2 threads
//!                    ▲         │ ▲
//!                    └─────────┤ └──── acks
//!                              ▼
//!                         dispatcher ─▶ workers ◀─ supervisors    ambient runtime
//! ```
//!
//! The core has its own threads, so that a handler that blocks or spins delays no heartbeat. Its
//! actors are spawned through its handle, because a task runs where it was spawned. It ends in the
//! order of the way: intake, delivery, services, replica, log.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thiserror::Error;
use tidings_log::{Disk, Opened, WriterThread};
use tidings_log::{Identity, OpenError, Options as LogOptions, RealDisk, WriterHandle};
use tidings_replica::{Now, Options as ReplicaOptions, Pace, Replica as ReplicaCore, Stored};
use tidings_types::id::{ClusterId, Incarnation, NodeId};
use tidings_types::limits::{DRAIN_WAIT_MAX, GROUP_WORKERS_MAX};
use tidings_types::name::GroupName;
use tidings_types::seam::Clock;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::{info, warn};

use crate::clock::SystemClock;
use crate::handle::NodeHandle;
use crate::mail::ToReplica;
use crate::replica::Begin;
use crate::service::spec::ServiceSpec;
use crate::wiring::{Ground, Wired, wire};
use crate::writing::Writing;

/// What a node is told.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where its data is; made if it is not there.
    pub data: PathBuf,
    /// Its number in a fresh directory; an old one knows its own.
    pub node: NodeId,
    /// If given, a directory of another cluster is refused.
    pub cluster: Option<ClusterId>,
    /// The services that it runs.
    pub services: Vec<ServiceSpec>,
    /// Three times as patient with peers, for starved machines.
    pub relaxed: bool,
    /// How long it waits at its end for what runs.
    pub drain_wait: Duration,
}

impl NodeOptions {
    /// Node 1 in this directory, without services.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            node: NodeId::new(1),
            cluster: None,
            services: Vec::new(),
            relaxed: false,
            drain_wait: DRAIN_WAIT_MAX,
        }
    }
}

/// Why a node did not start. Nothing was changed in its directory.
#[derive(Debug, Error)]
pub enum StartError {
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The replica in it cannot be used.
    #[error(transparent)]
    Replica(#[from] tidings_replica::OpenError),
    /// The system gives no threads or no randomness.
    #[error("{what} failed: {reason}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// The system's word.
        reason: String,
    },
    /// Two services have one group.
    #[error("group {group} is served by two services of this process")]
    SameGroup {
        /// The group.
        group: String,
    },
    /// A service has too many workers, or none.
    #[error("service {group} has {n_workers} workers; it must have 1 to {GROUP_WORKERS_MAX}")]
    Workers {
        /// The service's group.
        group: String,
        /// What it has.
        n_workers: usize,
    },
    /// A service runs everywhere and its name is too long for that.
    #[error("group {group} is too long to have the node's name behind it")]
    NameTooLong {
        /// The service's group.
        group: String,
    },
}

/// A node that runs. Dropping it ends the process's part of it without a drain.
pub struct RunningNode {
    /// The way in.
    pub handle: NodeHandle,
    wired: Wired,
    writer: WriterHandle,
    drain_wait: Duration,
    /// Outlives all its actors.
    core: CoreRuntime,
}

/// Starts a node; services run on the runtime that calls this.
///
/// It returns when the log is recovered and the actors run. Services join their groups behind it;
/// [`NodeHandle::checks`] tells when all take events.
///
/// # Errors
/// If the directory cannot be used, or the services do not fit together.
pub async fn start(options: NodeOptions) -> Result<RunningNode, StartError> {
    check_services(&options.services, options.node)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (started, drain_wait) = (clock.now(), options.drain_wait);
    let core = CoreRuntime::start()?;
    let opening = (options.clone(), Arc::clone(&clock));
    let opened = core.handle().spawn_blocking(move || open(&opening.0, &*opening.1));
    let opened = opened.await.map_err(|error| system("opening the log", &error))??;
    let Found { identity, disk, replica, outputs, writer, seed } = opened;

    let ground = Ground {
        identity,
        name: identity.node.to_string(),
        data: options.data,
        services: options.services,
        clock,
        disk,
        seed,
        started,
        core: core.handle().clone(),
        ambient: Handle::current(),
        reads_inline: false,
    };
    let wires = ground.wires();
    let to_replica = Arc::clone(&wires);
    let on_persisted = Box::new(move |persisted| {
        to_replica.to_replica(ToReplica::Persisted(persisted));
    });
    let writer = WriterThread::spawn(writer, on_persisted)
        .map_err(|error| system("starting the log's threads", &error))?;
    let writing = Writing::Thread(writer.clone());
    let wired = wire(ground, wires, Begin { core: replica, outputs, writing }).await;
    let handle = wired.handle.clone();
    info!(node = %identity.node, incarnation = identity.incarnation.get(), "node runs");
    Ok(RunningNode { handle, wired, writer, drain_wait, core })
}

impl RunningNode {
    /// Ends the node: closes the intake, finishes what runs, flushes outcomes, syncs, stops.
    ///
    /// What is not finished within [`NodeOptions::drain_wait`] is delivered again after the next start.
    pub async fn drain(self) {
        self.handle.shared.is_draining.store(true, Ordering::Relaxed);
        let waited = self.drain_wait;
        if !self.wired.drain(waited).await {
            warn!(?waited, "some handlers did not finish; their events come again");
        }
        self.wired.stop().await;
        let writer = self.writer.clone();
        let stopped = self.core.handle().spawn_blocking(move || writer.stop()).await;
        if let Err(error) = stopped {
            warn!(%error, "the log's thread did not end in order");
        }
        info!("node ended");
    }

    /// Closes the intake: `/readyz` says no from here on.
    pub fn close_intake(&self) {
        self.handle.shared.is_draining.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for RunningNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningNode").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// What was found in the directory.
struct Found {
    identity: Identity,
    disk: Arc<dyn Disk>,
    replica: ReplicaCore,
    outputs: Vec<tidings_replica::Output>,
    writer: tidings_log::Writer,
    seed: u64,
}

fn open(options: &NodeOptions, clock: &dyn Clock) -> Result<Found, StartError> {
    let seed = getrandom::u64().map_err(|error| system("reading randomness", &error))?;
    let mut cluster = [0; 16];
    getrandom::fill(&mut cluster).map_err(|error| system("reading randomness", &error))?;
    let cluster = options.cluster.unwrap_or(ClusterId::new(cluster));
    let fresh = Identity { cluster, node: options.node, incarnation: Incarnation::default() };

    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(&options.data)?);
    let log_options = LogOptions { expect_cluster: options.cluster, ..LogOptions::default() };
    let opened = tidings_log::open(Arc::clone(&disk), log_options, fresh)?;
    let Opened { identity, log, writer, checkpoint, hard_state, purged, replay } = opened;

    let pace = if options.relaxed { Pace::Relaxed } else { Pace::Normal };
    let voters = vec![identity.node];
    let replica_options = ReplicaOptions::new(identity.node, voters, seed);
    let replica_options = ReplicaOptions { pace, ..replica_options };
    let now = Now { mono: clock.now(), wall_ms: clock.wall_ms() };
    let mut outputs = Vec::new();
    let stored = Stored { log, checkpoint, hard_state, purged, replay };
    let replica = ReplicaCore::open(replica_options, stored, now, &mut outputs)?;
    Ok(Found { identity, disk, replica, outputs, writer, seed })
}

pub(crate) fn check_services(services: &[ServiceSpec], node: NodeId) -> Result<(), StartError> {
    let mut groups = Vec::new();
    for service in services {
        let group = service.group.to_string();
        let n_workers = service.workers;
        if !(1..=GROUP_WORKERS_MAX).contains(&n_workers) {
            return Err(StartError::Workers { group, n_workers });
        }
        if GroupName::new(format!("{group}.{node}")).is_err() {
            return Err(StartError::NameTooLong { group });
        }
        if groups.contains(&group) {
            return Err(StartError::SameGroup { group });
        }
        groups.push(group);
    }
    Ok(())
}

fn system(what: &'static str, error: &dyn std::error::Error) -> StartError {
    StartError::System { what, reason: error.to_string() }
}

/// The core's own threads.
#[derive(Debug)]
struct CoreRuntime {
    /// Taken when dropped: a runtime must not be dropped, waiting, inside another one.
    runtime: Option<Runtime>,
}

const CORE_THREADS: usize = 2;
/// Reads of old events and checkpoints; each has an end.
const BLOCKING_THREADS_MAX: usize = 16;

impl CoreRuntime {
    fn start() -> Result<Self, StartError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(CORE_THREADS)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_keep_alive(Duration::from_secs(10))
            .thread_name("tidings-core")
            .enable_all()
            .build()
            .map_err(|error| system("starting the core's threads", &error))?;
        Ok(Self { runtime: Some(runtime) })
    }

    fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("taken only when dropped").handle()
    }
}

impl Drop for CoreRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
