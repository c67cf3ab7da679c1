//! The naive model: plain sets, whole histories, no cleverness. Slow and easy to believe.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidings_types::effect::{
    Accepted, Answer, Effect, FailedEvent, GroupSnapshot, LaneOwner, MailboxSnapshot,
    OutcomeRefused, Placed, Published, Redriven, Refused,
};
use tidings_types::event::NewEvent;
use tidings_types::id::{GroupId, Incarnation, NodeId, ProducerId, Sequence, TopicId};
use tidings_types::layout::acks::{AckRange, Acks};
use tidings_types::layout::command::{Command, DeadLetter, GroupStart};
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::records::{Records, RecordsBuilder};
use tidings_types::layout::turn::Turn;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::{LaneEpoch, LogIndex, Offset};

use crate::dead_letters::DeadLetterView;
use crate::state::State;
use crate::view::{GroupView, MailboxView, Standing, TopicView};

const HOUR_MS: u64 = 3_600_000;

type Place = (TopicId, u64);

#[derive(Debug, Default)]
pub(super) struct Model {
    index: LogIndex,
    ts_ms: u64,
    topics: Vec<(TopicName, u64)>,
    /// Where topics begin that do not begin at 0.
    begins: BTreeMap<TopicId, u64>,
    /// Every Checkpoint entry, with the end of each topic.
    checkpoints: Vec<(LogIndex, Vec<u64>)>,
    purged: LogIndex,
    producers: BTreeMap<ProducerId, Producer>,
    groups: Vec<Group>,
    nodes: BTreeMap<NodeId, Incarnation>,
    effects: Vec<Effect>,
    n_sections: u16,
}

#[derive(Debug, Default)]
struct Producer {
    heard_ms: u64,
    answers: Vec<Result<Placed, Refused>>,
}

#[derive(Debug)]
struct Group {
    name: GroupName,
    starts: BTreeMap<TopicId, u64>,
    settled: BTreeSet<Place>,
    failed: BTreeMap<Place, (u32, u64, String)>,
    dead: BTreeMap<Place, DeadLetterView>,
    redriven: Vec<Redriven>,
    n_ever_redriven: u64,
    is_paused: bool,
    /// What was published, of letters that were edited.
    originals: BTreeMap<Place, Bytes>,
    /// All that ever were.
    removals: Vec<(NodeId, Incarnation)>,
    members: BTreeMap<NodeId, Incarnation>,
    lanes: Vec<(Option<NodeId>, u32)>,
}

/// A records section of that many small events.
pub(super) fn records(
    topic: TopicId,
    n_events: u32,
    producer: ProducerId,
    sequence: Sequence,
) -> Bytes {
    let mut builder = RecordsBuilder::with_capacity(0);
    for number in 0..n_events {
        let id = format!("e{number}");
        let (kind, headers) = ("t.v1", b"".as_slice());
        builder.push(&NewEvent { id: &id, kind, key: b"k", time_ms: 0, headers, payload: b"p" });
    }
    builder.finish(topic, producer, sequence)
}

impl Model {
    /// All dead letters.
    pub(super) fn dead(&self) -> impl Iterator<Item = (GroupId, TopicId, Offset)> {
        let groups = (1..).map(GroupId::new).zip(&self.groups);
        groups.flat_map(|(id, group)| {
            group.dead.keys().map(move |&(topic, offset)| (id, topic, Offset::new(offset)))
        })
    }

    pub(super) fn begin(&mut self, index: LogIndex, step_ms: u64) {
        self.index = index;
        self.ts_ms += step_ms;
        self.effects.clear();
        self.n_sections = 0;
        let ts_ms = self.ts_ms;
        self.producers.retain(|_, producer| ts_ms - producer.heard_ms <= HOUR_MS);
    }

    pub(super) fn finish(&mut self) {
        if self.effects.contains(&Effect::Checkpoint) {
            let ends = self.topics.iter().map(|topic| topic.1).collect();
            self.checkpoints.push((self.index, ends));
        }
    }

