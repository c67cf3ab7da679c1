//! The state as people see it: topics, groups, dead letters, and where one event stands.

use std::ops::Range;

use bytes::Bytes;
use tidings_types::id::{GroupId, Incarnation, NodeId, TopicId};
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;

use crate::dead_letters::DeadLetterView;
use crate::group::Group;
use crate::mailbox::Mailbox;
use crate::state::State;
use crate::topics::Topic;

/// A topic. Its events are `start..end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its earliest event.
    pub start: Offset,
    /// The offset that it gives next.
    pub end: Offset,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: GroupName,
    /// Who serves it.
    pub members: Vec<(NodeId, Incarnation)>,
    /// What it has of each topic.
    pub mailboxes: Vec<MailboxView>,
    /// How many events it gave up.
    pub n_dead: usize,
    /// How many of them it was given once more and has not settled.
    pub n_redriven: usize,
    /// A person paused it.
    pub is_paused: bool,
}

/// A mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxView {
    /// The topic.
    pub topic: TopicId,
    /// The first event that is not settled.
    pub floor: Offset,
    /// The topic's next offset.
    pub end: Offset,
    /// How many events are not settled.
    pub lag: u64,
    /// How many events above the floor are settled.
    pub n_acked_above: u64,
    /// How many events have failed attempts and come again.
    pub n_failed: usize,
    /// How many of them wait for a person.
    pub n_paused: usize,
}

/// An event that waits for another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingView {
    /// Its topic.
    pub topic: TopicId,
    /// Its place in the topic.
    pub offset: Offset,
    /// Attempts so far; of a redriven one, since then.
    pub attempts: u32,
    /// No attempt begins before, in milliseconds of cluster time; [`NEVER_MS`] if it is paused.
    ///
    /// [`NEVER_MS`]: tidings_types::effect::NEVER_MS
    pub retry_at_ms: u64,
    /// The last error's text; of a redriven one it is not kept.
    pub message: String,
}

/// Where an event stands with a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no such event in a mailbox of the group.
    Unknown,
    /// It waits for its first attempt, or for the next one.
    Waiting {
        /// Attempts so far.
        attempts: u32,
        /// No attempt begins before, in milliseconds of cluster time.
        retry_at_ms: u64,
        /// The last error's text.
        message: String,
    },
    /// It is settled.
    Acked,
    /// It was given up.
    Dead,
    /// It was given up, and is delivered once more.
    Redriven,
}

impl State {
    /// The topic of that name.
    pub fn topic_id(&self, name: &TopicName) -> Option<TopicId> {
        self.topics.id(name)
    }

    /// All topics, by id.
    pub fn topics(&self) -> impl Iterator<Item = TopicView> {
        self.topics.iter().map(|(id, topic)| topic_view(id, topic))
    }

    /// The topic of that id.
    pub fn topic(&self, id: TopicId) -> Option<TopicView> {
        self.topics.get(id).map(|topic| topic_view(id, topic))
    }

    /// All groups, by id.
    pub fn groups(&self) -> impl Iterator<Item = GroupView> {
        self.groups.iter().map(|(&id, group)| self.view(id, group))
    }

    /// The group of that name.
    pub fn group(&self, name: &GroupName) -> Option<GroupView> {
        let &id = self.group_ids.get(name)?;
        self.groups.get(&id).map(|group| self.view(id, group))
    }

    /// The events that a group gave up, by topic and offset; none if there is no such group.
    pub fn dead_letters(&self, group: GroupId) -> impl Iterator<Item = &DeadLetterView> {
        self.groups.get(&group).into_iter().flat_map(|group| group.letters.dead())
    }

    /// What was published, if a person edited the dead letter of that event, or redrove it since.
    pub fn original(&self, group: GroupId, topic: TopicId, offset: Offset) -> Option<&Bytes> {
        self.groups.get(&group)?.letters.original(topic, offset)
    }

