//! The supervisor of one service: brings its group into the log and keeps its children alive.
//!
//! The children are its tasks and, behind them, its workers.
//!
//! - Owns: the children's lives; [`Family`] decides over them.
//! - Hears from: the node; its own timers; the runtime, when a child ends.
//! - Supervised by: the node, which takes its end for the end of the service.
//! - Loses when it dies: its children, which the runtime kills with it. What they held is delivered
//!   again from the log, as after the death of a process.
//!
//! A death over an event charges that event with an attempt; a death without one (the constructor, a
//! `Drop`, a kill) counts against the child's restart budget, and when that is spent the service
//! stops, says why, and its backlog waits. It never waits itself: a restart is a timer's message.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tidings_delivery::family::{Family, Order};
use tidings_types::effect::Answer;
use tidings_types::id::{GroupId, Incarnation, NodeId, WorkerId};
use tidings_types::layout::command::Command;
use tidings_types::name::GroupName;
use tidings_types::seam::{Clock, SplitMix};
use tracing::{debug, error, info, warn};

use crate::call::answer;
use crate::commands::Commands;
use crate::error::CommandError;
use crate::mail::ToDispatcher;
use crate::metrics::{Metrics, OfGroup};
use crate::reports::Reports;
use crate::seat::Seat;
use crate::service::child::{Child, Ended, tell};
use crate::service::registry::{ChildLife, ChildStatus, Life, Registry, ServiceStatus};
use crate::service::spec::{ServiceContext, ServiceSpec};
use crate::service::work::WorkParts;

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
    /// A child's delay is over.
    Start {
        /// The child.
        idx: usize,
        /// Its order's.
        ticket: u64,
    },
    /// Lets each worker finish what it holds, then ends.
    ShutDown(RpcReplyPort<()>),
}

pub(crate) struct Supervisor {
    pub(crate) spec: ServiceSpec,
    pub(crate) surroundings: Surroundings,
}

pub(crate) struct State {
    name: GroupName,
    /// Once it has joined.
    running: Option<Running>,
    /// Not empty: shutting down.
    shut_down_ports: Vec<RpcReplyPort<()>>,
}

/// A service that has joined its group.
struct Running {
    group: GroupId,
    family: Family,
    /// In the order of their start: tasks, then workers.
    children: Vec<Child>,
}