    /// The Checkpoint entries that a purge may name, newest first.
    pub(super) fn checkpoints(&self) -> Vec<LogIndex> {
        let newest = self.checkpoints.iter().rev().take(4).map(|checkpoint| checkpoint.0);
        newest.filter(|index| self.purged <= *index).collect()
    }

    pub(super) fn ts_ms(&self) -> u64 {
        self.ts_ms
    }

    pub(super) fn effects(&self) -> &Vec<Effect> {
        &self.effects
    }

    pub(super) fn next_sequence(&self, producer: ProducerId) -> u64 {
        self.producers.get(&producer).map_or(0, |producer| producer.answers.len() as u64)
    }

    pub(super) fn n_moves(&self, group: GroupId, lane: u8) -> u32 {
        let group = self.groups.get(group.get() as usize - 1);
        group.map_or(0, |group| group.lanes[usize::from(lane)].1)
    }

    pub(super) fn end(&self, topic: TopicId) -> Option<u64> {
        self.topics.get((topic.get() as usize).wrapping_sub(1)).map(|topic| topic.1)
    }

    fn topic(&self, name: &TopicName) -> Option<TopicId> {
        let idx = self.topics.iter().position(|topic| topic.0 == *name)?;
        Some(TopicId::new(idx as u32 + 1))
    }

    fn group(&mut self, group: GroupId) -> Option<&mut Group> {
        self.groups.get_mut((group.get() as usize).wrapping_sub(1))
    }

    pub(super) fn apply(&mut self, at: u32, kind: SectionKind, body: Bytes) {
        let result = match kind {
            SectionKind::Records => self.apply_records(at, body),
            SectionKind::Acks => self.apply_acks(body),
            SectionKind::Turn => self.apply_turn(at, body),
            SectionKind::Command => {
                let answer = self.apply_command(&body);
                self.effects.push(Effect::Answered { section: self.n_sections, answer });
                Ok(())
            }
        };
        if let Err(refused) = result {
            let answer = Err(refused);
            self.effects.push(Effect::Answered { section: self.n_sections, answer });
        }
        self.n_sections += 1;
    }

    fn apply_records(&mut self, at: u32, body: Bytes) -> Result<(), Refused> {
        let records = Records::parse(body.clone()).map_err(|_| Refused::Malformed)?;
        let (producer, sequence) = (records.producer, records.sequence);
        if producer == ProducerId::NONE {
            return self.accept(at, body).map(|_| ());
        }
        let is_known = self.producers.contains_key(&producer);
        let ts_ms = self.ts_ms;
        if let Some(producer) = self.producers.get_mut(&producer) {
            producer.heard_ms = ts_ms;
        }
        let (number, next) = (sequence.get(), self.next_sequence(producer));
        let result = if !is_known && number > 0 {
            Err(Refused::ProducerExpired)
        } else if number > next {
            Err(Refused::SequenceGap { sequence, expected: Sequence::new(next) })
        } else if number + 8 < next {
            Err(Refused::AnswerForgotten { sequence })
        } else if number < next {
            self.producers[&producer].answers[number as usize].clone()
        } else {
            let answer = self.accept(at, body);
            let producer = self.producers.entry(producer).or_default();
            producer.heard_ms = ts_ms;
            producer.answers.push(answer.clone());
            answer
        };
        self.effects.push(Effect::Published(Published { producer, sequence, result }));
        Ok(())
    }

    fn accept(&mut self, at: u32, section: Bytes) -> Result<Placed, Refused> {
        let records = Records::parse(section.clone()).unwrap();
        let (topic, n_events) = (records.topic, records.n_events);
        if records.check().is_err() || n_events == 0 {
            return Err(Refused::Malformed);
        }
        let end = self.end(topic).ok_or(Refused::NoSuchTopic { topic })?;
        self.topics[topic.get() as usize - 1].1 += u64::from(n_events);
        let placed = Placed { topic, first: Offset::new(end), n_events };
        let index = self.index;
        self.effects.push(Effect::Accepted(Accepted { placed, index, at, records: section }));
        Ok(placed)
    }