    /// How many dead letters of a topic a group has from here on, redriven ones too.
    pub fn n_letters_from(&self, group: GroupId, topic: TopicId, from: Offset) -> usize {
        self.groups.get(&group).map_or(0, |group| group.letters.n_from(topic, from))
    }

    /// How many of these events a group has settled; nothing if it does not read the topic.
    pub fn n_settled(&self, group: GroupId, topic: TopicId, events: Range<Offset>) -> Option<u64> {
        let mailbox = self.groups.get(&group)?.mailboxes.get(&topic)?;
        Some(mailbox.cursor().n_acked_in(events))
    }

    /// The events of a group that wait for another attempt, by topic and offset; none if there is no
    /// such group.
    pub fn failing(&self, group: GroupId) -> impl Iterator<Item = FailingView> {
        let group = self.groups.get(&group).into_iter();
        group.flat_map(|group| {
            let of_mailbox = |(&topic, mailbox)| failing_of(topic, mailbox);
            let redriven = group.letters.redriven().into_iter();
            let redriven = redriven.filter(|letter| letter.attempts > 0);
            group.mailboxes.iter().flat_map(of_mailbox).chain(redriven.map(|letter| FailingView {
                topic: letter.topic,
                offset: letter.offset,
                attempts: letter.attempts,
                retry_at_ms: letter.retry_at_ms,
                message: String::new(),
            }))
        })
    }

    /// Where an event stands with a group.
    pub fn standing(&self, group: GroupId, topic: TopicId, offset: Offset) -> Standing {
        let Some(group) = self.groups.get(&group) else {
            return Standing::Unknown;
        };
        let Some(mailbox) = group.mailboxes.get(&topic) else {
            return Standing::Unknown;
        };
        if self.topics.end(topic) <= offset {
            return Standing::Unknown;
        }
        if group.letters.is_redriven(topic, offset) {
            return Standing::Redriven;
        }
        if group.letters.is_dead(topic, offset) {
            return Standing::Dead;
        }
        if mailbox.cursor().is_acked(offset) {
            return Standing::Acked;
        }
        let failed = mailbox.failed(offset);
        Standing::Waiting {
            attempts: failed.map_or(0, |failed| failed.attempts),
            retry_at_ms: failed.map_or(0, |failed| failed.retry_at_ms),
            message: failed.map_or(String::new(), |failed| failed.message.as_ref().to_owned()),
        }
    }

    fn view(&self, id: GroupId, group: &Group) -> GroupView {
        let mailboxes = group.mailboxes.iter();
        let mailboxes = mailboxes.map(|(&topic, mailbox)| self.mailbox_view(topic, mailbox));
        GroupView {
            id,
            name: group.name.clone(),
            members: group.members.iter().map(|(&node, &start)| (node, start)).collect(),
            mailboxes: mailboxes.collect(),
            n_dead: group.letters.n_dead(),
            n_redriven: group.letters.n_redriven(),
            is_paused: group.is_paused,
        }
    }

    fn mailbox_view(&self, topic: TopicId, mailbox: &Mailbox) -> MailboxView {
        let (floor, end) = (mailbox.cursor().floor(), self.topics.end(topic));
        let n_acked_above = mailbox.cursor().n_acked_above();
        let lag = end.since(floor) - n_acked_above;
        let (n_failed, n_paused) = (mailbox.n_failed(), mailbox.n_paused());
        MailboxView { topic, floor, end, lag, n_acked_above, n_failed, n_paused }
    }
}

fn failing_of(topic: TopicId, mailbox: &Mailbox) -> impl Iterator<Item = FailingView> {
    mailbox.failing().map(move |(offset, failed)| FailingView {
        topic,
        offset,
        attempts: failed.attempts,
        retry_at_ms: failed.retry_at_ms,
        message: failed.message.as_ref().to_owned(),
    })
}

fn topic_view(id: TopicId, topic: &Topic) -> TopicView {
    TopicView { id, name: topic.name.clone(), start: topic.start, end: topic.end }
}
