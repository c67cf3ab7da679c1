//! Commands: what changes the cluster's own things, each with an answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidings_types::effect::{Answer, Effect, Refused};
use tidings_types::id::{GroupId, Incarnation, NodeId, TopicId};
use tidings_types::layout::command::{Command, GroupStart};
use tidings_types::layout::records::Records;
use tidings_types::limits::{GROUPS_MAX, MAILBOXES_MAX, SUBSCRIPTIONS_MAX};
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::{LogIndex, Offset};

use super::{outcomes, records};
use crate::group::{Group, changing};
use crate::mailbox::Mailbox;
use crate::state::State;

/// Applies a command section.
///
/// # Errors
/// If it is refused; then it changed nothing.
pub(super) fn apply(
    state: &mut State,
    body: &[u8],
    effects: &mut Vec<Effect>,
) -> Result<Answer, Refused> {
    let command = Command::parse(body).map_err(|_| Refused::Malformed)?;
    match command {
        Command::CreateTopic { name } => create_topic(state, name, effects),
        Command::CreateGroup { name, topics, start } => {
            create_group(state, name, topics, start, effects).map(Answer::Group)
        }
        Command::Join { group, node, incarnation } => {
            join(state, group, (node, incarnation, 0), effects).map(|()| Answer::Done)
        }
        Command::JoinAgain { group, node, incarnation, n_left } => {
            join(state, group, (node, incarnation, n_left), effects).map(|()| Answer::Done)
        }
        Command::Leave { group, node, incarnation } => {
            leave(state, group, node, incarnation, effects).map(|()| Answer::Done)
        }
        Command::DeadLetter(letter) => {
            outcomes::apply_dead_letter(state, letter, effects).map(|()| Answer::Done)
        }
        Command::Redrive { group, letters } => {
            redrive(state, group, &letters, effects).map(Answer::Redriven)
        }
        Command::RetryNow { group, events } => {
            retry_now(state, group, &events, effects).map(Answer::Retried)
        }
        Command::Discard { group, letters } => {
            discard(state, group, &letters, effects).map(Answer::Discarded)
        }
        Command::EditLetter { group, topic, offset, records } => {
            let place = (topic, offset);
            edit(state, group, place, records.into()).map(|()| Answer::Done)
        }
        Command::Seek { group, topic, to } => {
            seek(state, group, (topic, to), effects).map(|()| Answer::Done)
        }
        Command::SetPaused { group, is_paused } => {
            changing(&mut state.groups, group)?.is_paused = is_paused;
            effects.push(Effect::Paused { group, is_paused });
            Ok(Answer::Done)
        }
        Command::Checkpoint => {
            effects.push(Effect::Checkpoint);
            Ok(Answer::Done)
        }
        Command::Purge { index } => purge(state, index, effects).map(|()| Answer::Done),
    }
}

fn create_topic(
    state: &mut State,
    name: TopicName,
    effects: &mut Vec<Effect>,
) -> Result<Answer, Refused> {
    if let Some(topic) = state.topics.id(&name) {
        return Ok(Answer::Topic { topic, is_new: false });
    }
    if !state.topics.has_room_for(1) {
        return Err(Refused::TooManyTopics);
    }
    let topic = state.topics.create(name.clone());
    effects.push(Effect::TopicCreated { topic, name });
    Ok(Answer::Topic { topic, is_new: true })
}

/// Makes the group and its topics, or adds to them. Repeating it changes nothing.
fn create_group(
    state: &mut State,
    name: GroupName,
    topics: Vec<TopicName>,
    start: GroupStart,
    effects: &mut Vec<Effect>,
) -> Result<GroupId, Refused> {
    let known = state.group_ids.get(&name).copied();
    check_group(state, known, &topics)?;
    let group = known.unwrap_or_else(|| {
        let group = GroupId::new(state.last_group.get() + 1);
        state.last_group = group;
        Arc::make_mut(&mut state.group_ids).insert(name.clone(), group);
        state.groups.insert(group, Arc::new(Group::new(name)));
        group
    });
    let mut has_changed = known.is_none();
    for name in topics {
        let topic = state.topics.id(&name).unwrap_or_else(|| {
            let topic = state.topics.create(name.clone());
            effects.push(Effect::TopicCreated { topic, name });
            topic
        });
        let floor = state.topics.get(topic).map_or(Offset::ZERO, |topic| match start {
            GroupStart::Earliest => topic.start,
            GroupStart::Now => topic.end,
        });
        let found = changing(&mut state.groups, group).expect("known or just made");
        found.mailboxes.entry(topic).or_insert_with(|| {
            has_changed = true;
            Mailbox::new(floor)
        });
    }
    if has_changed {
        let found = state.groups.get(&group).expect("known or just made");
        effects.push(Effect::GroupChanged(found.snapshot(group, &state.topics)));
    }
    Ok(group)
}