    /// Why an outcome for an event may not count.
    fn refusal(
        &mut self,
        group: GroupId,
        place: Place,
        epoch: LaneEpoch,
    ) -> Option<OutcomeRefused> {
        let end = self.end(place.0).unwrap_or(0);
        let Some(group) = self.group(group) else {
            return Some(OutcomeRefused::NoSuchEvent);
        };
        if !group.starts.contains_key(&place.0) || end <= place.1 {
            return Some(OutcomeRefused::NoSuchEvent);
        }
        if group.is_settled(place) && group.redriven_idx(place).is_none() {
            return Some(OutcomeRefused::AlreadySettled);
        }
        let (lane, n_moves) = (epoch.get() % 256, epoch.get() / 256);
        let is_current = group.lanes[lane as usize].1 == n_moves;
        (!is_current).then_some(OutcomeRefused::LaneMoved)
    }

    fn apply_acks(&mut self, body: Bytes) -> Result<(), Refused> {
        let acks = Acks::parse(body).map_err(|_| Refused::Malformed)?;
        let (id, topic) = (acks.group, acks.topic);
        let end = self.end(topic).unwrap_or(0);
        for range in acks.ranges {
            let start = range.start.get();
            let range_end = start + u64::from(range.len);
            let found = self.group(id).filter(|group| group.starts.contains_key(&topic));
            let effect = match found.filter(|_| range_end <= end) {
                Some(group) => {
                    (start..range_end).for_each(|offset| group.settle((topic, offset)));
                    Effect::Settled { group: id, topic, range, dead: false }
                }
                None => {
                    let why = OutcomeRefused::NoSuchEvent;
                    Effect::OutcomeRefused { group: id, topic, offset: range.start, why }
                }
            };
            self.effects.push(effect);
        }
        for failure in acks.failures {
            let (offset, retry_at_ms) = (failure.offset, failure.retry_at_ms);
            let place = (topic, offset.get());
            let effect = match self.refusal(id, place, failure.lane_epoch) {
                Some(why) => Effect::OutcomeRefused { group: id, topic, offset, why },
                None => {
                    let group = self.group(id).unwrap();
                    let attempts = group.fail(place, retry_at_ms, failure.message);
                    Effect::Failed { group: id, topic, offset, attempts, retry_at_ms }
                }
            };
            self.effects.push(effect);
        }
        Ok(())
    }

    fn apply_turn(&mut self, at: u32, body: Bytes) -> Result<(), Refused> {
        let turn = Turn::parse(body).map_err(|_| Refused::Malformed)?;
        let emitted = turn.records().map_err(|_| Refused::Malformed)?;
        for records in emitted {
            let topic = records.topic;
            if records.check().is_err() || records.n_events == 0 {
                return Err(Refused::Malformed);
            }
            self.end(topic).ok_or(Refused::NoSuchTopic { topic })?;
        }
        let (group, topic, offset) = (turn.group, turn.topic, turn.offset);
        let place = (topic, offset.get());
        if let Some(why) = self.refusal(group, place, turn.lane_epoch) {
            self.effects.push(Effect::OutcomeRefused { group, topic, offset, why });
            return Ok(());
        }
        let mut at = at + 24;
        for section in turn.emitted {
            let n_bytes = section.len() as u32;
            self.accept(at + 4, section).unwrap();
            at += 4 + n_bytes;
        }
        self.group(group).unwrap().settle(place);
        let range = AckRange { start: offset, len: 1 };
        self.effects.push(Effect::Settled { group, topic, range, dead: false });
        Ok(())
    }

