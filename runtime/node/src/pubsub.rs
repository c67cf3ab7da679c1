//! The PubSub actor: takes batches from publishers to the leader and brings the answers back.
//!
//! - Owns: this process's producer (sequences, batches that are out) and the commands that are out.
//! - Hears from: publishers, through [`Publisher`](crate::publish::Publisher), which holds admitted
//!   bytes for what it sends; the replica; its own timer.
//! - Supervised by: the node, which ends with it.
//! - Loses when it dies: the futures of its callers, which then hear that the node has stopped.
//!
//! It waits for nothing. Deciding is left to `delivery::publisher`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tidings_delivery::publisher::{
    Input, NotProposed, Output, Publisher as PublisherCore, is_proposal,
};
use tidings_replica::{Proposal, ProposeRefused};
use tidings_types::effect::{Answer, Published, Refused};
use tidings_types::id::{Token, TopicId};
use tidings_types::layout::command::Command;
use tidings_types::layout::entry::SectionKind;
use tidings_types::limits::{CALL_WAIT_MAX, PUBLISH_WAIT_MAX};
use tidings_types::name::TopicName;
use tidings_types::seam::{Clock, SplitMix};
use tidings_types::sync::{BatchCell, Permit, Sealed};

use crate::call::answer;
use crate::error::CommandError;
use crate::guard::whole;
use crate::mail::{CommandResult, ToPubSub, ToReplica};
use crate::metrics::{Metrics, OfTopic};
use crate::publish::{BatchResult, OpenBatches};
use crate::timer::Timer;
use crate::topics::TopicTable;
use crate::wires::Wires;

/// The producer of this process; its ids must not be foreseeable.
pub(crate) type Core = PublisherCore<SplitMix>;

pub(crate) struct PubSub {
    pub(crate) batches: Arc<OpenBatches>,
    pub(crate) topics: TopicTable,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wires: Arc<Wires>,
}

pub(crate) struct State {
    core: Core,
    outputs: Vec<Output>,
    /// Topics with a batch that waits for its departure, next one first.
    waiting: VecDeque<TopicId>,
    /// The same topics, for a quick look.
    is_waiting: BTreeSet<TopicId>,
    out: BTreeMap<Token, Out>,
    /// Commands that wait for a leader; their callers wait for no longer than `CALL_WAIT_MAX`.
    parked: VecDeque<Parked>,
    next_token: u64,
    timer: Timer,
    is_leader: bool,
    /// Nothing departs any more.
    is_ending: bool,
}

/// A command that waits for a leader.
struct Parked {
    since: Duration,
    command: Command,
    reply: RpcReplyPort<CommandResult>,
}

/// Commands that wait for a leader; beyond it they are refused at once.
const PARKED_MAX: usize = 1_024;

/// What is out under a token.
enum Out {
    /// A batch, from its departure to its answer, however often it is proposed.
    Batch {
        cell: Arc<BatchCell<BatchResult>>,
        topic: TopicId,
        permit: Permit,
        opened: Duration,
    },
    Command(RpcReplyPort<CommandResult>),
}

impl Actor for PubSub {
    type Msg = ToPubSub;
    type State = State;
    type Arguments = Core;

    async fn pre_start(
        &self,
        _: ActorRef<ToPubSub>,
        core: Core,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            core,
            outputs: Vec::new(),
            waiting: VecDeque::new(),
            is_waiting: BTreeSet::new(),
            out: BTreeMap::new(),
            parked: VecDeque::new(),
            next_token: 0,
            timer: Timer::default(),
            is_leader: false,
            is_ending: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ToPubSub>,
        msg: ToPubSub,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        whole("pubsub", || {
            self.take(msg, state);
            self.depart(&myself, state);
            self.carry_out(&myself, state);
        });
        Ok(())
    }

    /// From here on a publisher's kick fails. Whoever pushed before that is told now.
    async fn post_stop(
        &self,
        _: ActorRef<ToPubSub>,
        _: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        self.batches.refuse_all();
        Ok(())
    }
}

impl PubSub {
    fn take(&self, msg: ToPubSub, state: &mut State) {
        match msg {
            ToPubSub::Kick(topic) => {
                if state.is_waiting.insert(topic) {
                    state.waiting.push_back(topic);
                }
            }
            ToPubSub::Command { command, reply } => self.command(state, command, reply),
            ToPubSub::Applied { published, topics } => self.applied(state, published, topics),
            ToPubSub::Answered { token, answer } => state.answered(token, answer),
            ToPubSub::Refused { token, reason } => self.refused(state, token, &reason),
            ToPubSub::Unknown { token } => self.unknown(state, token),
            ToPubSub::RoleChanged { is_leader } => {
                state.is_leader = is_leader;
                self.step(state, Input::LeaderIs(is_leader));
                self.unpark(state);
            }
            ToPubSub::Stop => {
                state.is_ending = true;
                self.step(state, Input::Stop);
            }
            ToPubSub::Wake => {
                state.timer.rang();
                self.step(state, Input::Wake);
            }
        }
    }

    fn step(&self, state: &mut State, input: Input) {
        state.core.step(self.clock.now(), input, &mut state.outputs);
    }

