//! The dispatcher: hands the events of the log to the workers of each group, in order per key.
//!
//! It runs beside the leading replica. It is told what was applied and what members say, and answers
//! with batches to hand out, reads to make and outcomes to propose. It owns no durable state, and
//! nothing that outlives a term: what it must know is in a [`GroupSnapshot`], and the rest members
//! tell when they resume.
//!
//! Promises, as long as its driver keeps to [`Input`]:
//! - Every event of a mailbox gets outcomes until one of them settles it. An outcome is kept here until
//!   the log has applied or refused it, and by its member until it is told so.
//! - Of one key, a later event is handed out only with or after the outcome of the earlier one;
//!   after a dead letter, only once that is committed. A failing key holds up no other.
//! - A lane is worked by one worker at a time, of whichever member, unless the member that had it was
//!   removed by a committed command.
//! - What is out, waits and is held stays within [`limits`](tidings_types::limits).

mod port;

mod track_id;

mod handed;

mod tracked;

mod window;

mod queues;

mod worker;

mod crew;

mod breaker;

mod mailbox;

mod proposals;

mod group;

mod deliver;

mod report;

mod settle;

mod propose;

mod resume;

mod talk;

mod hear;

#[cfg(test)]
mod driver_test;

#[cfg(test)]
mod promises_test;

#[cfg(test)]
mod members_test;

#[cfg(test)]
mod bounds_test;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::mem;
use std::time::Duration;

use tidings_types::effect::{Effect, GroupSnapshot};
use tidings_types::id::{GroupId, NodeId, Token, TopicId};

use crate::dispatcher::group::Group;
use crate::dispatcher::proposals::{Batches, Proposals, Step};
use crate::dispatcher::talk::Talk;
use crate::message::{SessionId, ToMember};

pub use port::{Input, Output, Pause, ReadResult, Story};

/// See the module's description.
#[derive(Debug)]
pub struct Dispatcher {
    is_leading: bool,
    groups: BTreeMap<GroupId, Group>,
    readers: BTreeMap<TopicId, Vec<GroupId>>,
    /// The talk with each node that has spoken in this term.
    talks: BTreeMap<NodeId, Talk>,
    /// The sessions of those that have resumed, while their link stands.
    sessions: BTreeMap<NodeId, SessionId>,
    proposals: Proposals,
    batches: Batches,
    /// Groups that something happened to in this step.
    dirty: Vec<GroupId>,
    /// When groups asked to be woken. Entries that no longer hold are harmless.
    wakes: BinaryHeap<Reverse<(u64, GroupId)>>,
    /// The moment for which a wake was asked last, if it has not come.
    armed_ms: Option<u64>,
}

/// How many events of a group are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Read, and waiting for a worker.
    pub n_waiting: usize,
    /// At workers.
    pub n_out: usize,
    /// In back-off, or behind a key that is blocked.
    pub n_held: usize,
    /// Attempted, with an outcome that is not committed. A drained service may end when this and
    /// `n_out` are 0.
    pub n_uncommitted: usize,
}

impl Dispatcher {
    /// A dispatcher that follows and knows no group. Its tokens and batches count up from `first`; a
    /// dispatcher that takes another's place in one process begins behind it, so that an answer that
    /// comes late for the other means nothing to it.
    pub fn new(first: Token) -> Self {
        Self {
            is_leading: false,
            groups: BTreeMap::new(),
            readers: BTreeMap::new(),
            talks: BTreeMap::new(),
            sessions: BTreeMap::new(),
            proposals: Proposals::new(first),
            batches: Batches::new(first),
            dirty: Vec::new(),
            wakes: BinaryHeap::new(),
            armed_ms: None,
        }
    }

