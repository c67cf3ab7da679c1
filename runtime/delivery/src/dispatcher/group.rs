//! One group: its mailboxes, the events on their way, its workers, its outcomes.
//!
//! ```text
//!   mailboxes ──pull──▶ queues by lane ──deliver──▶ workers ──report──▶ outcomes
//!                          ▲    └ blocked keys          │                  │
//!                          └──────── unstarted ─────────┘               propose
//!                                                                          ▼
//!                              forget ◀──────── settle ◀──────────── the log applies
//! ```
//!
//! The parts of the picture are the neighbouring files. A group lives for one term of leadership. It
//! begins with a [`GroupSnapshot`] and hands nothing out until every member that it lists has resumed
//! or is listed no more: what runs at a member that is not heard of yet must not run elsewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidings_types::effect::{GroupSnapshot, LaneOwner, MailboxSnapshot, Redriven};
use tidings_types::id::{GroupId, Incarnation, NodeId, TopicId};
use tidings_types::layout::records::Records;
use tidings_types::offset::{Lane, Offset};

use crate::dispatcher::breaker::Breaker;
use crate::dispatcher::crew::Crew;
use crate::dispatcher::mailbox::Mailbox;
use crate::dispatcher::port::Output;
use crate::dispatcher::proposals::{KeptLetter, KeptTurn, Step};
use crate::dispatcher::queues::Queues;
use crate::dispatcher::tracked::{Arrival, Table, TrackId};
use crate::lanes::{Lanes, Owner};
use crate::message::ToMember;
use crate::session::BatchId;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) mailbox_idxs: BTreeMap<TopicId, u32>,
    /// Redriven events on their way; they are settled in their mailbox.
    pub(super) redriven: BTreeMap<(TopicId, Offset), TrackId>,
    pub(super) table: Table,
    pub(super) queues: Queues,
    pub(super) lanes: Lanes,
    /// One for each member, and for each node that serves it without being one yet or any more.
    pub(super) crews: Vec<Crew>,
    /// How often each of these was taken out.
    pub(super) left: Vec<(NodeId, Incarnation, u32)>,
    /// The crew that is next to get a batch.
    pub(super) crew_idx: usize,
    /// Members of which nothing was heard in this term.
    pub(super) awaited: BTreeMap<NodeId, Incarnation>,
    pub(super) reading: Reading,
    pub(super) breaker: Breaker,
    pub(super) outbox: Outbox,
    /// Kept for its memory.
    pub(super) scratch: Vec<TrackId>,
    /// The moment for which a wake is asked.
    pub(super) wake_ms: Option<u64>,
    /// A person paused it: nothing is handed out.
    pub(super) is_paused: bool,
    /// Somebody waits until nothing of it is on its way.
    pub(super) is_held: bool,
    /// It stands in the dispatcher's list of groups that something happened to.
    pub(super) is_dirty: bool,
}

/// What a group has to read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Mailboxes to look at, in turn.
    pub(super) hungry: VecDeque<u32>,
    /// Mailboxes that rest after a read that failed or found nothing.
    pub(super) resting: Vec<u32>,
    pub(super) n_reads_out: usize,
    /// Bytes that were fetched and not looked at.
    pub(super) fetched_bytes: usize,
    /// Too many are held, and people were told.
    pub(super) is_choked: bool,
}

/// Outcomes that wait to be proposed.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Mailboxes with outcomes, and none proposed.
    pub(super) mailboxes: BTreeSet<u32>,
    /// By number.
    pub(super) turns: VecDeque<KeptTurn>,
    pub(super) letters: VecDeque<KeptLetter>,
    /// Dead letters of events that were found at a worker and are not read yet.
    pub(super) unread_letters: Vec<KeptLetter>,
    pub(super) n_turns_made: u64,
    pub(super) n_turns_out: usize,
    pub(super) turn_bytes_out: usize,
    pub(super) n_letters_out: usize,
    /// Nothing is proposed before, after a proposal was lost.
    pub(super) propose_after_ms: u64,
    /// No dead letter is proposed before, after one was refused.
    pub(super) letters_after_ms: u64,
    /// No dead letter can be added, and people were told.
    pub(super) is_full: bool,
    /// One was added since one was refused.
    pub(super) has_room: bool,
}

