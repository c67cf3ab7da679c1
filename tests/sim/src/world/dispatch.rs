//! The leader's side of delivery: dispatcher and roster beside the replica.

use std::time::Duration;

use tidings_delivery::dispatcher::{self, ReadResult};
use tidings_delivery::message::{SessionId, ToLeader, ToMember};
use tidings_delivery::{member, roster};
use tidings_log::{Block, TailRead};
use tidings_replica::Proposal;
use tidings_types::id::{GroupId, NodeId, Token, TopicId};
use tidings_types::layout::entry::SectionKind;
use tidings_types::offset::Offset;

use crate::happen::What;
use crate::link::Message;
use crate::mail::Mail;
use crate::node::Store;
use crate::serving::{ToDispatcher, dispatched, dispatcher_token};
use crate::tokens::Asker;
use crate::world::{MS, World};

impl World {
    pub(crate) fn step_dispatcher(&mut self, at: usize, told: ToDispatcher) {
        let now = self.cluster_now(at);
        let mono = self.mono(at);
        let (mut out, mut asked) = (Vec::new(), Vec::new());
        let Some(process) = self.process_mut(at) else { return };
        let Some(dispatching) = process.dispatching.as_mut() else { return };
        let (core, roster) = (&mut dispatching.dispatcher, &mut dispatching.roster);
        let has_roster = !process.serving.is_alone;
        match told {
            ToDispatcher::Lead(term, groups) => {
                dispatching.term = term;
                core.step(now, dispatcher::Input::Lead(groups.clone()), &mut out);
                if has_roster {
                    roster.step(mono, roster::Input::Lead(&groups), &mut asked);
                }
            }
            ToDispatcher::Follow => {
                core.step(now, dispatcher::Input::Follow, &mut out);
                roster.step(mono, roster::Input::Follow, &mut asked);
                dispatching.members.clear();
            }
            ToDispatcher::Effects(effects) => {
                core.step(now, dispatcher::Input::Effects(&effects), &mut out);
                roster.step(mono, roster::Input::Effects(&effects), &mut asked);
            }
            ToDispatcher::Heard { link, member, session, message } => {
                dispatching.members.heard(member, link, session);
                let input = dispatcher::Input::Heard { member, session, message };
                core.step(now, input, &mut out);
            }
            ToDispatcher::Gone { link } => {
                let Some((member, session)) = dispatching.members.gone(link) else { return };
                core.step(now, dispatcher::Input::MemberGone { member, session }, &mut out);
            }
            ToDispatcher::Read { group, topic, from, result } => {
                let input = dispatcher::Input::ReadDone { group, topic, from, result };
                core.step(now, input, &mut out);
            }
            ToDispatcher::Taken { token } => {
                core.step(now, dispatcher::Input::Taken { token }, &mut out);
            }
            ToDispatcher::Lost { token } => {
                core.step(now, dispatcher::Input::Lost { token }, &mut out);
            }
            ToDispatcher::Wake => core.step(now, dispatcher::Input::Wake, &mut out),
        }
        self.dispatch(at, out);
        self.enroll(at, asked);
    }

    fn dispatch(&mut self, at: usize, out: Vec<dispatcher::Output>) {
        let mut proposals = Vec::new();
        for output in out {
            match output {
                dispatcher::Output::Tell { member, session, message } => {
                    self.tell(at, member, session, message);
                }
                dispatcher::Output::Pinged { member, session, sent } => {
                    self.pinged(at, member, session, sent);
                }
                dispatcher::Output::Refused { member, why, .. } => {
                    self.fail(format!("the leader takes {member} for a liar: {why}"));
                }
                dispatcher::Output::Read { group, topic, from, max_bytes } => {
                    self.read_for(at, group, topic, from, max_bytes);
                }
                dispatcher::Output::Propose { token, kind, body, may_wait } => {
                    let token = dispatcher_token(token);
                    proposals.push(Proposal { token, kind, body, may_wait });
                }
                dispatcher::Output::WakeAt(wake) => self.wake_dispatcher_at(at, wake),
                dispatcher::Output::Told(story) => {
                    let id = self.id(at);
                    self.trace.line(self.now_us, || format!("{id} tells {story:?}"));
                }
            }
        }
        if !proposals.is_empty() {
            self.propose_leading(at, proposals);
        }
    }

