//! Wiring: which actor is made of what, and the order in which they begin and end.
//!
//! A node and a test's node are wired by the same function; they differ in their [`Ground`] only.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tidings_delivery::dispatcher::Dispatcher as DispatcherCore;
use tidings_delivery::member::Member;
use tidings_delivery::publisher::Publisher as PublisherCore;
use tidings_log::{Disk, Identity};
use tidings_types::event::IdMaker;
use tidings_types::id::Token;
use tidings_types::limits::NODE_ADMITTED_BYTES_MAX;
use tidings_types::seam::{Clock, Rng, SplitMix};
use tidings_types::sync::ByteGate;
use tokio::runtime::Handle;
use tracing::error;

use crate::cluster_time::ClusterTime;
use crate::commands::Commands;
use crate::dispatcher::Dispatcher;
use crate::groups::GroupNames;
use crate::handle::{NodeHandle, Shared as HandleShared};
use crate::mail::{ToDispatcher, ToPubSub, ToReplica};
use crate::metrics::Metrics;
use crate::publish::{OpenBatches, Publisher, Shared as PublisherShared};
use crate::pubsub::PubSub;
use crate::replica::{Begin, Replica};
use crate::service::registry::Registry;
use crate::service::spec::{ServiceContext, ServiceSpec};
use crate::service::supervisor::{self, Supervisor, Surroundings};
use crate::service::watch::Watch;
use crate::stories::Stories;
use crate::topics::TopicTable;
use crate::wires::Wires;

/// What a node stands on.
pub(crate) struct Ground {
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    pub(crate) services: Vec<ServiceSpec>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) seed: u64,
    pub(crate) started: Duration,
    pub(crate) core: Handle,
    pub(crate) ambient: Handle,
    pub(crate) reads_inline: bool,
}

impl Ground {
    /// Wires that are not connected yet.
    pub(crate) fn wires(&self) -> Arc<Wires> {
        Arc::default()
    }
}

/// The actors of a node.
pub(crate) struct Wired {
    pub(crate) handle: NodeHandle,
    replica: ActorRef<ToReplica>,
    pubsub: ActorRef<ToPubSub>,
    dispatcher: ActorRef<ToDispatcher>,
    supervisors: Vec<ActorRef<supervisor::Msg>>,
}

impl fmt::Debug for Wired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wired").finish_non_exhaustive()
    }
}

/// Makes the actors, connects them, and lets the replica begin; services come last.
pub(crate) async fn wire(ground: Ground, wires: Arc<Wires>, begin: Begin) -> Wired {
    let mut rng = SplitMix::new(ground.seed);
    let shared = Common {
        metrics: Arc::new(Metrics::new(&ground.name)),
        time: Arc::new(ClusterTime::default()),
        stories: Arc::default(),
        names: GroupNames::default(),
        topics: TopicTable::default(),
        batches: Arc::default(),
    };
    let reader = begin.core.reader();

    // Nobody else can lead yet; with peers the member must ask for its lease.
    let member = Member::alone(ground.identity.incarnation);
    let cores = (DispatcherCore::new(Token::new(1)), member);
    let shell = shared.dispatcher(&ground, &wires, &begin);
    let dispatcher = spawn(&ground.core, shell, cores).await;
    let publisher = PublisherCore::new(SplitMix::new(rng.next_u64()));
    let pubsub = spawn(&ground.core, shared.pubsub(&ground, &wires), publisher).await;
    let replica = shared.replica(&ground, &wires);
    let replica = spawn(&ground.core, replica, begin).await;
    wires.connect(replica.clone(), pubsub.clone(), dispatcher.clone());
    // Only now, or what it has to say at the start would be lost.
    wires.to_replica(ToReplica::Begin);

    let ids = Mutex::new(IdMaker::new(SplitMix::new(rng.next_u64())));
    let publisher = Publisher::new(PublisherShared {
        pubsub: pubsub.clone(),
        batches: Arc::clone(&shared.batches),
        gate: ByteGate::new(NODE_ADMITTED_BYTES_MAX),
        topics: shared.topics.clone(),
        clock: Arc::clone(&ground.clock),
        ids,
    });
    let registry: Arc<Registry> = Arc::default();
    let commands = Commands { pubsub: pubsub.clone() };
    let handle = NodeHandle {
        shared: Arc::new(HandleShared {
            identity: ground.identity,
            name: ground.name.clone(),
            data: ground.data.clone(),
            replica: replica.clone(),
            dispatcher: dispatcher.clone(),
            commands: commands.clone(),
            publisher: publisher.clone(),
            reader,
            stories: Arc::clone(&shared.stories),
            names: shared.names.clone(),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&shared.metrics),
            clock: Arc::clone(&ground.clock),
            time: Arc::clone(&shared.time),
            started: ground.started,
            is_draining: AtomicBool::new(false),
            core: ground.core.clone(),
            ambient: ground.ambient.clone(),
            reads_inline: ground.reads_inline,
        }),
    };

    let watch = Watch {
        registry: Arc::downgrade(&registry),
        clock: Arc::clone(&ground.clock),
        metrics: Arc::clone(&shared.metrics),
    };
    ground.core.spawn(watch.run());

    let around = Around { commands, dispatcher: dispatcher.clone(), registry, publisher };
    let supervisors = supervise(&ground, &shared, around, &mut rng).await;
    Wired { handle, replica, pubsub, dispatcher, supervisors }
}

