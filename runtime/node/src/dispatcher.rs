//! The dispatcher actor: takes committed events to workers and their outcomes to the log.
//!
//! - Owns: what is out and what waits, for every group that has workers in this process; and this
//!   process's side of it, its member, which is on the line with the leader in here.
//! - Hears from: the replica; supervisors and workers, whose windows bound what they report; the
//!   blocking pool, with what it read; its own timer.
//! - Supervised by: the node, which ends with it.
//! - Loses when it dies: nothing: what is not settled is delivered again from the log.
//!
//! Its clock is cluster time, so that back-offs in the log and its own agree. Newest events come
//! from the log's memory at once; older ones are read on the blocking pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tidings_delivery::dispatcher::{Dispatcher as Core, Input, Output, Pause, ReadResult, Story};
use tidings_delivery::member::{self, Member};
use tidings_delivery::session::{Outcome, Verdict};
use tidings_log::{Block, Reader, TailRead};
use tidings_replica::Proposal;
use tidings_types::effect::Effect;
use tidings_types::id::{GroupId, NodeId, TopicId, WorkerId};
use tidings_types::limits::GROUP_HELD_EVENTS_MAX;
use tidings_types::offset::{Offset, Term};
use tidings_types::seam::Clock;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::call::answer;
use crate::cluster_time::ClusterTime;
use crate::groups::{Cause, GroupNames};
use crate::guard::whole;
use crate::mail::{ToDispatcher, ToReplica};
use crate::metrics::{Metrics, OfGroup, OfOutcome};
use crate::seat::Seat;
use crate::stories::{Attempt, Stories};
use crate::timer::Timer;
use crate::whose;
use crate::wires::Wires;

pub(crate) struct Dispatcher {
    pub(crate) reader: Reader,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) stories: Arc<Stories>,
    pub(crate) names: GroupNames,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wires: Arc<Wires>,
    pub(crate) node: NodeId,
    pub(crate) core: Handle,
    /// Where time is paused a disk read must complete inline.
    pub(crate) reads_inline: bool,
}

pub(crate) struct State {
    core: Core,
    /// The leadership in which the core is.
    term: Term,
    outputs: Vec<Output>,
    member: Member,
    member_outputs: Vec<member::Output>,
    seats: BTreeMap<(GroupId, WorkerId), Arc<Seat>>,
    timer: Timer,
    drain_ports: Vec<RpcReplyPort<()>>,
}

impl Actor for Dispatcher {
    type Msg = ToDispatcher;
    type State = State;
    type Arguments = (Core, Member);

    async fn pre_start(
        &self,
        _: ActorRef<ToDispatcher>,
        (core, member): (Core, Member),
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            core,
            term: Term::default(),
            outputs: Vec::new(),
            member,
            member_outputs: Vec::new(),
            seats: BTreeMap::new(),
            timer: Timer::default(),
            drain_ports: Vec::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ToDispatcher>,
        msg: ToDispatcher,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        whole("dispatcher", || {
            self.take(&myself, msg, state);
            self.carry_out(&myself, state);
            if !state.drain_ports.is_empty() && state.member.is_idle() {
                state.drain_ports.drain(..).for_each(|port| answer(port, ()));
            }
        });
        Ok(())
    }
}

impl Dispatcher {
    fn take(&self, myself: &ActorRef<ToDispatcher>, msg: ToDispatcher, state: &mut State) {
        match msg {
            ToDispatcher::RoleChanged { leads: Some((term, groups)) } => {
                state.term = term;
                groups.iter().for_each(|group| self.names.insert(group.group, &group.name));
                self.step(state, Input::Lead(groups));
                // The member is not on the line yet, so what the core asks of it may go astray.
                self.carry_out(myself, state);
                self.step_member(state, member::Input::LinkUp);
            }
            ToDispatcher::RoleChanged { leads: None } => {
                self.step(state, Input::Follow);
                // Whoever leads next knows why groups are paused.
                self.names.forget_pauses();
                self.step_member(state, member::Input::LinkDown);
            }
            ToDispatcher::Effects(effects) => {
                self.note(&effects);
                self.step(state, Input::Effects(&effects));
            }
            ToDispatcher::ServiceUp { group, n_workers } => {
                self.step_member(state, member::Input::ServiceUp { group, n_workers });
            }
            ToDispatcher::WorkerUp { group, worker, seat } => {
                state.seats.insert((group, worker), seat);
                self.step_member(state, member::Input::WorkerUp { group, worker });
            }
            ToDispatcher::WorkerDown { group, worker } => {
                self.step_member(state, member::Input::WorkerDown { group, worker });
            }
            ToDispatcher::ServiceDraining { group } => {
                self.step_member(state, member::Input::ServiceDraining { group });
            }
            ToDispatcher::Report { group, worker, report } => {
                self.step_member(state, member::Input::Report { group, worker, report });
            }
            ToDispatcher::ReadDone { group, topic, from, result } => {
                self.step(state, Input::ReadDone { group, topic, from, result });
            }
            ToDispatcher::Taken { token } => self.step(state, Input::Taken { token }),
            ToDispatcher::Lost { token } => self.step(state, Input::Lost { token }),
            ToDispatcher::Drain(port) => {
                self.step_member(state, member::Input::Drain);
                state.drain_ports.push(port);
            }
            ToDispatcher::IsQuiet(group, port) => {
                answer(port, state.core.is_quiet(group));
            }
            ToDispatcher::Hold { group, is_held } => {
                self.step(state, Input::Hold { group, is_held });
            }
            ToDispatcher::Wake => {
                state.timer.rang();
                self.step(state, Input::Wake);
            }
        }
    }