    fn apply_command(&mut self, body: &[u8]) -> Result<Answer, Refused> {
        match Command::parse(body).map_err(|_| Refused::Malformed)? {
            Command::CreateTopic { name } => {
                let is_new = self.topic(&name).is_none();
                Ok(Answer::Topic { topic: self.ensure_topic(name), is_new })
            }
            Command::CreateGroup { name, topics, start } => {
                Ok(Answer::Group(self.create_group(name, topics, start)))
            }
            Command::Join { group, node, incarnation } => self.join(group, node, incarnation, 0),
            Command::JoinAgain { group, node, incarnation, n_left } => {
                self.join(group, node, incarnation, n_left)
            }
            Command::Leave { group, node, incarnation } => {
                let found = self.group(group).ok_or(Refused::NoSuchGroup { group })?;
                match found.members.get(&node) {
                    Some(&member) if incarnation < member => return Err(Refused::StaleIncarnation),
                    Some(&member) => {
                        found.members.remove(&node);
                        found.removals.push((node, member));
                        let lanes = found.assign(None);
                        let members = found.members.clone().into_iter().collect();
                        let left = found.left();
                        self.effects.push(Effect::LanesMoved { group, lanes, members, left });
                    }
                    None => {}
                }
                Ok(Answer::Done)
            }
            Command::DeadLetter(letter) => self.dead_letter(letter),
            Command::Redrive { group, letters } => {
                let found = self.group(group).ok_or(Refused::NoSuchGroup { group })?;
                let mut effects = Vec::new();
                for (topic, offset) in letters {
                    if let Some(letter) = found.dead.remove(&(topic, offset.get())) {
                        let (attempts, retry_at_ms, records) = (0, 0, letter.records);
                        let number = found.n_ever_redriven;
                        found.n_ever_redriven += 1;
                        let letter =
                            Redriven { topic, offset, number, attempts, retry_at_ms, records };
                        found.redriven.push(letter.clone());
                        effects.push(Effect::Redriven { group, letter });
                    }
                }
                let n_redriven = effects.len() as u32;
                self.effects.extend(effects);
                Ok(Answer::Redriven(n_redriven))
            }
            Command::RetryNow { group, events } => self.retry_now(group, events),
            Command::Discard { group, letters } => self.discard(group, letters),
            Command::EditLetter { group, topic, offset, records } => {
                self.edit(group, (topic, offset), records.into())
            }
            Command::Seek { group, topic, to } => self.seek(group, topic, to),
            Command::SetPaused { group, is_paused } => {
                self.group(group).ok_or(Refused::NoSuchGroup { group })?.is_paused = is_paused;
                self.effects.push(Effect::Paused { group, is_paused });
                Ok(Answer::Done)
            }
            Command::Checkpoint => {
                self.effects.push(Effect::Checkpoint);
                Ok(Answer::Done)
            }
            Command::Purge { index } => self.purge(index),
        }
    }

    fn retry_now(
        &mut self,
        group: GroupId,
        events: Vec<(TopicId, Offset)>,
    ) -> Result<Answer, Refused> {
        let found = self.group(group).ok_or(Refused::NoSuchGroup { group })?;
        let mut effects = Vec::new();
        for (topic, offset) in events {
            let place = (topic, offset.get());
            let redriven = found.redriven_idx(place).map(|idx| &mut found.redriven[idx]);
            let waits_until = match redriven {
                Some(letter) => Some(&mut letter.retry_at_ms),
                None => found.failed.get_mut(&place).map(|failed| &mut failed.1),
            };
            if let Some(moment) = waits_until.filter(|moment| **moment > 0) {
                *moment = 0;
                effects.push(Effect::RetryNow { group, topic, offset });
            }
        }
        let n_retried = effects.len() as u32;
        self.effects.extend(effects);
        Ok(Answer::Retried(n_retried))
    }

