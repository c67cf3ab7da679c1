//! The supervisor of one service: brings its group into the log and keeps its workers alive.
//!
//! - Owns: the workers' lives and the count of their recent crashes.
//! - Hears from: the node; its own timers; the runtime, when a worker ends.
//! - Supervised by: the node, which takes its end for the end of the service.
//! - Loses when it dies: its workers, which the runtime kills with it. What they held is delivered
//!   again from the log, as after the death of a process.
//!
//! One-for-one: a worker's death touches no other. A death with a culprit charges the culprit's
//! event with an attempt and is restarted at once; a death without one (the constructor, a `Drop`,
//! a kill) counts against the restart budget, and when that is spent the service stops, says why,
//! and its backlog waits. It never waits itself: a restart is a timer's message.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tidings_delivery::restart::{Decision, Restarts};
use tidings_types::effect::Answer;
use tidings_types::id::{GroupId, Incarnation, NodeId, WorkerId};
use tidings_types::layout::command::Command;
use tidings_types::name::GroupName;
use tidings_types::seam::{Clock, SplitMix};
use tracing::{error, info, warn};

use crate::call::answer;
use crate::commands::Commands;
use crate::error::CommandError;
use crate::mail::ToDispatcher;
use crate::metrics::{Metrics, OfGroup};
use crate::reports::Reports;
use crate::seat::Seat;
use crate::service::registry::{Life, Registry, ServiceStatus};
use crate::service::spec::{ServiceContext, ServiceSpec};
use crate::service::work::WorkParts;
use crate::service::worker::Worker;

/// What all supervisors of a node share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) commands: Commands,
    pub(crate) dispatcher: ActorRef<ToDispatcher>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) context: ServiceContext,
    pub(crate) seed: u64,
}

#[derive(Debug)]
pub(crate) enum Msg {
    /// Bring the group into the log.
    Join,
    /// The group is in the log, and this process is its member.
    Joined(GroupId),
    /// The group could not be brought into the log.
    NotJoined(CommandError),
    Restart(usize),
    /// Lets each worker finish what it holds, then ends.
    ShutDown(RpcReplyPort<()>),
}

pub(crate) struct Supervisor {
    pub(crate) spec: ServiceSpec,
    pub(crate) surroundings: Surroundings,
}

pub(crate) struct State {
    group: GroupName,
    workers: Vec<WorkerLife>,
    /// Not empty: shutting down.
    shut_down_ports: Vec<RpcReplyPort<()>>,
    has_stopped: bool,
}

/// One worker's life.
struct WorkerLife {
    parts: WorkParts,
    group: GroupId,
    actor: Option<ActorId>,
    restarts: Restarts,
}

impl Actor for Supervisor {
    type Msg = Msg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<State, ActorProcessingErr> {
        let group = self.spec.group_on(self.surroundings.node);
        let n_workers = u32::try_from(self.spec.workers).unwrap_or(u32::MAX);
        self.surroundings.registry.add(group.clone(), n_workers);
        self.join(group.clone(), myself);
        Ok(State { group, workers: Vec::new(), shut_down_ports: Vec::new(), has_stopped: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Join => self.join(state.group.clone(), myself),
            Msg::Joined(group) => self.begin(&myself, state, group).await,
            Msg::NotJoined(error) => self.try_again(&myself, state, &error),
            Msg::Restart(idx) => self.start_worker(&myself, state, idx).await,
            Msg::ShutDown(port) => self.shut_down(&myself, state, port),
        }
        Ok(())
    }

    // The default would end the supervisor with its first child, so every supervisor has this.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (id, reason) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell.get_id(), error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell.get_id(), reason.unwrap_or_else(|| "stopped".to_owned()))
            }
            _ => return Ok(()),
        };
        let idx = state.workers.iter().position(|worker| worker.actor == Some(id));
        if let Some(idx) = idx {
            self.on_worker_end(&myself, state, idx, &reason);
        }
        Ok(())
    }
}

impl Supervisor {
    /// Brings group and membership into the log, outside the handler: a commit takes its time.
    fn join(&self, name: GroupName, myself: ActorRef<Msg>) {
        let Surroundings { node, incarnation, commands, .. } = self.surroundings.clone();
        let (topics, start) = (self.spec.topics.clone(), self.spec.start);
        tokio::runtime::Handle::current().spawn(async move {
            let joined = async {
                let create = Command::CreateGroup { name, topics, start };
                let Answer::Group(group) = commands.run(create).await? else {
                    return Err(CommandError::Unknown);
                };
                commands.run(Command::Join { group, node, incarnation }).await?;
                Ok(group)
            };
            let msg = joined.await.map_or_else(Msg::NotJoined, Msg::Joined);
            // It fails if the node is being stopped: then nobody needs the answer.
            let _ = myself.cast(msg);
        });
    }

    fn try_again(&self, myself: &ActorRef<Msg>, state: &State, error: &CommandError) {
        if !state.shut_down_ports.is_empty() {
            return;
        }
        warn!(group = %state.group, %error, "service could not join its group; trying again");
        myself.send_after(JOIN_AGAIN, || Msg::Join);
    }

    async fn begin(&self, myself: &ActorRef<Msg>, state: &mut State, group: GroupId) {
        if !state.shut_down_ports.is_empty() || !state.workers.is_empty() {
            return;
        }
        let n_workers = self.spec.workers;
        info!(group = %state.group, n_workers, "service begins");
        self.tell(ToDispatcher::ServiceUp { group, n_workers });
        for idx in 0..n_workers {
            state.workers.push(self.new_life(group, idx));
            self.start_worker(myself, state, idx).await;
        }
        if !state.has_stopped {
            self.show(state, |status| status.life = Life::Running);
        }
    }