    fn now(&self) -> Duration {
        self.time.at(self.clock.now())
    }

    fn step(&self, state: &mut State, input: Input<'_>) {
        state.core.step(self.now(), input, &mut state.outputs);
    }

    fn step_member(&self, state: &mut State, input: member::Input) {
        state.member.step(self.clock.now(), input, &mut state.member_outputs);
    }

    fn carry_out(&self, myself: &ActorRef<ToDispatcher>, state: &mut State) {
        let mut proposals = Vec::new();
        // What is read from memory leads to further outputs, and what is told to further words, so
        // this goes on until none is left.
        while !state.outputs.is_empty() || !state.member_outputs.is_empty() {
            self.carry_out_for_member(state);
            for output in std::mem::take(&mut state.outputs) {
                match output {
                    Output::Tell { session, message, .. } => {
                        self.step_member(state, member::Input::FromLeader { session, message });
                    }
                    Output::Refused { why, .. } => unreachable!("our own member says: {why}"),
                    Output::Pinged { .. } => unreachable!("a lone node's member sends no pings"),
                    Output::Read { group, topic, from, max_bytes } => {
                        self.read(myself, state, Read { group, topic, from, max_bytes });
                    }
                    Output::Propose { token, kind, body, may_wait } => {
                        let token = whose::dispatcher(token);
                        proposals.push(Proposal { token, kind, body, may_wait });
                    }
                    Output::WakeAt(at) => {
                        state.timer.ring_at(at, self.now(), myself, || ToDispatcher::Wake);
                    }
                    Output::Told(story) => self.tell(&story),
                }
            }
        }
        if !proposals.is_empty() {
            // It may have begun to lead anew, and that leadership is told what this one was.
            self.wires.to_replica(ToReplica::ProposeIn { term: state.term, proposals });
        }
    }

    /// What the member says goes to the core, and what it was handed to its workers.
    fn carry_out_for_member(&self, state: &mut State) {
        for output in std::mem::take(&mut state.member_outputs) {
            match output {
                member::Output::Send { session, message } => {
                    let member = self.node;
                    self.step(state, Input::Heard { member, session, message });
                }
                member::Output::Deliver { group, worker, batch, deliveries } => {
                    if let Some(seat) = state.seats.get(&(group, worker)) {
                        seat.post(batch, deliveries);
                    }
                }
                member::Output::Recall { group, worker, batch } => {
                    if let Some(seat) = state.seats.get(&(group, worker)) {
                        seat.recall(batch);
                    }
                }
                member::Output::Removed { group, .. } => {
                    warn!(group = self.names.of(group), "this process was taken out of its group");
                }
                member::Output::WakeAt(_) => unreachable!("a lone node's member sends no pings"),
            }
        }
    }

    fn read(&self, myself: &ActorRef<ToDispatcher>, state: &mut State, read: Read) {
        let Read { group, topic, from, max_bytes } = read;
        let result = match self.reader.read_tail(topic, from, max_bytes) {
            TailRead::Hit(blocks) => Some(in_blocks(blocks)),
            TailRead::End => Some(ReadResult::End),
            TailRead::Miss if self.reads_inline => Some(read_disk(&self.reader, &read)),
            TailRead::Miss => None,
        };
        if let Some(result) = result {
            return self.step(state, Input::ReadDone { group, topic, from, result });
        }
        let (reader, myself) = (self.reader.clone(), myself.clone());
        self.core.spawn_blocking(move || {
            let result = read_disk(&reader, &read);
            // It fails if the actor has ended: then nobody waits for what was read.
            let _ = myself.cast(ToDispatcher::ReadDone { group, topic, from, result });
        });
    }