    /// Takes an input at a moment of cluster time, and appends what is to be done.
    pub fn step(&mut self, now: Duration, input: Input<'_>, out: &mut Vec<Output>) {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        match input {
            Input::Lead(snapshots) => self.lead(&snapshots, now_ms, out),
            Input::Follow => self.follow(),
            Input::Effects(effects) if self.is_leading => {
                for effect in effects {
                    self.take_effect(effect, now_ms, out);
                }
            }
            // What was applied while another node led is in the next snapshot.
            Input::Effects(_) => {}
            Input::Heard { member, session, message } => {
                self.hear((member, session), message, now_ms, out);
            }
            Input::MemberGone { member, session } => self.gone(member, session),
            // A read of a former term is as good as one of this: what stands in the log stays.
            Input::ReadDone { group, topic, from, result } if self.groups.contains_key(&group) => {
                self.with_step(group, now_ms, out, |group, step| {
                    group.end_read((topic, from), result, step);
                });
            }
            Input::ReadDone { .. } => {}
            Input::Hold { group, is_held } => {
                if self.groups.contains_key(&group) {
                    self.touch(group).hold_back(is_held);
                }
            }
            Input::Taken { token } => {
                if let Some((group, kept)) = self.proposals.answer(token) {
                    self.touch(group).taken(kept, now_ms);
                }
            }
            Input::Lost { token } => {
                if let Some((group, kept)) = self.proposals.answer(token) {
                    self.touch(group).lost(kept, now_ms);
                }
            }
            // It may come early, if clocks differ: then it is asked for again.
            Input::Wake => self.armed_ms = None,
        }
        self.advance(now_ms, out);
    }

    /// How a group stands; `None` if nothing is known of it.
    pub fn observe(&self, group: GroupId) -> Option<Observation> {
        let table = &self.groups.get(&group)?.table;
        Some(Observation {
            n_waiting: table.n_waiting(),
            n_out: table.n_out(),
            n_held: table.n_held(),
            n_uncommitted: table.n_uncommitted(false),
        })
    }

    /// Whether nothing of a group is at a worker, and each outcome is in the log, but for events that
    /// are given up and for which there is no room.
    pub fn is_quiet(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_none_or(Group::is_quiet)
    }

    fn follow(&mut self) {
        self.is_leading = false;
        self.groups.clear();
        self.readers.clear();
        self.talks.clear();
        self.sessions.clear();
        self.proposals.give_up();
        self.dirty.clear();
        self.wakes.clear();
        self.armed_ms = None;
    }

    fn lead(&mut self, snapshots: &[GroupSnapshot], now_ms: u64, out: &mut Vec<Output>) {
        self.follow();
        self.is_leading = true;
        let mut members = BTreeSet::new();
        for snapshot in snapshots {
            self.learn(snapshot, now_ms, out);
            self.touch(snapshot.group).await_members();
            members.extend(snapshot.members.iter().map(|&(node, _)| node));
        }
        // Whoever is on the line already need not find out.
        for member in members {
            let (session, message) = (SessionId::default(), ToMember::AskResume);
            out.push(Output::Tell { member, session, message });
        }
    }

    fn learn(&mut self, snapshot: &GroupSnapshot, now_ms: u64, out: &mut Vec<Output>) {
        for mailbox in &snapshot.mailboxes {
            let readers = self.readers.entry(mailbox.topic).or_default();
            if !readers.contains(&snapshot.group) {
                readers.push(snapshot.group);
            }
        }
        self.touch(snapshot.group);
        self.with_step(snapshot.group, now_ms, out, |group, step| group.learn(snapshot, step));
    }

    /// A group goes on elsewhere: what was known of it counts no more. Members say what they hold, as
    /// to a new leader.
    fn begin_anew(&mut self, snapshot: &GroupSnapshot, now_ms: u64, out: &mut Vec<Output>) {
        self.groups.remove(&snapshot.group);
        self.proposals.give_up_of(snapshot.group);
        self.learn(snapshot, now_ms, out);
        self.touch(snapshot.group).await_members();
        for (member, session) in self.sessions.clone() {
            self.hang_up(member, session);
            let (session, message) = (SessionId::default(), ToMember::AskResume);
            out.push(Output::Tell { member, session, message });
        }
    }

    fn take_effect(&mut self, effect: &Effect, now_ms: u64, out: &mut Vec<Output>) {
        match effect {
            Effect::Accepted(accepted) => {
                let readers = self.readers.get(&accepted.placed.topic);
                for &group in readers.into_iter().flatten() {
                    if let Some(found) = self.groups.get_mut(&group) {
                        found.accept(accepted);
                        mark(&mut self.dirty, found);
                    }
                }
            }
            Effect::GroupChanged(snapshot) => self.learn(snapshot, now_ms, out),
            Effect::Sought(snapshot) => self.begin_anew(snapshot, now_ms, out),
            Effect::LanesMoved { group, lanes, members, left } => {
                self.with_step(*group, now_ms, out, |group, step| {
                    group.left.clone_from(left);
                    group.lanes_moved(lanes, members, step);
                });
            }
            &Effect::Settled { group, topic, range, dead } => {
                let end = range.start.plus(range.len.into());
                let group = self.touch(group);
                group.settle(topic, range.start, end, now_ms);
                if dead {
                    group.letter_committed();
                }
            }
            &Effect::Failed { group, topic, offset, attempts, retry_at_ms } => {
                let failed = (attempts, retry_at_ms);
                self.touch(group).fail_committed(topic, offset, failed, now_ms);
            }
            &Effect::OutcomeRefused { group, topic, offset, why } => {
                self.with_step(group, now_ms, out, |group, step| {
                    group.refuse(topic, offset, why, step);
                });
            }
            Effect::Redriven { group, letter } => {
                self.touch(*group).redrive(letter);
            }
            &Effect::RetryNow { group, topic, offset } => {
                self.touch(group).retry_now(topic, offset, now_ms);
            }
            &Effect::Discarded { group } => self.touch(group).letters_discarded(),
            &Effect::Paused { group, is_paused } => self.touch(group).set_paused(is_paused),
            Effect::Published(_)
            | Effect::TopicCreated { .. }
            | Effect::Answered { .. }
            | Effect::Checkpoint
            | Effect::Purge { .. } => {}
        }
    }

    /// The group, which gets its turn at the end of the step.
    fn touch(&mut self, group: GroupId) -> &mut Group {
        let found = self.groups.entry(group).or_insert_with(|| Group::new(group));
        mark(&mut self.dirty, found);
        found
    }

    fn with_step<R>(
        &mut self,
        group: GroupId,
        now_ms: u64,
        out: &mut Vec<Output>,
        then: impl FnOnce(&mut Group, &mut Step<'_>) -> R,
    ) -> R {
        self.touch(group);
        let Self { groups, proposals, batches, sessions, .. } = self;
        let found = groups.get_mut(&group).expect("just touched");
        then(found, &mut Step { now_ms, proposals, batches, sessions, out })
    }

    /// Gives each group its turn that something happened to, or that asked to be woken.
    fn advance(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        while let Some(&Reverse((at_ms, group))) = self.wakes.peek() {
            if now_ms < at_ms {
                break;
            }
            self.wakes.pop();
            self.touch(group).wake_ms = None;
        }
        let mut dirty = mem::take(&mut self.dirty);
        for group in dirty.drain(..) {
            self.with_step(group, now_ms, out, Group::advance);
            let found = self.groups.get_mut(&group).expect("groups are never taken away");
            found.is_dirty = false;
            if let Some(wake_ms) = found.next_wake_ms(now_ms)
                && found.wake_ms.is_none_or(|asked_ms| wake_ms < asked_ms)
            {
                found.wake_ms = Some(wake_ms);
                self.wakes.push(Reverse((wake_ms, group)));
            }
        }
        self.dirty = dirty;
        self.arm(now_ms, out);
    }

    fn arm(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        self.armed_ms = self.armed_ms.filter(|&armed_ms| now_ms < armed_ms);
        let Some(&Reverse((wake_ms, _))) = self.wakes.peek() else { return };
        if self.armed_ms.is_none_or(|armed_ms| wake_ms < armed_ms) {
            self.armed_ms = Some(wake_ms);
            out.push(Output::WakeAt(Duration::from_millis(wake_ms)));
        }
    }
}

fn mark(dirty: &mut Vec<GroupId>, group: &mut Group) {
    if !mem::replace(&mut group.is_dirty, true) {
        dirty.push(group.id);
    }
}