impl Group {
    pub(super) fn new(id: GroupId) -> Self {
        Self {
            id,
            mailboxes: Vec::new(),
            mailbox_idxs: BTreeMap::new(),
            redriven: BTreeMap::new(),
            table: Table::default(),
            queues: Queues::default(),
            lanes: Lanes::default(),
            crews: Vec::new(),
            left: Vec::new(),
            crew_idx: 0,
            awaited: BTreeMap::new(),
            reading: Reading::default(),
            breaker: Breaker::default(),
            outbox: Outbox::default(),
            scratch: Vec::new(),
            wake_ms: None,
            is_paused: false,
            is_held: false,
            is_dirty: false,
        }
    }

    /// Takes over what the state says. What it knew already stays as it is.
    pub(super) fn learn(&mut self, snapshot: &GroupSnapshot, step: &mut Step<'_>) {
        let now_ms = step.now_ms;
        for mailbox in &snapshot.mailboxes {
            self.learn_mailbox(mailbox, now_ms);
        }
        let place = |redriven: &Redriven| (redriven.topic, redriven.offset);
        let listed: BTreeSet<_> = snapshot.redriven.iter().map(place).collect();
        let is_gone = |place: &&(TopicId, Offset)| !listed.contains(place);
        let gone: Vec<_> = self.redriven.keys().filter(is_gone).copied().collect();
        for (topic, offset) in gone {
            self.settle_redriven(topic, offset, offset.next(), now_ms);
        }
        for redriven in &snapshot.redriven {
            match self.redriven.get(&place(redriven)) {
                Some(&id) => {
                    self.learn_attempts(id, redriven.attempts, redriven.retry_at_ms, now_ms)
                }
                None => self.redrive(redriven),
            }
        }
        self.left.clone_from(&snapshot.left);
        self.is_paused = snapshot.is_paused;
        self.lanes_moved(&snapshot.lanes, &snapshot.members, step);
    }

    /// Says that a process is no member.
    pub(super) fn removed(&self, node: NodeId, incarnation: Incarnation) -> ToMember {
        let is_it = |left: &&(NodeId, Incarnation, u32)| (left.0, left.1) == (node, incarnation);
        let n_left = self.left.iter().find(is_it).map_or(0, |left| left.2);
        ToMember::Removed { group: self.id, n_left }
    }

    /// Members have come or gone, and lanes have moved.
    pub(super) fn lanes_moved(
        &mut self,
        lanes: &[LaneOwner],
        members: &[(NodeId, Incarnation)],
        step: &mut Step<'_>,
    ) {
        for &(node, _) in members {
            self.crew_of(node, step);
        }
        for idx in (0..).take(self.crews.len()) {
            let node = self.crew(idx).node;
            let listed = members.iter().find(|(member, _)| *member == node);
            self.list(idx, listed.map(|&(_, incarnation)| incarnation), step);
        }
        self.awaited.retain(|&node, &mut incarnation| members.contains(&(node, incarnation)));
        let crews = &self.crews;
        let owner_of = |node: NodeId| (0..).zip(crews).find(|(_, crew)| crew.node == node);
        self.lanes.moved(lanes.iter().map(|lane| {
            let owner = lane.owner.and_then(owner_of);
            (owner.map(|(idx, _)| idx), lane.epoch)
        }));
        self.recall_turns(step);
        self.want_all();
    }

    /// Which start of a crew's node is a member now. What a former one held does not count any more.
    fn list(&mut self, idx: Owner, listed: Option<Incarnation>, step: &mut Step<'_>) {
        let before = self.crew(idx).listed;
        if before == listed {
            return;
        }
        self.crew_mut(idx).listed = listed;
        if before.is_none() {
            return;
        }
        self.retract(idx, step.now_ms);
        let crew = self.crew(idx);
        let (member, is_member) = (crew.node, crew.is_member());
        if let Some(session) = crew.session.filter(|_| !is_member) {
            let message = self.removed(member, session.incarnation);
            step.out.push(Output::Tell { member, session, message });
        }
    }