/// What supervisors meet.
struct Around {
    commands: Commands,
    dispatcher: ActorRef<ToDispatcher>,
    registry: Arc<Registry>,
    publisher: Publisher,
}

/// Spawns each service's supervisor on the user's runtime.
async fn supervise(
    ground: &Ground,
    shared: &Common,
    around: Around,
    rng: &mut SplitMix,
) -> Vec<ActorRef<supervisor::Msg>> {
    let identity = ground.identity;
    let mut supervisors = Vec::new();
    for spec in &ground.services {
        let context = ServiceContext {
            group: spec.group_on(identity.node),
            node: identity.node,
            data_dir: ground.data.join("services"),
            publisher: around.publisher.clone(),
        };
        let surroundings = Surroundings {
            node: identity.node,
            incarnation: identity.incarnation,
            clock: Arc::clone(&ground.clock),
            commands: around.commands.clone(),
            dispatcher: around.dispatcher.clone(),
            registry: Arc::clone(&around.registry),
            metrics: Arc::clone(&shared.metrics),
            context,
            seed: rng.next_u64(),
        };
        let supervisor = Supervisor { spec: spec.clone(), surroundings };
        supervisors.push(spawn(&ground.ambient, supervisor, ()).await);
    }
    supervisors
}

/// What several actors hold.
struct Common {
    metrics: Arc<Metrics>,
    time: Arc<ClusterTime>,
    stories: Arc<Stories>,
    names: GroupNames,
    topics: TopicTable,
    batches: Arc<OpenBatches>,
}

impl Common {
    fn dispatcher(&self, ground: &Ground, wires: &Arc<Wires>, begin: &Begin) -> Dispatcher {
        Dispatcher {
            reader: begin.core.reader(),
            clock: Arc::clone(&ground.clock),
            time: Arc::clone(&self.time),
            stories: Arc::clone(&self.stories),
            names: self.names.clone(),
            metrics: Arc::clone(&self.metrics),
            wires: Arc::clone(wires),
            node: ground.identity.node,
            core: ground.core.clone(),
            reads_inline: ground.reads_inline,
        }
    }

    fn pubsub(&self, ground: &Ground, wires: &Arc<Wires>) -> PubSub {
        PubSub {
            batches: Arc::clone(&self.batches),
            topics: self.topics.clone(),
            clock: Arc::clone(&ground.clock),
            metrics: Arc::clone(&self.metrics),
            wires: Arc::clone(wires),
        }
    }

    fn replica(&self, ground: &Ground, wires: &Arc<Wires>) -> Replica {
        Replica {
            clock: Arc::clone(&ground.clock),
            time: Arc::clone(&self.time),
            disk: Arc::clone(&ground.disk),
            metrics: Arc::clone(&self.metrics),
            wires: Arc::clone(wires),
            core: ground.core.clone(),
        }
    }
}

impl Wired {
    /// Lets handlers finish and outcomes reach the log. `false` if not all did within `wait`.
    pub(crate) async fn drain(&self, wait: Duration) -> bool {
        let (reply, idle) = tokio::sync::oneshot::channel();
        if self.dispatcher.cast(ToDispatcher::Drain(reply.into())).is_err() {
            return false;
        }
        let is_idle = matches!(tokio::time::timeout(wait, idle).await, Ok(Ok(())));
        for supervisor in &self.supervisors {
            let (reply, ended) = tokio::sync::oneshot::channel();
            if supervisor.cast(supervisor::Msg::ShutDown(reply.into())).is_ok() {
                // A worker whose handler does not return is killed with its supervisor below.
                let _ = tokio::time::timeout(SUPERVISOR_WAIT_MAX, ended).await;
            }
        }
        is_idle
    }

    /// Ends the actors, first stage first.
    pub(crate) async fn stop(&self) {
        for supervisor in &self.supervisors {
            stop(supervisor).await;
        }
        // It ends behind this message, so whoever still waits is told.
        let _ = self.pubsub.cast(ToPubSub::Stop);
        let _ = self.pubsub.drain_and_wait(Some(STOP_WAIT_MAX)).await;
        stop(&self.dispatcher).await;
        stop(&self.replica).await;
    }
}

/// How long a supervisor's workers may take to end once nothing is out.
const SUPERVISOR_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long an actor may take to end once it was told to.
const STOP_WAIT_MAX: Duration = Duration::from_secs(1);

async fn stop<M: ractor::Message>(actor: &ActorRef<M>) {
    // It has ended already, or it does not end in time: the process is about to end in any case.
    let _ = actor.stop_and_wait(None, Some(STOP_WAIT_MAX)).await;
}

/// Spawns an actor on this runtime, whoever calls.
async fn spawn<A: Actor>(runtime: &Handle, actor: A, arguments: A::Arguments) -> ActorRef<A::Msg> {
    let spawned = runtime.spawn(Actor::spawn(None, actor, arguments)).await;
    match spawned {
        Ok(Ok((actor, _))) => actor,
        failed => {
            let failed = failed.map(|spawned| spawned.map(drop));
            error!(?failed, "a core actor did not start");
            unreachable!("without a name there is nothing to collide with, and no start fails")
        }
    }
}
