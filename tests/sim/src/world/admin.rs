//! Who operates the cluster: one command after the other, each repeated until it is answered.

use std::collections::VecDeque;

use bytes::Bytes;
use tidings_replica::{Change, Input, Proposal, Step};
use tidings_types::effect::{Answer, Refused};
use tidings_types::id::{GroupId, Token, TopicId};
use tidings_types::layout::command::{Command, GroupStart};
use tidings_types::layout::entry::SectionKind;
use tidings_types::name::{GroupName, TopicName};

use crate::happen::Happens;
use crate::mail::Mail;
use crate::plan::{Plan, topic_id};
use crate::tokens::Asker;
use crate::world::{MS, World};

/// What is wanted of the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Command(Command),
    Change(Change),
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Admin {
    todo: VecDeque<Wish>,
    /// Which process was asked, and under which token.
    out: Option<(usize, u32, Token)>,
    topics: Vec<TopicId>,
    groups: Vec<GroupId>,
}

impl Admin {
    /// Begins with topics, and groups that read them.
    pub(crate) fn new(plan: &Plan) -> Self {
        let names: Vec<TopicName> = (0..plan.n_topics).map(topic_name).collect();
        let topics = names.iter().map(|name| Command::CreateTopic { name: name.clone() });
        let groups = plan.groups.iter().enumerate().map(|(number, reads)| {
            let name = GroupName::new(format!("group-{number}")).expect("it is a word");
            let topics = reads.iter().map(|topic| topic_name(*topic)).collect();
            Command::CreateGroup { name, topics, start: GroupStart::Earliest }
        });
        let todo = topics.chain(groups).map(Wish::Command).collect();
        Self { todo, out: None, topics: Vec::new(), groups: Vec::new() }
    }

    /// The topics that are there, in the order of their making.
    pub(crate) fn topics(&self) -> &[TopicId] {
        &self.topics
    }

    /// The groups that are there, in the order of their making.
    pub(crate) fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// Nothing is wanted any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.todo.is_empty()
    }

    /// A change of the membership is wanted and not done.
    pub(crate) fn is_changing(&self) -> bool {
        self.todo.iter().any(|wish| matches!(wish, Wish::Change(_)))
    }

    pub(crate) fn wish(&mut self, wish: Wish) {
        self.todo.push_back(wish);
    }
}

fn topic_name(number: u32) -> TopicName {
    TopicName::new(format!("topic-{number}")).expect("it is a word")
}

impl World {
    /// Asks for what is next, if nobody was asked or whoever was is gone.
    pub(crate) fn operate(&mut self) {
        self.after(50 * MS, Happens::Operate);
        self.tidy();
        self.meddle();
        if let Some((at, start, _)) = self.admin.out
            && self.node(at).start == start
        {
            return;
        }
        self.admin.out = None;
        let Some(wish) = self.admin.todo.front().cloned() else { return };
        let now_us = self.now_us;
        let leads = |at: &usize| {
            let node = self.node(*at);
            node.leads() && node.paused_until <= now_us
        };
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(leads).collect();
        let Some(at) = self.chance.pick(&leaders) else { return };
        let start = self.node(at).start;
        let Some(process) = self.process_mut(at) else { return };
        let token = process.tokens.give(Asker::Operator);
        self.admin.out = Some((at, start, token));
        match wish {
            Wish::Command(command) => {
                let (kind, body) = (SectionKind::Command, Bytes::from(command.encode()));
                let proposal = Proposal { token, kind, body, may_wait: false };
                self.mail(at, Mail::Propose(vec![proposal]));
            }
            Wish::Change(change) if change.steps.contains(&(Step::Gone, self.id(at))) => {
                // Who leads cannot take itself out: another one is to lead first.
                self.admin.out = None;
                let others: Vec<usize> = self.stores().into_iter().filter(|it| *it != at).collect();
                if let Some(to) = self.chance.pick(&others).map(|other| self.id(other)) {
                    self.step_replica(at, Input::Transfer { to });
                }
            }
            Wish::Change(change) => self.step_replica(at, Input::Change { token, change }),
        }
        self.settle(at);
    }

    pub(crate) fn operator_answered(&mut self, token: Token, answer: Result<Answer, Refused>) {
        if !self.is_wanted(token) {
            return;
        }
        self.admin.out = None;
        let wish = self.admin.todo.pop_front();
        self.trace.line(self.now_us, || format!("operator: {wish:?}: {answer:?}"));
        if let (Some(Wish::Change(change)), Ok(_)) = (&wish, &answer) {
            self.changed(change);
        }
        match answer {
            Ok(Answer::Topic { topic, .. }) => {
                // The history names them by the numbers that they must get.
                let number = self.admin.topics.len() as u32;
                if topic.get() != topic_id(number) {
                    self.fail(format!("topic {number} became {topic}"));
                }
                self.admin.topics.push(topic);
            }
            Ok(Answer::Group(group)) => self.admin.groups.push(group),
            _ => {}
        }
    }

    /// It was not done, or nobody knows: it is asked for again.
    pub(crate) fn operator_lost(&mut self, token: Token) {
        if self.is_wanted(token) {
            self.admin.out = None;
        }
    }

    fn is_wanted(&self, token: Token) -> bool {
        self.admin.out.is_some_and(|(_, _, wanted)| wanted == token)
    }
}
