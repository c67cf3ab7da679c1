//! One group: its mailboxes, its members and their lanes, its dead letters.
//!
//! Outcomes are judged in one order everywhere: is there such an event, is it settled already, has
//! its lane moved. A redriven event is settled in its mailbox but open here, and an outcome is then
//! of the redriven one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_types::bugs::{Bug, is_planted};
use tidings_types::effect::{Effect, GroupSnapshot, OutcomeRefused, Refused};
use tidings_types::id::{GroupId, Incarnation, NodeId, TopicId};
use tidings_types::layout::acks::{AckRange, Failure};
use tidings_types::name::GroupName;
use tidings_types::offset::{LaneEpoch, Offset};

use crate::dead_letters::{DeadLetterView, DeadLetters};
use crate::lanes::Lanes;
use crate::mailbox::Mailbox;
use crate::room::Room;
use crate::topics::Topics;

/// All groups. Each is shared between clones until it changes.
pub(crate) type Groups = BTreeMap<GroupId, Arc<Group>>;

/// Of each node that ever left a group the start that left last, and how often it did.
pub(crate) type Left = BTreeMap<NodeId, (Incarnation, u32)>;

/// A group that is about to change.
///
/// # Errors
/// If there is none of that id.
pub(crate) fn changing(groups: &mut Groups, group: GroupId) -> Result<&mut Group, Refused> {
    groups.get_mut(&group).map(Arc::make_mut).ok_or(Refused::NoSuchGroup { group })
}

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: GroupName,
    pub(crate) mailboxes: BTreeMap<TopicId, Mailbox>,
    pub(crate) members: BTreeMap<NodeId, Incarnation>,
    /// How often the start of a node that left last was taken out. In the checkpoint it stands behind
    /// all groups.
    #[serde(skip)]
    pub(crate) left: Left,
    pub(crate) lanes: Lanes,
    pub(crate) letters: DeadLetters,
    /// A person paused it. In the checkpoint it stands behind all groups.
    #[serde(skip)]
    pub(crate) is_paused: bool,
}

impl Group {
    /// A group that reads nothing and that nobody serves.
    pub(crate) fn new(name: GroupName) -> Self {
        Self {
            name,
            mailboxes: BTreeMap::new(),
            members: BTreeMap::new(),
            left: BTreeMap::new(),
            lanes: Lanes::without_owner(),
            letters: DeadLetters::default(),
            is_paused: false,
        }
    }

    /// How often this start of a node was taken out.
    pub(crate) fn n_left(&self, node: NodeId, incarnation: Incarnation) -> u32 {
        let left = self.left.get(&node).filter(|(of, _)| *of == incarnation);
        left.map_or(0, |&(_, n_left)| n_left)
    }

    /// Lets a process serve the group. `false`: it did already.
    pub(crate) fn join(&mut self, node: NodeId, incarnation: Incarnation) -> bool {
        let before = self.members.insert(node, incarnation);
        if before == Some(incarnation) {
            return false;
        }
        self.lanes.assign(&self.members, before.map(|_| node));
        true
    }

    /// Takes a process out. `false`: it did not serve the group.
    pub(crate) fn leave(&mut self, node: NodeId) -> bool {
        let Some(incarnation) = self.members.remove(&node) else { return false };
        let n_left = self.n_left(node, incarnation).saturating_add(1);
        self.left.insert(node, (incarnation, n_left));
        self.lanes.assign(&self.members, None);
        true
    }

    /// Whether an outcome of an event may count, by all but its lane.
    fn check_open(
        &self,
        topic: TopicId,
        offset: Offset,
        topics: &Topics,
    ) -> Result<(), OutcomeRefused> {
        let mailbox = self.mailboxes.get(&topic).ok_or(OutcomeRefused::NoSuchEvent)?;
        if topics.end(topic) <= offset {
            return Err(OutcomeRefused::NoSuchEvent);
        }
        if mailbox.cursor().is_acked(offset) && !self.letters.is_redriven(topic, offset) {
            return Err(OutcomeRefused::AlreadySettled);
        }
        Ok(())
    }