impl Actor for Supervisor {
    type Msg = Msg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<State, ActorProcessingErr> {
        let name = self.spec.group_on(self.surroundings.node);
        let n_workers = u32::try_from(self.spec.workers).unwrap_or(u32::MAX);
        self.surroundings.registry.add(name.clone(), n_workers, self.spec.strategy);
        self.join(name.clone(), myself);
        Ok(State { name, running: None, shut_down_ports: Vec::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Join => self.join(state.name.clone(), myself),
            Msg::Joined(group) => self.begin(&myself, state, group).await,
            Msg::NotJoined(error) => self.try_again(&myself, state, &error),
            Msg::Start { idx, ticket } => {
                let after = Duration::ZERO;
                self.obey(&myself, state, vec![Order::Start { idx, after, ticket }]).await;
            }
            Msg::ShutDown(port) => self.shut_down(&myself, state, port).await,
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
        let (id, died, reason) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell.get_id(), true, error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, Some(reason)) => {
                (cell.get_id(), true, reason)
            }
            SupervisionEvent::ActorTerminated(cell, _, None) => {
                (cell.get_id(), false, "it was done".to_owned())
            }
            _ => return Ok(()),
        };
        let Some(running) = &state.running else { return Ok(()) };
        if let Some(idx) = running.children.iter().position(|child| child.is(id)) {
            let mut orders = Vec::new();
            self.child_ended(state, (idx, died, &reason), &mut orders);
            self.obey(&myself, state, orders).await;
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
        warn!(group = %state.name, %error, "service could not join its group; trying again");
        myself.send_after(JOIN_AGAIN, || Msg::Join);
    }

    async fn begin(&self, myself: &ActorRef<Msg>, state: &mut State, group: GroupId) {
        if !state.shut_down_ports.is_empty() || state.running.is_some() {
            return;
        }
        let n_workers = self.spec.workers;
        info!(group = %state.name, n_workers, "service begins");
        self.tell(ToDispatcher::ServiceUp { group, n_workers });
        let tasks = self.spec.tasks.iter().cloned().map(Child::task);
        let workers = (0..n_workers).map(|idx| self.new_worker(group, idx));
        let children: Vec<Child> = tasks.chain(workers).collect();
        let restarts: Vec<_> = children.iter().map(Child::restart).collect();
        self.show(state, |status| status.children = children.iter().map(new_status).collect());
        let mut orders = Vec::new();
        let family = Family::new(self.spec.strategy, &restarts, &mut orders);
        state.running = Some(Running { group, family, children });
        self.obey(myself, state, orders).await;
        self.show(state, |status| {
            if status.life == Life::Starting {
                status.life = Life::Running;
            }
        });
    }

    fn new_worker(&self, group: GroupId, idx: usize) -> Child {
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
        Child::worker(group, parts, Arc::clone(&self.spec.new_handler))
    }

    /// Does what the family wants, also what comes of it.
    async fn obey(&self, myself: &ActorRef<Msg>, state: &mut State, orders: Vec<Order>) {
        let mut orders = VecDeque::from(orders);
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Stop(idx) => self.ask_to_end(state, idx),
                Order::Start { idx, after, ticket } if after.is_zero() => {
                    let mut more = Vec::new();
                    self.start(myself, state, (idx, ticket), &mut more).await;
                    orders.extend(more);
                }
                Order::Start { idx, after, ticket } => {
                    myself.send_after(after, move || Msg::Start { idx, ticket });
                }
                Order::GiveUp(idx) => self.stop_service(state, idx),
            }
        }
        let is_over = state.running.as_ref().is_none_or(|running| running.family.is_over());
        if is_over && !state.shut_down_ports.is_empty() {
            state.shut_down_ports.drain(..).for_each(|port| answer(port, ()));
            myself.stop(None);
        }
    }

    async fn start(
        &self,
        myself: &ActorRef<Msg>,
        state: &mut State,
        (idx, ticket): (usize, u64),
        orders: &mut Vec<Order>,
    ) {
        let Some(Running { family, children, .. }) = &mut state.running else { return };
        if !family.starts(idx, ticket) {
            return;
        }
        let child = children.get_mut(idx).expect("the family numbers them");
        let context =
            ServiceContext { group: state.name.clone(), ..self.surroundings.context.clone() };
        let dispatcher = &self.surroundings.dispatcher;
        match child.start(context, myself.get_cell(), dispatcher).await {
            Ok(()) => {
                let (seat, since) = (child.seat(), self.surroundings.clock.now());
                let n_restarts = child.n_restarts();
                if n_restarts > 0 {
                    let label = OfGroup { group: state.name.to_string() };
                    self.surroundings.metrics.worker_restarts.get_or_create(&label).inc();
                }
                self.show(state, |status| {
                    status.n_restarts += u64::from(n_restarts > 0);
                    if let Some(child) = status.children.get_mut(idx) {
                        (child.life, child.since, child.seat) = (ChildLife::Up, since, seat);
                        child.n_restarts = n_restarts;
                    }
                });
            }
            Err(error) => self.child_ended(state, (idx, true, &error.to_string()), orders),
        }
    }

    fn child_ended(
        &self,
        state: &mut State,
        (idx, died, reason): (usize, bool, &str),
        orders: &mut Vec<Order>,
    ) {
        let now = self.surroundings.clock.now();
        let Some(Running { family, children, .. }) = &mut state.running else { return };
        let child = children.get_mut(idx).expect("the family numbers them");
        let was_asked = family.is_ending(idx);
        let Ended { end, culprit } = child.end(died, reason, now, &self.surroundings.dispatcher);
        family.ended(idx, end, now, orders);
        let (group, child, is_gone) = (&state.name, child.name(), family.is_gone(idx));
        let event_id = culprit.as_ref().map(|delivery| delivery.event.id());
        let attempt = culprit.as_ref().map(|delivery| delivery.attempt);
        if was_asked {
            debug!(%group, child, is_gone, "child ended as it was asked to");
        } else if died {
            warn!(%group, child, event_id, attempt, reason, is_gone, "child died");
        } else {
            info!(%group, child, is_gone, "child ended");
        }
        self.show_child(state, idx, |status| {
            status.life = if is_gone { ChildLife::Gone } else { ChildLife::Waiting };
            status.since = now;
            if died && !was_asked {
                status.last_reason = Some(reason.to_owned());
            }
        });
    }

    fn ask_to_end(&self, state: &State, idx: usize) {
        let may_finish = !state.shut_down_ports.is_empty();
        let child = state.running.as_ref().and_then(|running| running.children.get(idx));
        if let Some(child) = child {
            child.ask_to_end(may_finish);
        }
        self.show_child(state, idx, |status| status.life = ChildLife::Ending);
    }

    fn stop_service(&self, state: &State, idx: usize) {
        let Some(Running { group, children, .. }) = &state.running else { return };
        let child = children.get(idx).map(Child::name).unwrap_or_default();
        error!(group = %state.name, child, "child died too often; the service stops");
        self.show(state, |status| {
            status.life = Life::Stopped;
            let reason = status.children.get(idx).and_then(|child| child.last_reason.clone());
            let reason = reason.unwrap_or_else(|| "it ended".to_owned());
            status.reason = Some(format!("{child} died too often: {reason}"));
        });
        self.tell(ToDispatcher::ServiceDraining { group: *group });
    }

    async fn shut_down(&self, myself: &ActorRef<Msg>, state: &mut State, port: RpcReplyPort<()>) {
        state.shut_down_ports.push(port);
        self.show(state, |status| status.life = Life::Draining);
        let mut orders = Vec::new();
        if let Some(running) = &mut state.running {
            running.family.end(&mut orders);
        }
        self.obey(myself, state, orders).await;
    }

    fn show(&self, state: &State, change: impl FnOnce(&mut ServiceStatus)) {
        self.surroundings.registry.change(&state.name, change);
    }

    fn show_child(&self, state: &State, idx: usize, change: impl FnOnce(&mut ChildStatus)) {
        self.show(state, |status| {
            if let Some(child) = status.children.get_mut(idx) {
                change(child);
            }
        });
    }

    fn tell(&self, msg: ToDispatcher) {
        tell(&self.surroundings.dispatcher, msg);
    }
}

fn new_status(child: &Child) -> ChildStatus {
    ChildStatus {
        name: child.name(),
        restart: child.restart(),
        life: ChildLife::Waiting,
        since: Duration::ZERO,
        n_restarts: 0,
        last_reason: None,
        seat: None,
    }
}

/// How soon joining is tried again.
const JOIN_AGAIN: Duration = Duration::from_millis(200);