    fn join(
        &mut self,
        group: GroupId,
        node: NodeId,
        incarnation: Incarnation,
        n_left: u32,
    ) -> Result<Answer, Refused> {
        self.group(group).ok_or(Refused::NoSuchGroup { group })?;
        let newest = self.nodes.get(&node).copied().unwrap_or(incarnation);
        if incarnation < newest {
            return Err(Refused::StaleIncarnation);
        }
        self.nodes.insert(node, incarnation);
        let found = self.group(group).unwrap();
        let has_left = found.removals.iter().filter(|it| **it == (node, incarnation)).count();
        let has_left = has_left as u32;
        if n_left != has_left {
            return Err(Refused::LeftSince { n_left: has_left });
        }
        let before = found.members.insert(node, incarnation);
        if before != Some(incarnation) {
            let lanes = found.assign(before.map(|_| node));
            let members = found.members.clone().into_iter().collect();
            let left = found.left();
            self.effects.push(Effect::LanesMoved { group, lanes, members, left });
        }
        Ok(Answer::Done)
    }

    fn discard(
        &mut self,
        group: GroupId,
        letters: Vec<(TopicId, Offset)>,
    ) -> Result<Answer, Refused> {
        let found = self.group(group).ok_or(Refused::NoSuchGroup { group })?;
        let mut n_discarded = 0;
        for (topic, offset) in letters {
            let place = (topic, offset.get());
            if found.dead.remove(&place).is_some() {
                found.originals.remove(&place);
                n_discarded += 1;
            }
        }
        if n_discarded > 0 {
            self.effects.push(Effect::Discarded { group });
        }
        Ok(Answer::Discarded(n_discarded))
    }

    fn seek(&mut self, group: GroupId, topic: TopicId, to: Offset) -> Result<Answer, Refused> {
        let end = self.end(topic);
        let start = self.begins.get(&topic).copied().unwrap_or(0);
        let found = self.group(group).ok_or(Refused::NoSuchGroup { group })?;
        if !found.starts.contains_key(&topic) {
            return Err(Refused::NoSuchTopic { topic });
        }
        let end = end.unwrap();
        if to.get() < start || end < to.get() {
            let (start, end) = (Offset::new(start), Offset::new(end));
            return Err(Refused::NoSuchOffset { topic, to, start, end });
        }
        found.starts.insert(topic, to.get());
        found.settled.retain(|place| place.0 != topic);
        found.failed.retain(|place, _| place.0 != topic);
        let is_before = |place: Place| place.0 != topic || place.1 < to.get();
        found.dead.retain(|place, _| is_before(*place));
        found.redriven.retain(|letter| is_before((letter.topic, letter.offset.get())));
        found.originals.retain(|place, _| is_before(*place));
        found.lanes.iter_mut().for_each(|(_, n_moves)| *n_moves += 1);
        let (idx, _) = (0..).zip(&self.groups).find(|(n, _)| GroupId::new(n + 1) == group).unwrap();
        let snapshot = self.snapshot(group, &self.groups[idx as usize]);
        self.effects.push(Effect::Sought(snapshot));
        Ok(Answer::Done)
    }

    fn edit(
        &mut self,
        group: GroupId,
        (topic, offset): (TopicId, Offset),
        after: Bytes,
    ) -> Result<Answer, Refused> {
        let found = self.group(group).ok_or(Refused::NoSuchGroup { group })?;
        let place = (topic, offset.get());
        let letter = found.dead.get_mut(&place);
        let letter = letter.ok_or(Refused::NoSuchLetter { topic, offset })?;
        if named(&after) != named(&letter.records) {
            return Err(Refused::OtherEvent);
        }
        let before = std::mem::replace(&mut letter.records, after.clone());
        let published = found.originals.remove(&place).unwrap_or(before);
        if published != after {
            found.originals.insert(place, published);
        }
        Ok(Answer::Done)
    }

