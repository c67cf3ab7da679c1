//! A whole node in a test: memory disk, paused clock, one thread, and otherwise the same code path.
//!
//! Two things differ from a real node: the core has no threads of its own, and the log is written
//! inline, because a paused clock advances by itself while a real thread works.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidings_log::{Disk, Identity, MemoryDisk, Opened, Options as LogOptions};
use tidings_replica::{Now, Options as ReplicaOptions, Replica as ReplicaCore, Stored};
use tidings_types::effect::Answer;
use tidings_types::id::{ClusterId, Incarnation, NodeId};
use tidings_types::layout::command::Command;
use tidings_types::offset::LogIndex;
use tidings_types::seam::Clock;
use tokio::runtime::Handle;

use crate::clock::RuntimeClock;
use crate::error::CommandError;
use crate::handle::NodeHandle;
use crate::node::{StartError, check_services};
use crate::replica::Begin;
use crate::service::spec::ServiceSpec;
use crate::wiring::{Ground, Wired, wire};
use crate::writing::Writing;

/// Size of a segment in memory: small, so that tests cross segments.
const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// The disk of a node in memory.
pub type TestDisk = MemoryDisk;

/// A node in memory. Its disk outlives it, so a test can start another one on it.
pub struct TestCore {
    /// The way in.
    pub handle: NodeHandle,
    /// Its disk.
    pub disk: Arc<MemoryDisk>,
    clock: Arc<RuntimeClock>,
    wired: Wired,
    data: PathBuf,
}

impl fmt::Debug for TestCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCore").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl TestCore {
    /// Starts a node on an empty disk; `data` is where its services project to.
    ///
    /// # Errors
    /// If the services do not fit together.
    pub async fn start(
        services: Vec<ServiceSpec>,
        data: impl Into<PathBuf>,
    ) -> Result<Self, StartError> {
        Self::start_on(Arc::new(MemoryDisk::new()), services, data).await
    }

    /// Starts a node on a disk that has been used before.
    ///
    /// # Errors
    /// If the disk cannot be used, or the services do not fit together.
    pub async fn start_on(
        disk: Arc<MemoryDisk>,
        services: Vec<ServiceSpec>,
        data: impl Into<PathBuf>,
    ) -> Result<Self, StartError> {
        let (node, data) = (NodeId::new(1), data.into());
        check_services(&services, node)?;
        let clock = Arc::new(RuntimeClock::start());
        let cluster = ClusterId::new([1; 16]);
        let fresh = Identity { cluster, node, incarnation: Incarnation::default() };
        let shared: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&disk);
        let log_options = LogOptions::small(SEGMENT_BYTES);
        let opened = tidings_log::open(Arc::clone(&shared), log_options, fresh)?;
        let Opened { identity, log, writer, checkpoint, hard_state, purged, replay } = opened;

        let options = ReplicaOptions::new(node, vec![node], 1);
        let now = Now { mono: clock.now(), wall_ms: clock.wall_ms() };
        let mut outputs = Vec::new();
        let stored = Stored { log, checkpoint, hard_state, purged, replay };
        let core = ReplicaCore::open(options, stored, now, &mut outputs)?;
        let runtime = Handle::current();
        let ground = Ground {
            identity,
            name: node.to_string(),
            data: data.clone(),
            services,
            clock: Arc::<RuntimeClock>::clone(&clock),
            disk: shared,
            // Producers of two lives must differ, as they do on a real node.
            seed: identity.incarnation.get(),
            started: Duration::ZERO,
            core: runtime.clone(),
            ambient: runtime,
            reads_inline: true,
        };
        let wires = ground.wires();
        let writing = Writing::Inline(Box::new(writer));
        let wired = wire(ground, wires, Begin { core, outputs, writing }).await;
        Ok(Self { handle: wired.handle.clone(), disk, clock, wired, data })
    }

    /// Turns the node's wall clock by so many milliseconds; its monotonic clock goes on.
    pub fn turn_wall_clock(&self, by_ms: i64) {
        self.clock.turn_wall(by_ms);
    }

    /// Has a command committed and applied, also one that nobody gives by hand.
    ///
    /// # Errors
    /// If the log refuses it or does not answer.
    pub async fn command(&self, command: Command) -> Result<Answer, CommandError> {
        self.handle.shared.commands.run(command).await
    }

    /// The entries that a purge may name, oldest first.
    ///
    /// # Panics
    /// If the node does not answer.
    pub async fn checkpoints(&self) -> Vec<LogIndex> {
        let look = |core: &ReplicaCore| core.state().checkpoints().collect();
        self.handle.inspect(look).await.unwrap_or_else(|error| panic!("checkpoints: {error}"))
    }

    /// Where its services project to.
    pub fn data(&self) -> &PathBuf {
        &self.data
    }

    /// Ends the node in order: handlers finish, outcomes reach the log.
    pub async fn drain(self) -> Arc<MemoryDisk> {
        self.wired.drain(Duration::from_secs(60)).await;
        self.wired.stop().await;
        self.disk
    }

    /// Ends the node as a SIGKILL and a power cut would: what was not synced is lost.
    pub async fn crash(self) -> Arc<MemoryDisk> {
        self.wired.stop().await;
        self.disk.crash();
        self.disk
    }
}