    /// What the dispatcher and the roster propose is meant for the leadership that they know.
    fn propose_leading(&mut self, at: usize, proposals: Vec<Proposal>) {
        let dispatching = self.process_mut(at).and_then(|process| process.dispatching.as_ref());
        let Some(term) = dispatching.map(|dispatching| dispatching.term) else { return };
        self.mail(at, Mail::ProposeIn(term, proposals));
    }

    fn enroll(&mut self, at: usize, asked: Vec<roster::Output>) {
        for output in asked {
            match output {
                roster::Output::Pong { member, session, sent } => {
                    self.tell(at, member, session, ToMember::Pong { sent });
                }
                roster::Output::Propose(command) => {
                    let id = self.id(at);
                    self.trace.line(self.now_us, || format!("{id} takes out: {command:?}"));
                    let Some(process) = self.process_mut(at) else { return };
                    let token = process.tokens.give(Asker::Nobody);
                    let (kind, body) = (SectionKind::Command, command.encode().into());
                    let proposal = Proposal { token, kind, body, may_wait: false };
                    self.propose_leading(at, vec![proposal]);
                }
                roster::Output::WakeAt(wake) => {
                    let wake_us = wake.as_micros() as u64;
                    let delay = self.until(at, wake);
                    let Some(process) = self.process_mut(at) else { return };
                    let Some(dispatching) = process.dispatching.as_mut() else { return };
                    if dispatching.roster_wake_us.is_none_or(|known| wake_us < known) {
                        dispatching.roster_wake_us = Some(wake_us);
                        self.to(at, delay, What::RosterWake);
                    }
                }
            }
        }
    }

    pub(crate) fn roster_wake(&mut self, at: usize) {
        let mono = self.mono(at);
        let mut asked = Vec::new();
        let Some(process) = self.process_mut(at) else { return };
        let Some(dispatching) = process.dispatching.as_mut() else { return };
        dispatching.roster_wake_us = None;
        dispatching.roster.step(mono, roster::Input::Wake, &mut asked);
        self.enroll(at, asked);
    }

    fn pinged(&mut self, at: usize, member: NodeId, session: SessionId, sent: Duration) {
        let now = self.now(at);
        let mut asked = Vec::new();
        let Some(process) = self.process_mut(at) else { return };
        let leads = |store: &Store| store.replica.leads_surely(now);
        let is_sure = process.store.as_ref().is_some_and(leads);
        let Some(dispatching) = process.dispatching.as_mut() else { return };
        let input = roster::Input::Pinged { member, session, sent, is_sure };
        dispatching.roster.step(now.mono, input, &mut asked);
        self.enroll(at, asked);
    }

    fn tell(&mut self, at: usize, member: NodeId, session: SessionId, message: ToMember) {
        let own = self.id(at) == member;
        let Some(process) = self.process_mut(at) else { return };
        if own {
            let input = member::Input::FromLeader { session, message };
            return self.mail(at, Mail::Member(input));
        }
        let Some(dispatching) = process.dispatching.as_ref() else { return };
        if let Some(link) = dispatching.members.link(member) {
            self.say(at, link, Message::ToMember { session, message });
        }
    }

    /// A member at the other end of a link speaks.
    pub(crate) fn heard(&mut self, at: usize, link: u64, session: SessionId, message: ToLeader) {
        let Some(client) = self.links.get(link).map(|link| link.client.0) else { return };
        let member = self.id(client);
        let link = Some(link);
        self.mail(at, Mail::Dispatcher(ToDispatcher::Heard { link, member, session, message }));
    }