    fn purge(&mut self, index: LogIndex) -> Result<Answer, Refused> {
        if !self.checkpoints().contains(&index) {
            return Err(Refused::NotACheckpoint { index });
        }
        let (_, ends) = self.checkpoints.iter().find(|checkpoint| checkpoint.0 == index).unwrap();
        let ends: Vec<_> = (1..).map(TopicId::new).zip(ends.clone()).collect();
        for snapshot in self.snapshots() {
            for mailbox in snapshot.mailboxes {
                let goes = |&(topic, end): &(_, _)| topic == mailbox.topic && mailbox.floor < end;
                if ends.iter().map(|&(topic, end)| (topic, Offset::new(end))).any(|end| goes(&end))
                {
                    let (group, topic, floor) = (snapshot.group, mailbox.topic, mailbox.floor);
                    return Err(Refused::PurgePinned { group, topic, floor });
                }
            }
        }
        self.begins.extend(ends);
        self.purged = index;
        self.effects.push(Effect::Purge { index });
        Ok(Answer::Done)
    }

    fn ensure_topic(&mut self, name: TopicName) -> TopicId {
        if let Some(topic) = self.topic(&name) {
            return topic;
        }
        self.topics.push((name.clone(), 0));
        let topic = TopicId::new(self.topics.len() as u32);
        self.effects.push(Effect::TopicCreated { topic, name });
        topic
    }

    fn create_group(
        &mut self,
        name: GroupName,
        topics: Vec<TopicName>,
        start: GroupStart,
    ) -> GroupId {
        let known = self.groups.iter().position(|group| group.name == name);
        let idx = known.unwrap_or(self.groups.len());
        if known.is_none() {
            self.groups.push(Group {
                name,
                starts: BTreeMap::new(),
                settled: BTreeSet::new(),
                failed: BTreeMap::new(),
                dead: BTreeMap::new(),
                redriven: Vec::new(),
                n_ever_redriven: 0,
                is_paused: false,
                originals: BTreeMap::new(),
                removals: Vec::new(),
                members: BTreeMap::new(),
                lanes: vec![(None, 0); 256],
            });
        }
        let mut has_changed = known.is_none();
        for name in topics {
            let topic = self.ensure_topic(name);
            let end = self.end(topic).unwrap();
            let earliest = self.begins.get(&topic).copied().unwrap_or(0);
            let begin = if start == GroupStart::Now { end } else { earliest };
            let starts = &mut self.groups[idx].starts;
            has_changed |= !starts.contains_key(&topic);
            starts.entry(topic).or_insert(begin);
        }
        if has_changed {
            let snapshot = self.snapshots().swap_remove(idx);
            self.effects.push(Effect::GroupChanged(snapshot));
        }
        GroupId::new(idx as u32 + 1)
    }

    fn dead_letter(&mut self, letter: DeadLetter) -> Result<Answer, Refused> {
        let (group, topic, offset) = (letter.group, letter.topic, letter.offset);
        let records = Records::parse(letter.records.clone().into()).unwrap();
        if records.n_events != 1 {
            return Err(Refused::Malformed);
        }
        let dead_at_ms = self.ts_ms;
        self.group(group).ok_or(Refused::NoSuchGroup { group })?;
        let place = (topic, offset.get());
        if let Some(why) = self.refusal(group, place, letter.lane_epoch) {
            self.effects.push(Effect::OutcomeRefused { group, topic, offset, why });
            return Ok(Answer::Done);
        }
        let found = self.group(group).unwrap();
        found.settle(place);
        let DeadLetter { reason, message, attempts, records, .. } = letter;
        let records = records.into();
        let view = DeadLetterView { topic, offset, reason, message, attempts, dead_at_ms, records };
        found.dead.insert(place, view);
        let range = AckRange { start: offset, len: 1 };
        self.effects.push(Effect::Settled { group, topic, range, dead: true });
        Ok(Answer::Done)
    }

    pub(super) fn snapshots(&self) -> Vec<GroupSnapshot> {
        let numbers = (1..).map(GroupId::new);
        numbers.zip(&self.groups).map(|(id, group)| self.snapshot(id, group)).collect()
    }