    /// Lets batches leave while the core allows it, the topics in turn, so that none starves.
    fn depart(&self, myself: &ActorRef<ToPubSub>, state: &mut State) {
        let now = self.clock.now();
        let (mut n_held_back, mut overdue_at) = (0, None);
        while n_held_back < state.waiting.len() && !state.is_ending {
            let Some(topic) = state.waiting.pop_front() else { break };
            let open = self.batches.of(topic);
            let Some(next) = open.next() else {
                state.is_waiting.remove(&topic);
                continue;
            };
            // Behind the others, with what it holds back or may have left.
            state.waiting.push_back(topic);
            if !state.core.may_depart(&next, now) {
                // After so long it departs all the same, to be told that there is no leader.
                let at = next.opened + PUBLISH_WAIT_MAX;
                overdue_at = Some(overdue_at.map_or(at, |earliest: Duration| earliest.min(at)));
                n_held_back += 1;
                continue;
            }
            n_held_back = 0;
            let Some(sealed) = open.take() else { continue };
            let token = state.token();
            let Sealed { builder, cell, permit, opened, .. } = sealed;
            state.out.insert(token, Out::Batch { cell, topic, permit, opened });
            self.step(state, Input::Depart { token, topic, builder, opened });
        }
        if let Some(at) = overdue_at {
            state.timer.ring_at(at, now, myself, || ToPubSub::Wake);
        }
    }

    fn carry_out(&self, myself: &ActorRef<ToPubSub>, state: &mut State) {
        let mut proposals = Vec::new();
        for output in std::mem::take(&mut state.outputs) {
            match output {
                Output::Propose { proposal: token, section, .. } => {
                    proposals.push(proposal(token, SectionKind::Records, section));
                }
                Output::Done { token, result } => self.done(state, token, result),
                Output::WakeAt(at) => {
                    state.timer.ring_at(at, self.clock.now(), myself, || ToPubSub::Wake);
                }
            }
        }
        self.propose(proposals);
    }

    fn propose(&self, proposals: Vec<Proposal>) {
        if !proposals.is_empty() {
            self.wires.to_replica(ToReplica::Propose(proposals));
        }
    }

    fn done(&self, state: &mut State, token: Token, result: BatchResult) {
        let Some(Out::Batch { cell, topic, permit, opened }) = state.out.remove(&token) else {
            return;
        };
        drop(permit);
        if let Ok(placed) = &result {
            Metrics::observe(&self.metrics.publish_seconds, self.clock.now() - opened);
            if let Some(name) = self.topics.name(topic) {
                let label = OfTopic { topic: name.into() };
                self.metrics.published.get_or_create(&label).inc_by(placed.n_events.into());
            }
        }
        cell.complete(result);
    }

    fn command(&self, state: &mut State, command: Command, reply: RpcReplyPort<CommandResult>) {
        if !state.is_leader && state.parked.len() < PARKED_MAX {
            // A node that has just begun leads in a moment; who asks now need not ask again.
            let since = self.clock.now();
            return state.parked.push_back(Parked { since, command, reply });
        }
        let token = state.token();
        state.out.insert(token, Out::Command(reply));
        let body = Bytes::from(command.encode());
        self.propose(vec![proposal(token, SectionKind::Command, body)]);
    }

    /// Gives the commands that waited for a leader, but for those whose callers have gone.
    fn unpark(&self, state: &mut State) {
        if !state.is_leader {
            return;
        }
        for Parked { since, command, reply } in std::mem::take(&mut state.parked) {
            if self.clock.now() < since + CALL_WAIT_MAX {
                self.command(state, command, reply);
            }
        }
    }

    fn applied(
        &self,
        state: &mut State,
        published: Vec<Published>,
        topics: Vec<(TopicName, TopicId)>,
    ) {
        for (name, topic) in topics {
            self.topics.insert(name, topic);
        }
        for published in published {
            self.step(state, Input::Published(published));
        }
    }

    fn refused(&self, state: &mut State, token: Token, reason: &ProposeRefused) {
        if is_proposal(token) {
            let reason = not_proposed(reason);
            self.step(state, Input::Refused { proposal: token, reason });
        } else if let Some(Out::Command(reply)) = state.out.remove(&token) {
            answer(reply, Err(CommandError::NotProposed));
        }
    }

    fn unknown(&self, state: &mut State, token: Token) {
        if is_proposal(token) {
            self.step(state, Input::Unknown { proposal: token });
        } else if let Some(Out::Command(reply)) = state.out.remove(&token) {
            answer(reply, Err(CommandError::Unknown));
        }
    }
}

impl State {
    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token::new(self.next_token)
    }

    fn answered(&mut self, token: Token, result: Result<Answer, Refused>) {
        if let Some(Out::Command(reply)) = self.out.remove(&token) {
            answer(reply, result.map_err(CommandError::Refused));
        }
    }
}

fn not_proposed(reason: &ProposeRefused) -> NotProposed {
    match reason {
        ProposeRefused::NotLeader => NotProposed::NotLeader,
        ProposeRefused::StorageFull => NotProposed::StorageFull,
        // A section is bounded where its batch is closed, and only commands change the membership.
        ProposeRefused::Busy | ProposeRefused::TooLarge { .. } | ProposeRefused::ChangeNotNow => {
            NotProposed::Busy
        }
    }
}

fn proposal(token: Token, kind: SectionKind, body: Bytes) -> Proposal {
    Proposal { token, kind, body, may_wait: false }
}
