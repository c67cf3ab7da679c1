//! The replica actor: moves messages between the replica's core, the log's writer and the others.
//!
//! - Owns: the replica's core (consensus, log, state).
//! - Hears from: the PubSub actor and the dispatcher, each bounded by what the core admits; the
//!   log's writer; its own timers; whoever looks at the state.
//! - Supervised by: nobody: it must never be restarted from memory, so a panic in it ends the
//!   process and recovery begins from the disk.
//! - Loses when it dies: nothing that was acknowledged.
//!
//! It waits for nothing: writes go to the log's thread, checkpoints to the blocking pool.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tidings_log::damage::mark;
use tidings_log::disk::Disk;
use tidings_log::{Checkpoint, Job, Persisted, checkpoint};
use tidings_replica::{Input, Now, Output, Replica as Core};
use tidings_state::State as StateMachine;
use tidings_types::effect::Effect;
use tidings_types::limits::TICK;
use tidings_types::offset::{LogIndex, Term};
use tidings_types::seam::Clock;
use tokio::runtime::Handle;
use tracing::{error, info, warn};

use crate::cluster_time::ClusterTime;
use crate::guard::whole;
use crate::mail::{ToDispatcher, ToPubSub, ToReplica};
use crate::metrics::Metrics;
use crate::timer::Timer;
use crate::whose;
use crate::wires::Wires;
use crate::writing::Writing;

pub(crate) struct Replica {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wires: Arc<Wires>,
    pub(crate) core: Handle,
}

/// What the actor begins with: the opened core, what opening it brought forth, and its writer.
pub(crate) struct Begin {
    pub(crate) core: Core,
    pub(crate) outputs: Vec<Output>,
    pub(crate) writing: Writing,
}

pub(crate) struct State {
    core: Core,
    writing: Writing,
    /// What the log has not confirmed, oldest first.
    submitted: VecDeque<Submitted>,
    outputs: Vec<Output>,
    timer: Timer,
}

/// A job that was handed to the log's writer.
struct Submitted {
    job: u64,
    n_bytes: i64,
    at: Duration,
}

impl Actor for Replica {
    type Msg = ToReplica;
    type State = State;
    type Arguments = Begin;

    async fn pre_start(
        &self,
        _: ActorRef<ToReplica>,
        begin: Begin,
    ) -> Result<State, ActorProcessingErr> {
        let Begin { core, outputs, writing } = begin;
        let submitted = VecDeque::new();
        Ok(State { core, writing, submitted, outputs, timer: Timer::default() })
    }

    async fn handle(
        &self,
        myself: ActorRef<ToReplica>,
        msg: ToReplica,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let input = match msg {
            ToReplica::Begin => {
                myself.send_after(TICK, || ToReplica::Tick);
                self.carry_out(&myself, state);
                return Ok(());
            }
            ToReplica::Propose(proposals) => Input::Propose(proposals),
            ToReplica::ProposeIn { term, proposals } => Input::ProposeIn { term, proposals },
            ToReplica::Persisted(persisted) => {
                self.count_persisted(&persisted, state);
                Input::Persisted(persisted)
            }
            ToReplica::Tick => {
                // Armed anew only now, so that a busy actor never has two ticks before it.
                myself.send_after(TICK, || ToReplica::Tick);
                self.metrics.log_bytes.set(state.log_bytes());
                Input::Tick
            }
            ToReplica::Wake => {
                state.timer.rang();
                Input::Wake
            }
            ToReplica::CheckpointWritten { index } => Input::CheckpointWritten { index },
            ToReplica::CheckpointFailed { index } => Input::CheckpointFailed { index },
            ToReplica::Inspect(look) => {
                whole("replica", || look(&state.core));
                return Ok(());
            }
        };
        whole("replica", || {
            let now = self.now();
            state.core.step(now, input, &mut state.outputs);
            self.time.show(state.core.cluster_ms(now), now.mono);
            self.carry_out(&myself, state);
        });
        Ok(())
    }
}

impl Replica {
    fn now(&self) -> Now {
        Now { mono: self.clock.now(), wall_ms: self.clock.wall_ms() }
    }