    fn snapshot(&self, id: GroupId, group: &Group) -> GroupSnapshot {
        let mailbox = |&topic: &TopicId| {
            let end = self.end(topic).unwrap();
            let is_settled = |offset: &u64| group.is_settled((topic, *offset));
            // The first event that is not settled, found the plain way.
            let floor = (0..end).find(|offset| !is_settled(offset)).unwrap_or(end);
            let mut acked: Vec<AckRange> = Vec::new();
            for offset in (floor..end).filter(is_settled).map(Offset::new) {
                match acked.last_mut() {
                    Some(last) if last.start.plus(last.len.into()) == offset => last.len += 1,
                    _ => acked.push(AckRange { start: offset, len: 1 }),
                }
            }
            let failed = group.failed.iter().filter(|(place, _)| place.0 == topic);
            let failed = failed.map(|(place, &(attempts, retry_at_ms, _))| FailedEvent {
                offset: Offset::new(place.1),
                attempts,
                retry_at_ms,
            });
            let failed = failed.collect();
            let (floor, end) = (Offset::new(floor), Offset::new(end));
            MailboxSnapshot { topic, floor, acked, failed, end }
        };
        GroupSnapshot {
            group: id,
            name: group.name.clone(),
            mailboxes: group.starts.keys().map(mailbox).collect(),
            lanes: group.lanes(),
            members: group.members.clone().into_iter().collect(),
            left: group.left(),
            redriven: group.redriven.clone(),
            is_paused: group.is_paused,
        }
    }

    /// Compares what people see.
    pub(super) fn compare_views(&self, state: &State) {
        assert_eq!((state.applied(), state.ts_ms()), (self.index, self.ts_ms));
        let topics = (1..).map(TopicId::new).zip(&self.topics);
        let topics: Vec<_> = topics
            .map(|(id, (name, end))| TopicView {
                id,
                name: name.clone(),
                start: Offset::new(self.begins.get(&id).copied().unwrap_or(0)),
                end: Offset::new(*end),
            })
            .collect();
        assert_eq!(state.topics().collect::<Vec<_>>(), topics);
        let mut checkpoints = self.checkpoints();
        checkpoints.reverse();
        assert_eq!(state.checkpoints().collect::<Vec<_>>(), checkpoints);
        for topic in topics {
            assert_eq!(state.topic_id(&topic.name), Some(topic.id));
            assert_eq!(state.topic(topic.id), Some(topic));
        }
        let groups = (1..).map(GroupId::new).zip(&self.groups);
        let views: Vec<_> = groups.clone().map(|(id, group)| self.view(id, group)).collect();
        assert_eq!(state.groups().collect::<Vec<_>>(), views);
        for (id, group) in groups {
            assert_eq!(state.group(&group.name).unwrap().id, id);
            let dead: Vec<_> = group.dead.values().collect();
            assert_eq!(state.dead_letters(id).collect::<Vec<_>>(), dead);
            for topic in 1..=4 {
                for offset in 0..14 {
                    let place = (TopicId::new(topic), offset);
                    let standing = state.standing(id, place.0, Offset::new(offset));
                    assert_eq!(standing, self.standing(group, place));
                    let original = state.original(id, place.0, Offset::new(offset));
                    assert_eq!(original, group.originals.get(&place));
                }
            }
        }
    }

    fn view(&self, id: GroupId, group: &Group) -> GroupView {
        let snapshot = self.snapshot(id, group);
        let mailbox = |mailbox: &MailboxSnapshot| {
            let (topic, end) = (mailbox.topic, mailbox.end);
            let waits = |offset: &u64| !group.is_settled((topic, *offset));
            let n_acked_above = mailbox.acked.iter().map(|range| u64::from(range.len)).sum();
            MailboxView {
                topic,
                floor: mailbox.floor,
                end,
                lag: (0..end.get()).filter(waits).count() as u64,
                n_acked_above,
                n_failed: mailbox.failed.len(),
                n_paused: 0,
            }
        };
        GroupView {
            id,
            name: snapshot.name,
            members: snapshot.members,
            mailboxes: snapshot.mailboxes.iter().map(mailbox).collect(),
            n_dead: group.dead.len(),
            n_redriven: group.redriven.len(),
            is_paused: group.is_paused,
        }
    }