    /// Remembers names of groups, and counts what became of events.
    fn note(&self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::GroupChanged(group) => self.names.insert(group.group, &group.name),
                // It begins anew, and tells anew what it is paused for.
                Effect::Sought(group) => self.names.forget_pauses_of(group.group),
                Effect::Settled { group, dead: true, range, .. } => {
                    let label = OfGroup { group: self.names.of(*group) };
                    self.metrics.dead_letters.get_or_create(&label).inc_by(range.len.into());
                }
                _ => {}
            }
        }
    }

    fn tell(&self, story: &Story) {
        match story {
            Story::Outcomes { group, worker, outcomes, .. } => {
                self.remember(*group, *worker, outcomes);
                self.count(*group, outcomes);
            }
            Story::Paused { group, why } => {
                warn!(group = self.names.of(*group), ?why, "delivery to the group pauses");
                self.names.paused_for(*group, cause(why), pause_text(why));
            }
            Story::Resumed { group, why } => {
                info!(group = self.names.of(*group), ?why, "delivery to the group goes on");
                self.names.goes_on(*group, cause(why));
            }
        }
    }

    fn remember(&self, group: GroupId, worker: WorkerId, outcomes: &[Outcome]) {
        let at_ms = self.clock.wall_ms();
        let attempts = outcomes.iter().filter_map(|outcome| {
            let (what, message) = in_words(&outcome.verdict)?;
            Some(Attempt {
                group,
                topic: outcome.topic,
                offset: outcome.offset,
                attempt: outcome.attempt,
                worker,
                at_ms,
                took: outcome.took,
                outcome: what,
                message: message.map(Into::into),
            })
        });
        self.stories.record(attempts);
    }

    fn count(&self, group: GroupId, outcomes: &[Outcome]) {
        let group = self.names.of(group);
        for what in ["done", "skipped", "failed", "dead"] {
            let is_it = |outcome: &&Outcome| {
                in_words(&outcome.verdict).is_some_and(|(word, _)| word == what)
            };
            let n_outcomes = outcomes.iter().filter(is_it).count() as u64;
            if n_outcomes == 0 {
                continue;
            }
            let label = OfOutcome { group: group.clone(), outcome: what };
            self.metrics.attempts.get_or_create(&label).inc_by(n_outcomes);
            let seconds = self.metrics.handler_seconds.get_or_create(&label);
            let timed = outcomes.iter().filter(is_it);
            timed.for_each(|outcome| Metrics::observe(&seconds, outcome.took));
        }
    }
}

/// An outcome's word and its error's text; nothing for an event that was not started.
fn in_words(verdict: &Verdict) -> Option<(&'static str, Option<&str>)> {
    match verdict {
        Verdict::Done | Verdict::DoneEmitting(_) => Some(("done", None)),
        Verdict::Skipped { reason } => {
            Some(("skipped", Some(reason.as_str()).filter(|reason| !reason.is_empty())))
        }
        Verdict::Again { message, .. } => Some(("failed", Some(message))),
        Verdict::Dead { message, .. } => Some(("dead", Some(message))),
        Verdict::Unstarted => None,
    }
}

/// Why a group pauses, and what to do about it.
const fn cause(why: &Pause) -> Cause {
    match why {
        Pause::DeadLettersFull => Cause::DeadLettersFull,
        Pause::TooManyHeld => Cause::TooManyHeld,
        Pause::ReadFailed { topic, .. } => Cause::ReadFailed(*topic),
        Pause::BreakerOpen { .. } => Cause::BreakerOpen,
    }
}

fn pause_text(why: &Pause) -> String {
    match why {
        Pause::TooManyHeld => {
            format!("{GROUP_HELD_EVENTS_MAX} events wait for another attempt; it goes on by itself")
        }
        Pause::DeadLettersFull => {
            "dead letters are full: mend the cause and redrive some, or nothing more is delivered"
                .to_owned()
        }
        Pause::BreakerOpen { n_failed, n_events } => format!(
            "{n_failed} of {n_events} events failed at their first attempt within a minute: its \
             handler, or what that needs, is down; one event at a time is tried, and it goes on by \
             itself once one succeeds"
        ),
        Pause::ReadFailed { topic, at, message } => {
            format!("{topic} cannot be read at {at}: {message}; it goes on trying")
        }
    }
}

/// What the core asked to read.
struct Read {
    group: GroupId,
    topic: TopicId,
    from: Offset,
    max_bytes: usize,
}

fn read_disk(reader: &Reader, read: &Read) -> ReadResult {
    match reader.read_disk(read.topic, read.from, read.max_bytes) {
        Ok(blocks) if blocks.is_empty() => ReadResult::End,
        Ok(blocks) => in_blocks(blocks),
        Err(error) => {
            warn!(%error, topic = %read.topic, from = %read.from, "events could not be read");
            ReadResult::Failed(error.to_string())
        }
    }
}

fn in_blocks(blocks: Vec<Block>) -> ReadResult {
    ReadResult::Blocks(blocks.into_iter().map(|block| (block.placed, block.records)).collect())
}