/// Whether all bounds leave room for the group with these topics.
fn check_group(state: &State, known: Option<GroupId>, topics: &[TopicName]) -> Result<(), Refused> {
    if known.is_none() && GROUPS_MAX <= state.groups.len() {
        return Err(Refused::TooManyGroups);
    }
    let topics: BTreeSet<_> = topics.iter().collect();
    let is_missing = |name: &&&TopicName| state.topics.id(name).is_none();
    if !state.topics.has_room_for(topics.iter().filter(is_missing).count()) {
        return Err(Refused::TooManyTopics);
    }
    let mailboxes = known.and_then(|group| state.groups.get(&group));
    let mailboxes = mailboxes.map(|group| &group.mailboxes);
    let is_read = |topic: TopicId| mailboxes.is_some_and(|found| found.contains_key(&topic));
    let is_added = |name: &&&TopicName| !state.topics.id(name).is_some_and(is_read);
    let n_added = topics.iter().filter(is_added).count();
    let n_mailboxes = mailboxes.map_or(0, |found| found.len());
    let n_everywhere: usize = state.groups.values().map(|group| group.mailboxes.len()).sum();
    if SUBSCRIPTIONS_MAX < n_mailboxes + n_added || MAILBOXES_MAX < n_everywhere + n_added {
        return Err(Refused::TooManySubscriptions);
    }
    Ok(())
}

/// A node's newest start is remembered over all groups: what an older one proposed may come late.
fn join(
    state: &mut State,
    group: GroupId,
    (node, incarnation, n_left): (NodeId, Incarnation, u32),
    effects: &mut Vec<Effect>,
) -> Result<(), Refused> {
    let found = changing(&mut state.groups, group)?;
    let newest = state.nodes.entry(node).or_insert(incarnation);
    if incarnation < *newest {
        return Err(Refused::StaleIncarnation);
    }
    *newest = incarnation;
    let has_left = found.n_left(node, incarnation);
    if n_left != has_left {
        return Err(Refused::LeftSince { n_left: has_left });
    }
    if found.join(node, incarnation) {
        effects.push(found.lanes_moved(group));
    }
    Ok(())
}

fn leave(
    state: &mut State,
    group: GroupId,
    node: NodeId,
    incarnation: Incarnation,
    effects: &mut Vec<Effect>,
) -> Result<(), Refused> {
    let found = changing(&mut state.groups, group)?;
    if found.members.get(&node).is_some_and(|&member| incarnation < member) {
        return Err(Refused::StaleIncarnation);
    }
    if found.leave(node) {
        effects.push(found.lanes_moved(group));
    }
    Ok(())
}

fn redrive(
    state: &mut State,
    group: GroupId,
    letters: &[(TopicId, Offset)],
    effects: &mut Vec<Effect>,
) -> Result<u32, Refused> {
    let found = changing(&mut state.groups, group)?;
    let mut n_redriven = 0;
    for &(topic, offset) in letters {
        if let Some(letter) = found.letters.redrive(topic, offset) {
            effects.push(Effect::Redriven { group, letter });
            n_redriven += 1;
        }
    }
    Ok(n_redriven)
}

fn retry_now(
    state: &mut State,
    group: GroupId,
    events: &[(TopicId, Offset)],
    effects: &mut Vec<Effect>,
) -> Result<u32, Refused> {
    let found = changing(&mut state.groups, group)?;
    let mut n_retried = 0;
    for &(topic, offset) in events {
        if found.retry_now(topic, offset) {
            effects.push(Effect::RetryNow { group, topic, offset });
            n_retried += 1;
        }
    }
    Ok(n_retried)
}

fn discard(
    state: &mut State,
    group: GroupId,
    letters: &[(TopicId, Offset)],
    effects: &mut Vec<Effect>,
) -> Result<u32, Refused> {
    let State { groups, room, .. } = state;
    let found = changing(groups, group)?;
    let mut n_discarded = 0;
    for &(topic, offset) in letters {
        n_discarded += u32::from(found.letters.discard(topic, offset, room));
    }
    if n_discarded > 0 {
        effects.push(Effect::Discarded { group });
    }
    Ok(n_discarded)
}

fn edit(
    state: &mut State,
    group: GroupId,
    place: (TopicId, Offset),
    records: Bytes,
) -> Result<(), Refused> {
    let parsed = Records::parse(records.clone()).map_err(|_| Refused::Malformed)?;
    records::check(&parsed)?;
    let State { groups, room, .. } = state;
    changing(groups, group)?.letters.edit(place, records, room)
}

fn seek(
    state: &mut State,
    group: GroupId,
    place: (TopicId, Offset),
    effects: &mut Vec<Effect>,
) -> Result<(), Refused> {
    let State { groups, topics, room, .. } = state;
    let found = changing(groups, group)?;
    found.seek(place, topics, room)?;
    effects.push(Effect::Sought(found.snapshot(group, topics)));
    Ok(())
}

/// Gives up the entries up to a Checkpoint entry, unless a group still needs one of their events.
fn purge(state: &mut State, index: LogIndex, effects: &mut Vec<Effect>) -> Result<(), Refused> {
    for &(topic, start) in state.starts_behind(index)?.iter() {
        state.topics.begin_at(topic, start);
    }
    state.boundaries.purged(index);
    effects.push(Effect::Purge { index });
    Ok(())
}
