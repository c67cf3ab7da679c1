//! What a lone node is given to do, step by step.

use tidings_replica::{Change, Input, Step};
use tidings_state::GroupView;
use tidings_types::event::NewEvent;
use tidings_types::id::{GroupId, Incarnation, NodeId, ProducerId, Sequence, TopicId};
use tidings_types::layout::acks::{AckRange, Acks, Failure, FailureClass};
use tidings_types::layout::command::{Command, DeadLetter, DeadReason, GroupStart};
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::records::RecordsBuilder;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::{LaneEpoch, Offset};
use tidings_types::seam::Rng;

use crate::crash::life::Stop;
use crate::crash::node_drive::Node;

const TOPIC: TopicId = TopicId::new(1);
const N_PRODUCERS: u8 = 2;

fn command(node: &mut Node<'_>, command: Command) -> Result<(), Stop> {
    node.propose(SectionKind::Command, command.encode().into())
}

/// Makes what all else needs, as each start does.
pub(crate) fn create(node: &mut Node<'_>) -> Result<(), Stop> {
    let name = |_| Stop::wrong("a name is refused");
    let topics = vec![TopicName::new("users").map_err(name)?];
    let name = GroupName::new("mail").map_err(name)?;
    command(node, Command::CreateGroup { name, topics, start: GroupStart::Earliest })?;
    if let Some(GroupView { id: group, .. }) = group(node) {
        let join = |incarnation| Command::Join { group, node: NodeId::new(1), incarnation };
        command(node, join(Incarnation::new(1)))?;
    }
    Ok(())
}

fn group(node: &Node<'_>) -> Option<GroupView> {
    node.replica.state().groups().next()
}

fn producer(number: u8) -> ProducerId {
    ProducerId::new([number; 16])
}

/// Sends what has no answer, and the last batch that has one: it must be known.
pub(crate) fn send_again(node: &mut Node<'_>) -> Result<(), Stop> {
    for number in 1..=N_PRODUCERS {
        let of_producer = (producer(number), 0)..=(producer(number), u64::MAX);
        let last = node.told.sent.range(of_producer).next_back();
        let last = last.map(|(_, sent)| sent.section.clone());
        let open = node.told.unanswered.get(&producer(number)).map(|(_, section)| section.clone());
        for section in [last, open].into_iter().flatten() {
            node.propose(SectionKind::Records, section)?;
        }
    }
    Ok(())
}

fn publish(node: &mut Node<'_>, number: u8) -> Result<(), Stop> {
    let producer = producer(number);
    let of_producer = (producer, 0)..=(producer, u64::MAX);
    let last = node.told.sent.range(of_producer).next_back();
    let sequence = last.map_or(0, |(&(_, sequence), _)| sequence + 1);
    let mut builder = RecordsBuilder::with_capacity(0);
    for event in 0..1 + node.told.rng.below(3) {
        let id = format!("{number}-{sequence}-{event}");
        let payload = id.repeat(1 + node.told.rng.below(120) as usize);
        let (key, kind, headers, payload) = (b"k", "user.v1", b"", payload.as_bytes());
        builder.push(&NewEvent { id: &id, kind, key, time_ms: 5, headers, payload });
    }
    let section = builder.finish(TOPIC, producer, Sequence::new(sequence));
    node.told.unanswered.insert(producer, (sequence, section.clone()));
    node.propose(SectionKind::Records, section)
}

fn acks(node: &mut Node<'_>, ranges: Vec<AckRange>, failures: Vec<Failure>) -> Result<(), Stop> {
    let Some(GroupView { id: group, .. }) = group(node) else { return Ok(()) };
    let acks = Acks { group, topic: TOPIC, ranges, failures };
    node.propose(SectionKind::Acks, acks.encode())
}

fn floor_and_end(node: &Node<'_>) -> Option<(GroupId, Offset, Offset)> {
    let group = group(node)?;
    let mailbox = group.mailboxes.first()?;
    Some((group.id, mailbox.floor, mailbox.end))
}

fn lane_epoch(node: &Node<'_>) -> LaneEpoch {
    let groups = node.replica.state().group_snapshots();
    let lane = groups.first().and_then(|group| group.lanes.first());
    lane.map_or_else(LaneEpoch::default, |lane| lane.epoch)
}

fn dead_letter(node: &mut Node<'_>, group: GroupId, offset: Offset) -> Result<(), Stop> {
    let mut builder = RecordsBuilder::with_capacity(0);
    let (id, kind, key, headers) = ("dead", "user.v1", b"k", b"");
    builder.push(&NewEvent { id, kind, key, time_ms: 5, headers, payload: &[7; 300] });
    let records = builder.finish(TOPIC, producer(0), Sequence::new(0)).to_vec();
    command(
        node,
        Command::DeadLetter(DeadLetter {
            group,
            topic: TOPIC,
            offset,
            lane_epoch: lane_epoch(node),
            reason: DeadReason::Fatal,
            message: "it can never work".to_owned(),
            attempts: 2,
            records,
        }),
    )
}

/// One step of a life.
pub(crate) fn step(node: &mut Node<'_>, step: u64) -> Result<(), Stop> {
    node.input(Input::Tick)?;
    publish(node, 1 + (step % u64::from(N_PRODUCERS)) as u8)?;
    let Some((group, floor, end)) = floor_and_end(node) else { return Ok(()) };
    match step % 8 {
        // With a gap: the floor stays.
        1 if floor.plus(2) < end => {
            acks(node, vec![AckRange { start: floor.plus(1), len: 1 }], Vec::new())?;
        }
        2 => {
            let (offset, lane_epoch) = (floor, lane_epoch(node));
            let (class, message) = (FailureClass::Error, "no such address".to_owned());
            let retry_at_ms = 1_700_000_000_500;
            let failure = Failure { offset, lane_epoch, class, retry_at_ms, message };
            acks(node, Vec::new(), vec![failure])?;
        }
        3 => dead_letter(node, group, floor)?,
        5 => {
            let len = u32::try_from(end.since(floor)).unwrap_or(u32::MAX);
            acks(node, vec![AckRange { start: floor, len }], Vec::new())?;
            command(node, Command::Checkpoint)?;
        }
        6 => {
            // The newest one, which nobody has written yet: the replica has to wait for it.
            // Refused if an event would go that is not settled; that is as it should be.
            let newest = node.replica.state().checkpoints().last();
            if let Some(index) = newest.filter(|_| step > 12) {
                command(node, Command::Purge { index })?;
            }
        }
        7 => {
            node.write_checkpoint()?;
            let step = if step % 16 == 7 { Step::Learner } else { Step::Gone };
            let (token, change) = (node.token(), Change { steps: vec![(step, NodeId::new(2))] });
            node.input(Input::Change { token, change })?;
        }
        _ => publish(node, 1)?,
    }
    node.chores(step.is_multiple_of(3))
}