    /// Every member that is listed must resume before anything is handed out.
    pub(super) fn await_members(&mut self) {
        let listed = |crew: &Crew| crew.listed.map(|incarnation| (crew.node, incarnation));
        self.awaited = self.crews.iter().filter_map(listed).collect();
    }

    /// The crew of a node, new or not.
    pub(super) fn crew_of(&mut self, node: NodeId, step: &Step<'_>) -> Owner {
        let found = self.crews.iter().position(|crew| crew.node == node);
        let idx = found.unwrap_or_else(|| {
            self.crews.push(Crew::new(node, step.sessions.get(&node).copied()));
            self.crews.len() - 1
        });
        Owner::try_from(idx).expect("nodes are few")
    }

    pub(super) fn crew(&self, idx: Owner) -> &Crew {
        self.crews.get(idx as usize).expect("crews are never taken away")
    }

    pub(super) fn crew_mut(&mut self, idx: Owner) -> &mut Crew {
        self.crews.get_mut(idx as usize).expect("crews are never taken away")
    }

    /// The crew's service begins.
    pub(super) fn serve(&mut self, crew: Owner) {
        self.crew_mut(crew).is_served = true;
        for idx in (0..).take(self.mailboxes.len()) {
            self.look_again_at(idx);
        }
    }

    /// Events may be handed out.
    pub(super) fn is_open(&self) -> bool {
        self.awaited.is_empty() && self.crews.iter().any(Crew::is_open)
    }

    fn learn_mailbox(&mut self, snapshot: &MailboxSnapshot, now_ms: u64) {
        let idx = *self.mailbox_idxs.entry(snapshot.topic).or_insert_with(|| {
            self.mailboxes.push(Mailbox::new(snapshot));
            u32::try_from(self.mailboxes.len() - 1).expect("SUBSCRIPTIONS_MAX bounds them")
        });
        self.settle_range(idx, Offset::ZERO, snapshot.floor, now_ms);
        for range in &snapshot.acked {
            self.settle_range(idx, range.start, range.start.plus(range.len.into()), now_ms);
        }
        for failed in &snapshot.failed {
            let mailbox = self.mailbox_mut(idx);
            if let Some(id) = mailbox.window.get(failed.offset) {
                self.learn_attempts(id, failed.attempts, failed.retry_at_ms, now_ms);
            } else if mailbox.next() <= failed.offset {
                mailbox.fail_ahead(failed.offset, failed.attempts, failed.retry_at_ms);
            }
        }
        self.mailbox_mut(idx).reaches(snapshot.end);
        self.look_again_at(idx);
    }

    fn learn_attempts(&mut self, id: TrackId, attempts: u32, retry_at_ms: u64, now_ms: u64) {
        if self.table.get(id).attempts < attempts {
            self.count_attempt(id, attempts, retry_at_ms, now_ms);
        }
    }

    /// A dead letter goes back into delivery.
    pub(super) fn redrive(&mut self, redriven: &Redriven) {
        let &Redriven { topic, offset, number, attempts, retry_at_ms, .. } = redriven;
        let records = Records::parse(redriven.records.clone());
        let event = records.ok().and_then(|records| records.events().next());
        let (Some(Ok(event)), Some(&mailbox_idx)) = (event, self.mailbox_idxs.get(&topic)) else {
            return;
        };
        if self.redriven.contains_key(&(topic, offset)) {
            return;
        }
        let arrival = Arrival {
            key_hash: event.key_hash,
            event: Some(event),
            offset,
            mailbox_idx,
            attempts,
            retry_at_ms,
            redrive: Some(number),
        };
        let id = self.arrive(arrival);
        self.redriven.insert((topic, offset), id);
    }