    fn standing(&self, group: &Group, place: Place) -> Standing {
        let end = self.end(place.0).unwrap_or(0);
        if !group.starts.contains_key(&place.0) || end <= place.1 {
            return Standing::Unknown;
        }
        if group.dead.contains_key(&place) {
            return Standing::Dead;
        }
        if group.redriven_idx(place).is_some() {
            return Standing::Redriven;
        }
        if group.is_settled(place) {
            return Standing::Acked;
        }
        let (attempts, retry_at_ms, message) =
            group.failed.get(&place).cloned().unwrap_or_default();
        Standing::Waiting { attempts, retry_at_ms, message }
    }
}

impl Group {
    fn is_settled(&self, place: Place) -> bool {
        place.1 < self.starts[&place.0] || self.settled.contains(&place)
    }

    /// Of each node the removals of the start that was removed last.
    fn left(&self) -> Vec<(NodeId, Incarnation, u32)> {
        let nodes: BTreeSet<NodeId> = self.removals.iter().map(|(node, _)| *node).collect();
        let count = |node: NodeId| {
            let last = self.removals.iter().rfind(|(of, _)| *of == node).unwrap();
            (node, last.1, self.removals.iter().filter(|it| *it == last).count() as u32)
        };
        nodes.into_iter().map(count).collect()
    }

    fn redriven_idx(&self, (topic, offset): Place) -> Option<usize> {
        let offset = Offset::new(offset);
        self.redriven.iter().position(|letter| (letter.topic, letter.offset) == (topic, offset))
    }

    fn settle(&mut self, place: Place) {
        self.settled.insert(place);
        self.failed.remove(&place);
        if let Some(idx) = self.redriven_idx(place) {
            self.redriven.remove(idx);
            self.originals.remove(&place);
        }
    }

    fn fail(&mut self, place: Place, retry_at_ms: u64, message: String) -> u32 {
        if let Some(idx) = self.redriven_idx(place) {
            let letter = &mut self.redriven[idx];
            letter.attempts += 1;
            letter.retry_at_ms = retry_at_ms;
            return letter.attempts;
        }
        let attempts = self.failed.get(&place).map_or(0, |failed| failed.0) + 1;
        self.failed.insert(place, (attempts, retry_at_ms, message));
        attempts
    }

    fn assign(&mut self, restarted: Option<NodeId>) -> Vec<LaneOwner> {
        for (lane, (owner, n_moves)) in (0_u64..).zip(&mut self.lanes) {
            let nodes = self.members.keys();
            let best = nodes.max_by_key(|node| mix(mix(u64::from(node.get())) ^ lane)).copied();
            if best != *owner || (best.is_some() && best == restarted) {
                *owner = best;
                *n_moves += 1;
            }
        }
        self.lanes()
    }

    fn lanes(&self) -> Vec<LaneOwner> {
        let lanes = (0_u32..).zip(&self.lanes);
        let owner = |(lane, &(owner, n_moves))| LaneOwner {
            owner,
            epoch: LaneEpoch::new(n_moves * 256 + lane),
        };
        lanes.map(owner).collect()
    }
}

/// What an edit may not change: topic, id, type and key.
fn named(records: &Bytes) -> Option<(TopicId, String, String, Vec<u8>)> {
    let records = Records::parse(records.clone()).ok()?;
    let event = records.events().next()?.ok()?;
    let event = event.as_new();
    Some((records.topic, event.id.to_owned(), event.kind.to_owned(), event.key.to_vec()))
}

/// The finalizer of SplitMix64.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