    fn new_life(&self, group: GroupId, idx: usize) -> WorkerLife {
        let around = &self.surroundings;
        let worker = WorkerId::new(u32::try_from(idx).expect("workers are bounded"));
        let seed = around.seed ^ (u64::from(group.get()) << 32) ^ u64::from(worker.get());
        let parts = WorkParts {
            worker,
            seat: Arc::new(Seat::new()),
            reports: Reports::new(group, around.dispatcher.clone()),
            policy: Arc::clone(&self.spec.policy),
            clock: Arc::clone(&around.clock),
            publisher: around.context.publisher.clone(),
            rng: Arc::new(Mutex::new(SplitMix::new(seed))),
        };
        WorkerLife { parts, group, actor: None, restarts: Restarts::default() }
    }

    async fn start_worker(&self, myself: &ActorRef<Msg>, state: &mut State, idx: usize) {
        if state.has_stopped || !state.shut_down_ports.is_empty() {
            return;
        }
        let Some(life) = state.workers.get_mut(idx) else { return };
        life.parts.seat = Arc::new(Seat::new());
        let worker = Worker {
            new_handler: Arc::clone(&self.spec.new_handler),
            context: ServiceContext {
                group: state.group.clone(),
                ..self.surroundings.context.clone()
            },
            parts: life.parts.clone(),
        };
        match Actor::spawn_linked(None, worker, (), myself.get_cell()).await {
            Ok((actor, _)) => {
                life.actor = Some(actor.get_id());
                life.parts.seat.occupy(actor);
                let (group, worker) = (life.group, life.parts.worker);
                let seat = Arc::clone(&life.parts.seat);
                self.tell(ToDispatcher::WorkerUp { group, worker, seat });
            }
            // Of an actor that does not start, its supervisor gets no news.
            Err(error) => self.on_worker_end(myself, state, idx, &error.to_string()),
        }
    }

    fn on_worker_end(&self, myself: &ActorRef<Msg>, state: &mut State, idx: usize, reason: &str) {
        let now = self.surroundings.clock.now();
        let Some(life) = state.workers.get_mut(idx) else { return };
        life.actor = None;
        let parts = &life.parts;
        let blame = |delivery: &_, class| parts.judge(delivery, class, reason.to_owned());
        let vacated = parts.seat.vacate(now, blame);
        for report in vacated.reports {
            parts.reports.send(parts.worker, report);
        }
        self.tell(ToDispatcher::WorkerDown { group: life.group, worker: parts.worker });
        if !state.shut_down_ports.is_empty() {
            return Self::end_if_all_ended(myself, state);
        }
        if state.has_stopped {
            return;
        }
        let decision = match &vacated.culprit {
            Some(_) => Decision::RestartAfter(Duration::ZERO),
            None => life.restarts.on_crash(now),
        };
        let worker = parts.worker;
        match decision {
            Decision::RestartAfter(delay) => {
                let event_id = vacated.culprit.as_ref().map(|delivery| delivery.event.id());
                let attempt = vacated.culprit.as_ref().map(|delivery| delivery.attempt);
                let group = &state.group;
                warn!(%group, %worker, event_id, attempt, reason, ?delay, "worker died; restarting");
                self.count_restart(state);
                myself.send_after(delay, move || Msg::Restart(idx));
            }
            Decision::GiveUp => self.stop_service(state, reason),
        }
    }

    fn stop_service(&self, state: &mut State, reason: &str) {
        error!(group = %state.group, reason, "worker died too often; the service stops");
        state.has_stopped = true;
        let reason = format!("a worker died too often: {reason}");
        self.show(state, |status| {
            status.life = Life::Stopped;
            status.reason = Some(reason);
        });
        if let Some(life) = state.workers.first() {
            self.tell(ToDispatcher::ServiceDraining { group: life.group });
        }
    }

    fn shut_down(&self, myself: &ActorRef<Msg>, state: &mut State, port: RpcReplyPort<()>) {
        state.shut_down_ports.push(port);
        self.show(state, |status| status.life = Life::Draining);
        for life in &state.workers {
            if let Some(actor) = life.parts.seat.actor() {
                // It fails if the worker has just died: then the news of its end is on the way.
                let _ = actor.drain();
            }
        }
        Self::end_if_all_ended(myself, state);
    }

    fn end_if_all_ended(myself: &ActorRef<Msg>, state: &mut State) {
        if state.workers.iter().all(|life| life.actor.is_none()) {
            state.shut_down_ports.drain(..).for_each(|port| answer(port, ()));
            myself.stop(None);
        }
    }

    fn count_restart(&self, state: &State) {
        self.show(state, |status| status.n_restarts += 1);
        let label = OfGroup { group: state.group.to_string() };
        self.surroundings.metrics.worker_restarts.get_or_create(&label).inc();
    }

    fn show(&self, state: &State, change: impl FnOnce(&mut ServiceStatus)) {
        self.surroundings.registry.change(&state.group, change);
    }

    fn tell(&self, msg: ToDispatcher) {
        // Without a dispatcher the node is ending, and nothing is delivered any more.
        let _ = self.surroundings.dispatcher.cast(msg);
    }
}

/// How soon joining is tried again.
const JOIN_AGAIN: Duration = Duration::from_millis(200);