    /// The link of a client broke, as the leader sees it.
    pub(crate) fn client_gone(&mut self, at: usize, link: u64) {
        let Some(process) = self.process_mut(at) else { return };
        process.producers.retain(|_, of| *of != link);
        self.mail(at, Mail::Dispatcher(ToDispatcher::Gone { link }));
    }

    fn read_for(
        &mut self,
        at: usize,
        group: GroupId,
        topic: TopicId,
        from: Offset,
        max_bytes: usize,
    ) {
        let Some(store) = self.node(at).store() else { return };
        let read = store.replica.reader().read_tail(topic, from, max_bytes);
        let id = self.id(at);
        self.trace.line(self.now_us, || {
            let found = match &read {
                TailRead::Hit(blocks) => blocks.len().to_string(),
                TailRead::End => "the end".to_owned(),
                TailRead::Miss => "nothing in memory".to_owned(),
            };
            format!("{id} reads {topic} from {from} for {group}: {found}")
        });
        let result = match read {
            TailRead::Hit(blocks) => in_blocks(blocks),
            TailRead::End => ReadResult::End,
            TailRead::Miss => {
                let delay = 100 + self.chance.below(4 * MS);
                return self.to(at, delay, What::ReadEvents { group, topic, from, max_bytes });
            }
        };
        self.mail(at, Mail::Dispatcher(ToDispatcher::Read { group, topic, from, result }));
    }

    pub(crate) fn read_events(
        &mut self,
        at: usize,
        (group, topic): (GroupId, TopicId),
        from: Offset,
        max_bytes: usize,
    ) {
        let Some(store) = self.node(at).store() else { return };
        let result = match store.replica.reader().read_disk(topic, from, max_bytes) {
            Ok(blocks) if blocks.is_empty() => ReadResult::End,
            Ok(blocks) => in_blocks(blocks),
            Err(error) => ReadResult::Failed(error.to_string()),
        };
        self.mail(at, Mail::Dispatcher(ToDispatcher::Read { group, topic, from, result }));
    }

    fn wake_dispatcher_at(&mut self, at: usize, wake: Duration) {
        let delay = wake.saturating_sub(self.cluster_now(at)).as_micros() as u64;
        let wake_us = self.now_us + delay;
        let Some(process) = self.process_mut(at) else { return };
        let Some(dispatching) = process.dispatching.as_mut() else { return };
        if dispatching.wake_us.is_none_or(|known| wake_us < known) {
            dispatching.wake_us = Some(wake_us);
            self.to(at, delay, What::DispatcherWake);
        }
    }

    pub(crate) fn dispatcher_wake(&mut self, at: usize) {
        let Some(process) = self.process_mut(at) else { return };
        let Some(dispatching) = process.dispatching.as_mut() else { return };
        dispatching.wake_us = None;
        self.step_dispatcher(at, ToDispatcher::Wake);
    }

    /// A proposal of the dispatcher was refused, or nobody knows. Whether it was one.
    pub(crate) fn delivery_lost(&mut self, at: usize, token: Token) -> bool {
        let Some(token) = dispatched(token) else { return false };
        self.mail(at, Mail::Dispatcher(ToDispatcher::Lost { token }));
        true
    }

    pub(crate) fn taken(&mut self, at: usize, token: Token) {
        let Some(token) = dispatched(token) else { return };
        // The replica may be put to sleep between what it applied and its answer: meanwhile the
        // dispatcher hands out, and workers tell what came of it.
        if self.chance.percent(5) {
            let delay = self.chance.below(20 * MS);
            return self.to(at, delay, What::Taken { token });
        }
        self.mail(at, Mail::Dispatcher(ToDispatcher::Taken { token }));
    }

    fn cluster_now(&self, at: usize) -> Duration {
        let now = self.now(at);
        let cluster_ms = self.node(at).store().map(|store| store.replica.cluster_ms(now));
        Duration::from_millis(cluster_ms.unwrap_or_default())
    }
}

fn in_blocks(blocks: Vec<Block>) -> ReadResult {
    ReadResult::Blocks(blocks.into_iter().map(|block| (block.placed, block.records)).collect())
}