    fn carry_out(&self, myself: &ActorRef<ToReplica>, state: &mut State) {
        for output in std::mem::take(&mut state.outputs) {
            match output {
                Output::Write(job) => self.write(job, myself, state),
                Output::Applied { effects, .. } => self.applied(effects),
                Output::Answered { token, answer } => {
                    self.wires.to_pubsub(ToPubSub::Answered { token, answer });
                }
                Output::Taken { token } => {
                    if let Some(token) = whose::dispatched(token) {
                        self.wires.to_dispatcher(ToDispatcher::Taken { token });
                    }
                }
                Output::Refused { token, reason } => match whose::dispatched(token) {
                    Some(token) => self.wires.to_dispatcher(ToDispatcher::Lost { token }),
                    None => self.wires.to_pubsub(ToPubSub::Refused { token, reason }),
                },
                Output::Unknown { token } => match whose::dispatched(token) {
                    Some(token) => self.wires.to_dispatcher(ToDispatcher::Lost { token }),
                    None => self.wires.to_pubsub(ToPubSub::Unknown { token }),
                },
                Output::RoleChanged { is_leader, term, groups, topics } => {
                    info!(is_leader, "the replica's role changed");
                    self.metrics.is_leader.set(i64::from(is_leader));
                    self.metrics.elections.inc_by(u64::from(is_leader));
                    let published = Vec::new();
                    self.wires.to_pubsub(ToPubSub::Applied { published, topics });
                    self.wires.to_pubsub(ToPubSub::RoleChanged { is_leader });
                    let leads = is_leader.then_some((term, groups));
                    self.wires.to_dispatcher(ToDispatcher::RoleChanged { leads });
                }
                Output::Checkpoint { index, term, membership, state, local, keep } => {
                    let checkpoint = Pending { index, term, membership, state, local, keep };
                    self.write_checkpoint(myself, checkpoint);
                }
                Output::Damaged(damage) => {
                    // The process ends, and must find this when it is started again.
                    let marked = damage.is_loss().then(|| mark(&*self.disk, &damage.to_string()));
                    if let Some(Err(error)) = marked {
                        error!(%error, "the damage could not be marked");
                    }
                    error!(%damage, "this replica must not go on: replace the node under a new id");
                    std::process::exit(78);
                }
                // A lone node has no peers, none that lags either; links come with them.
                Output::Fetch { first, .. } => warn!(%first, "nobody is there to be sent entries"),
                Output::ReadCheckpoint { index, .. } => {
                    warn!(%index, "nobody is there to be sent a snapshot");
                }
                Output::Install { checkpoint } => {
                    warn!(index = %checkpoint.index, "nobody is there to send a snapshot");
                }
                Output::Restored { ts_ms, .. } => warn!(ts_ms, "nobody is there to restore from"),
                Output::Send { to, .. } => warn!(%to, "a message to a peer has no link"),
            }
        }
        if let Some(at) = state.core.wake_at() {
            state.timer.ring_at(at, self.clock.now(), myself, || ToReplica::Wake);
        }
    }

    fn write(&self, job: Job, myself: &ActorRef<ToReplica>, state: &mut State) {
        let n_bytes = i64::try_from(job.n_bytes()).unwrap_or(i64::MAX);
        self.metrics.write_bytes.inc_by(n_bytes);
        state.submitted.push_back(Submitted { job: job.id, n_bytes, at: self.clock.now() });
        state.writing.submit(job, myself);
    }

    fn count_persisted(&self, persisted: &Persisted, state: &mut State) {
        Metrics::observe(&self.metrics.fsync_seconds, persisted.took);
        let now = self.clock.now();
        while let Some(oldest) = state.submitted.front()
            && oldest.job <= persisted.job
        {
            Metrics::observe(&self.metrics.commit_seconds, now.saturating_sub(oldest.at));
            self.metrics.write_bytes.dec_by(oldest.n_bytes);
            state.submitted.pop_front();
        }
    }

    /// Sends each effect to the one actor that it concerns, in one message each.
    fn applied(&self, effects: Vec<Effect>) {
        let (mut published, mut topics, mut delivery) = (Vec::new(), Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Published(answer) => published.push(answer),
                Effect::TopicCreated { topic, name } => topics.push((name, topic)),
                // The replica has carried these out itself.
                Effect::Answered { .. } | Effect::Checkpoint | Effect::Purge { .. } => {}
                other => delivery.push(other),
            }
        }
        if !published.is_empty() || !topics.is_empty() {
            self.wires.to_pubsub(ToPubSub::Applied { published, topics });
        }
        if !delivery.is_empty() {
            self.wires.to_dispatcher(ToDispatcher::Effects(delivery));
        }
    }

    fn write_checkpoint(&self, myself: &ActorRef<ToReplica>, pending: Pending) {
        let (disk, myself) = (Arc::clone(&self.disk), myself.clone());
        self.core.spawn_blocking(move || {
            let (index, keep) = (pending.index, pending.keep);
            match checkpoint::write_keeping(&*disk, &pending.encode(), keep) {
                // It fails if the node has ended; the checkpoint is found at the next start.
                Ok(()) => drop(myself.cast(ToReplica::CheckpointWritten { index })),
                Err(error) => {
                    error!(%error, %index, "checkpoint could not be written");
                    drop(myself.cast(ToReplica::CheckpointFailed { index }));
                }
            }
        });
    }
}

/// A checkpoint before its state is encoded.
struct Pending {
    index: LogIndex,
    term: Term,
    membership: Vec<u8>,
    state: StateMachine,
    local: Vec<u8>,
    keep: LogIndex,
}

impl Pending {
    fn encode(self) -> Checkpoint {
        let Self { index, term, membership, state, local, .. } = self;
        Checkpoint { index, term, membership, state: state.encode(), local }
    }
}

impl State {
    fn log_bytes(&self) -> i64 {
        i64::try_from(self.core.reader().log_bytes()).unwrap_or(i64::MAX)
    }
}