    /// Whether an outcome of an event may count.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn check(
        &self,
        topic: TopicId,
        offset: Offset,
        lane_epoch: LaneEpoch,
        topics: &Topics,
    ) -> Result<(), OutcomeRefused> {
        self.check_open(topic, offset, topics)?;
        let is_owners = self.lanes.is_current(lane_epoch) || is_planted(Bug::NoLeaseEpoch);
        if is_owners { Ok(()) } else { Err(OutcomeRefused::LaneMoved) }
    }

    /// Settles events that succeeded, redriven ones too. A success counts whoever reports it, and
    /// as often as it is reported: the work is done.
    ///
    /// # Errors
    /// If one of them does not exist; then none is settled.
    pub(crate) fn ack(
        &mut self,
        topic: TopicId,
        range: AckRange,
        topics: &Topics,
        room: &mut Room,
    ) -> Result<(), OutcomeRefused> {
        let end = range.start.checked_plus(range.len.into());
        let is_there =
            |end: &Offset| self.mailboxes.contains_key(&topic) && *end <= topics.end(topic);
        let end = end.filter(is_there).ok_or(OutcomeRefused::NoSuchEvent)?;
        self.settle(topic, range.start..end, room);
        Ok(())
    }

    /// Settles events of a mailbox that the group has.
    pub(crate) fn settle(&mut self, topic: TopicId, events: Range<Offset>, room: &mut Room) {
        self.letters.settle(topic, events.clone(), room);
        let mailbox = self.mailboxes.get_mut(&topic).expect("the caller has looked");
        mailbox.settle(events, room);
    }

    /// Counts a failed attempt; how many there are now.
    ///
    /// # Errors
    /// If it may not count.
    pub(crate) fn fail(
        &mut self,
        topic: TopicId,
        failure: &Failure,
        topics: &Topics,
        room: &mut Room,
    ) -> Result<u32, OutcomeRefused> {
        let offset = failure.offset;
        self.check(topic, offset, failure.lane_epoch, topics)?;
        if let Some(attempts) = self.letters.fail(topic, offset, failure.retry_at_ms) {
            return Ok(attempts);
        }
        let mailbox = self.mailboxes.get_mut(&topic).expect("just checked");
        Ok(mailbox.fail(failure, room))
    }

    /// An event that waits for another attempt need not. `false`: it does not wait.
    pub(crate) fn retry_now(&mut self, topic: TopicId, offset: Offset) -> bool {
        if self.letters.is_redriven(topic, offset) {
            return self.letters.retry_now(topic, offset);
        }
        self.mailboxes.get_mut(&topic).is_some_and(|mailbox| mailbox.retry_now(offset))
    }

    /// Settles an event by keeping it as a dead letter.
    ///
    /// # Errors
    /// If it may not count, or if there is no room for the letter.
    pub(crate) fn bury(
        &mut self,
        letter: DeadLetterView,
        lane_epoch: LaneEpoch,
        topics: &Topics,
        room: &mut Room,
    ) -> Result<(), OutcomeRefused> {
        let (topic, offset) = (letter.topic, letter.offset);
        self.check(topic, offset, lane_epoch, topics)?;
        if !self.letters.bury(letter, room) {
            return Err(OutcomeRefused::DeadLettersFull);
        }
        self.settle(topic, offset..offset.next(), room);
        Ok(())
    }

    /// Goes on elsewhere on a topic. What was handed out before counts no more, but for successes.
    ///
    /// # Errors
    /// If the group does not read the topic, or there is no such place.
    pub(crate) fn seek(
        &mut self,
        (topic, to): (TopicId, Offset),
        topics: &Topics,
        room: &mut Room,
    ) -> Result<(), Refused> {
        let mailbox = self.mailboxes.get_mut(&topic).ok_or(Refused::NoSuchTopic { topic })?;
        let found = topics.get(topic).ok_or(Refused::NoSuchTopic { topic })?;
        let (start, end) = (found.start, found.end);
        if to < start || end < to {
            return Err(Refused::NoSuchOffset { topic, to, start, end });
        }
        mailbox.seek(to, room);
        self.letters.come_again(topic, to, room);
        self.lanes.fence();
        Ok(())
    }

    /// What delivery must know.
    pub(crate) fn snapshot(&self, group: GroupId, topics: &Topics) -> GroupSnapshot {
        let mailbox =
            |(&topic, mailbox): (&TopicId, &Mailbox)| mailbox.snapshot(topic, topics.end(topic));
        GroupSnapshot {
            group,
            name: self.name.clone(),
            mailboxes: self.mailboxes.iter().map(mailbox).collect(),
            lanes: self.lanes.owners().to_vec(),
            members: self.members(),
            left: self.left(),
            redriven: self.letters.redriven(),
            is_paused: self.is_paused,
        }
    }

    /// What delivery must know of members that came or went.
    pub(crate) fn lanes_moved(&self, group: GroupId) -> Effect {
        let (lanes, members) = (self.lanes.owners().to_vec(), self.members());
        Effect::LanesMoved { group, lanes, members, left: self.left() }
    }

    fn left(&self) -> Vec<(NodeId, Incarnation, u32)> {
        self.left.iter().map(|(&node, &(start, n_left))| (node, start, n_left)).collect()
    }

    fn members(&self) -> Vec<(NodeId, Incarnation)> {
        self.members.iter().map(|(&node, &start)| (node, start)).collect()
    }

    /// Whether a group that was read back keeps the invariants; takes the room that it needs.
    pub(crate) fn is_sound(&self, topics: &Topics, room: &mut Room) -> bool {
        let mut mailboxes = self.mailboxes.iter();
        mailboxes.all(|(&topic, mailbox)| {
            topics.get(topic).is_some_and(|found| mailbox.is_sound(found.start..found.end, room))
        }) && self.lanes.is_sound()
            && self.letters.is_sound(room)
    }
}