    /// A new event waits in its lane.
    pub(super) fn arrive(&mut self, arrival: Arrival) -> TrackId {
        let lane = Lane::of(arrival.key_hash);
        let is_redriven = arrival.redrive.is_some();
        let id = self.table.arrive(arrival);
        self.queues.push(lane, id, is_redriven);
        self.lanes.want(lane);
        id
    }

    /// The event on its way that an outcome speaks of.
    pub(super) fn find(&self, topic: TopicId, offset: Offset) -> Option<TrackId> {
        if let Some(&id) = self.redriven.get(&(topic, offset)) {
            return Some(id);
        }
        let idx = *self.mailbox_idxs.get(&topic)?;
        self.mailboxes.get(idx as usize)?.window.get(offset)
    }

    /// All lanes that have something to hand out say so.
    pub(super) fn want_all(&mut self) {
        for lane in Lane::all() {
            self.want(lane);
        }
    }

    /// The lane says so if it has something to hand out.
    pub(super) fn want(&mut self, lane: Lane) {
        if self.queues.has_work(lane) {
            self.lanes.want(lane);
        }
    }

    pub(super) fn mailbox_mut(&mut self, idx: u32) -> &mut Mailbox {
        self.mailboxes.get_mut(idx as usize).expect("mailboxes are never taken away")
    }

    pub(super) fn topic_of(&self, id: TrackId) -> TopicId {
        let idx = self.table.get(id).mailbox_idx;
        self.mailboxes.get(idx as usize).expect("mailboxes are never taken away").topic
    }

    /// Does all that has become possible. Called after whatever happened to the group.
    pub(super) fn advance(&mut self, step: &mut Step<'_>) {
        while let Some(lane) = self.queues.fire_timer(&mut self.table, step.now_ms) {
            self.want(lane);
        }
        self.tell_pauses(step);
        if self.is_open() {
            self.wake_mailboxes(step.now_ms);
            // Handing out makes room to pull, and pulling gives more to hand out.
            let may_deliver = !self.is_paused && !self.is_held;
            while self.pull(step) | (may_deliver && self.deliver(step)) {}
        }
        self.propose(step);
        self.tell_confirmed(step);
    }

    /// Tells members which outcomes they need not keep any longer. Who is not on the line learns it
    /// when it resumes.
    fn tell_confirmed(&mut self, step: &mut Step<'_>) {
        let (crews, group) = (&self.crews, self.id);
        let mut told: Vec<(Owner, Vec<(BatchId, u64)>)> = Vec::new();
        self.table.handed.tell(|crew, batch, places| {
            match told.iter_mut().find(|(other, _)| *other == crew) {
                Some((_, batches)) => batches.push((batch, places)),
                None => told.push((crew, vec![(batch, places)])),
            }
        });
        for (crew, batches) in told {
            let Some(crew) = crews.get(crew as usize) else { continue };
            if let Some(session) = crew.session {
                let message = ToMember::Confirmed { group, batches };
                step.out.push(Output::Tell { member: crew.node, session, message });
            }
        }
    }

    /// When it must be called again although nothing happened to it.
    pub(super) fn next_wake_ms(&self, now_ms: u64) -> Option<u64> {
        let has_outcomes = !self.outbox.mailboxes.is_empty() || !self.outbox.turns.is_empty();
        let has_letters = !self.outbox.letters.is_empty();
        let outbox = (has_outcomes || has_letters).then_some(self.outbox.propose_after_ms);
        let letters = has_letters.then_some(self.outbox.letters_after_ms);
        let resting = self.reading.resting.iter().filter_map(|&idx| {
            self.mailboxes.get(idx as usize).map(|mailbox| mailbox.read_after_ms)
        });
        let moments = [self.queues.next_timer_ms(), outbox, letters, self.breaker.next_ms()];
        let moments = moments.into_iter().flatten().chain(resting);
        moments.filter(|&moment| now_ms < moment).min()
    }
}
