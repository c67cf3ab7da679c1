//! A process's own side of delivery: its member, and how it comes to be one.

use std::ops::Range;

use tidings_check::history::Seen;
use tidings_delivery::member::{Input, Output};
use tidings_delivery::message::{SessionId, ToLeader};
use tidings_replica::Proposal;
use tidings_types::effect::{Answer, Effect, GroupSnapshot, LaneOwner, Refused};
use tidings_types::id::{GroupId, Incarnation, NodeId, Token, WorkerId};
use tidings_types::layout::command::Command;
use tidings_types::layout::entry::SectionKind;
use tidings_types::offset::Term;

use crate::happen::What;
use crate::link::{Joined, Message, Uplink};
use crate::mail::Mail;
use crate::serving::ToDispatcher;
use crate::tokens::Asker;
use crate::world::{MS, World};

/// How soon joining is tried again.
const JOIN_AGAIN_US: u64 = 200 * MS;
/// An answer that has not come by then will not come.
const JOIN_LOST_US: u64 = 3_000 * MS;

impl World {
    pub(crate) fn role_changed(&mut self, at: usize, leads: Option<(Term, Vec<GroupSnapshot>)>) {
        let (id, is_leader) = (self.id(at), leads.is_some());
        self.trace.line(self.now_us, || format!("{id} leads: {is_leader}"));
        if let Some(store) = self.node_mut(at).store_mut() {
            store.leads = is_leader;
        }
        self.see_status(at);
        for snapshot in leads.iter().flat_map(|(_, groups)| groups) {
            self.membership(snapshot.group, &snapshot.lanes, &snapshot.members);
        }
        let lead = |(term, groups)| ToDispatcher::Lead(term, groups);
        let told = leads.map_or(ToDispatcher::Follow, lead);
        self.mail(at, Mail::Dispatcher(told));
        self.role_matters(at, is_leader);
    }

    /// The state jumped to that of a snapshot.
    pub(crate) fn restored(&mut self, at: usize, _groups: &[GroupSnapshot]) {
        let id = self.id(at);
        self.trace.line(self.now_us, || format!("{id} was given a snapshot"));
    }

    /// Nobody redrives here, so a replica that settles an event twice took two outcomes for it.
    fn settle_once(&mut self, at: usize, (group, topic): (u32, u32), offsets: Range<u64>) {
        let id = self.id(at);
        let Some(store) = self.node_mut(at).store_mut() else { return };
        let mut twice = None;
        for offset in offsets {
            if !store.settled.insert((group, topic, offset)) {
                twice = Some(offset);
            }
        }
        if let Some(offset) = twice {
            self.fail(format!("{id} settles {topic}/{offset} twice for group {group}"));
        }
    }

    pub(crate) fn serve_effects(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in &effects {
            match effect {
                Effect::Settled { group, topic, range, dead } => {
                    let (group, topic, first) = (group.get(), topic.get(), range.start.get());
                    let (n_events, is_dead) = (u64::from(range.len), *dead);
                    self.settle_once(at, (group, topic), first..first + n_events);
                    if self.settled.insert((group, topic, first)) {
                        let others = first + 1..first + n_events;
                        self.settled.extend(others.map(|offset| (group, topic, offset)));
                        self.see(Seen::Settled { group, topic, first, n_events, is_dead });
                    }
                }
                // Whoever leads hands out by what it has applied, which may be long after others: a
                // member that it did not take out yet is one.
                Effect::LanesMoved { group, lanes, members, .. } if self.node(at).leads() => {
                    self.membership(*group, lanes, members);
                }
                Effect::GroupChanged(snapshot) => {
                    self.memberships.entry(snapshot.group).or_default();
                }
                _ => {}
            }
        }
        self.mail(at, Mail::Dispatcher(ToDispatcher::Effects(effects)));
    }

    /// A group has these members now: whoever is not among them any more was taken out.
    fn membership(
        &mut self,
        group: GroupId,
        lanes: &[LaneOwner],
        members: &[(NodeId, Incarnation)],
    ) {
        // Each move raises the epoch of its lane, so the sum of all tells the order.
        let epoch: u64 = lanes.iter().map(|lane| u64::from(lane.epoch.get())).sum();
        let (known_epoch, known) = self.memberships.entry(group).or_default();
        // A replica that is behind tells what others told before.
        if epoch <= *known_epoch {
            return;
        }
        *known_epoch = epoch;
        let before = std::mem::replace(known, members.to_vec());
        for (node, _) in before {
            if !members.iter().any(|(member, _)| *member == node) {
                self.see(Seen::Removed { group: group.get(), node: node.get() });
            }
        }
    }

    pub(crate) fn step_member(&mut self, at: usize, input: Input) {
        let now = self.mono(at);
        let mut out = Vec::new();
        let Some(process) = self.process_mut(at) else { return };
        process.serving.member.step(now, input, &mut out);
        for output in out {
            match output {
                Output::Send { session, message } => self.speak(at, session, message),
                Output::Deliver { group, worker, batch, deliveries } => {
                    self.hand(at, (group, worker), batch, deliveries);
                }
                Output::Recall { group, worker, batch } => self.recall(at, (group, worker), batch),
                Output::Removed { group, n_left } => self.taken_out(at, group, n_left),
                Output::WakeAt(wake) => {
                    let wake_us = wake.as_micros() as u64;
                    let delay = self.until(at, wake);
                    let Some(process) = self.process_mut(at) else { return };
                    if process.serving.wake_us.is_none_or(|known| wake_us < known) {
                        process.serving.wake_us = Some(wake_us);
                        self.to(at, delay, What::MemberWake);
                    }
                }
            }
        }
    }

    pub(crate) fn member_wake(&mut self, at: usize) {
        if let Some(process) = self.process_mut(at) {
            process.serving.wake_us = None;
            self.step_member(at, Input::Wake);
        }
    }

    fn speak(&mut self, at: usize, session: SessionId, message: ToLeader) {
        let member = self.id(at);
        match self.process_mut(at).map(|process| process.uplink) {
            Some(Uplink::Own) => {
                let link = None;
                let heard = ToDispatcher::Heard { link, member, session, message };
                self.mail(at, Mail::Dispatcher(heard));
            }
            Some(Uplink::Link(link)) => {
                self.say(at, link, Message::ToLeader { session, message });
            }
            Some(Uplink::Looking(_)) | None => {}
        }
    }

    /// There is a way to the leader.
    pub(crate) fn uplink_up(&mut self, at: usize) {
        self.mail(at, Mail::Member(Input::LinkUp));
        self.join(at);
    }

    pub(crate) fn uplink_down(&mut self, at: usize) {
        self.mail(at, Mail::Member(Input::LinkDown));
        // What was asked over it gets no answer.
        if let Some(process) = self.process_mut(at) {
            process.serving.services.values_mut().for_each(|service| service.joining = None);
        }
    }

    fn taken_out(&mut self, at: usize, group: GroupId, n_left: u32) {
        let id = self.id(at);
        self.trace.line(self.now_us, || format!("{id} was taken out of {group}"));
        if let Some(process) = self.process_mut(at) {
            let service = process.serving.services.entry(group).or_default();
            service.has_joined = false;
            service.n_left = n_left;
        }
        self.will_join(at);
    }

    /// The process will look for groups to join.
    pub(crate) fn will_join(&mut self, at: usize) {
        if let Some(process) = self.process_mut(at)
            && !std::mem::replace(&mut process.serving.is_joining, true)
        {
            self.to(at, 20 * MS, What::Join);
        }
    }

    /// Asks to be a member of each group that this process serves and is no member of.
    pub(crate) fn join(&mut self, at: usize) {
        let groups = self.admin.groups().iter().zip(self.plan.serves(at));
        let wanted: Vec<GroupId> =
            groups.filter(|(_, serves)| *serves).map(|(group, _)| *group).collect();
        let now_us = self.now_us;
        let node = self.id(at);
        for group in wanted {
            let Some(process) = self.process_mut(at) else { return };
            let (uplink, incarnation) = (process.uplink, process.incarnation);
            let service = process.serving.services.entry(group).or_default();
            let waits = service.joining.is_some_and(|since| now_us < since + JOIN_LOST_US);
            if service.has_joined || waits {
                continue;
            }
            service.joining = Some(now_us);
            let n_left = service.n_left;
            let command = Command::join(group, node, incarnation, n_left);
            match uplink {
                Uplink::Own => self.command(at, Asker::Joins(group), command),
                Uplink::Link(link) => {
                    self.say(at, link, Message::Join { group, incarnation, n_left })
                }
                Uplink::Looking(_) => service.joining = None,
            }
        }
    }

    /// Looks again, until it is a member of all groups that it serves.
    pub(crate) fn join_again(&mut self, at: usize) {
        let n_wanted = self.plan.serves(at).iter().filter(|serves| **serves).count();
        let Some(process) = self.process_mut(at) else { return };
        let services = process.serving.services.values();
        let n_joined = services.filter(|service| service.has_joined).count();
        process.serving.is_joining = n_joined < n_wanted;
        if process.serving.is_joining {
            self.to(at, JOIN_AGAIN_US, What::Join);
            self.join(at);
        }
    }

    /// A member at the other end of a link wants to join.
    pub(crate) fn asked_to_join(
        &mut self,
        at: usize,
        link: u64,
        group: GroupId,
        (incarnation, n_left): (Incarnation, u32),
    ) {
        let Some(client) = self.links.get(link).map(|link| link.client.0) else { return };
        let node = self.id(client);
        let command = Command::join(group, node, incarnation, n_left);
        self.command(at, Asker::LinkJoins(link, group), command);
    }

    fn command(&mut self, at: usize, asker: Asker, command: Command) {
        let Some(process) = self.process_mut(at) else { return };
        let token = process.tokens.give(asker);
        let (kind, body) = (SectionKind::Command, command.encode().into());
        self.mail(at, Mail::Propose(vec![Proposal { token, kind, body, may_wait: false }]));
    }

    /// The command to join has its answer.
    pub(crate) fn joined(&mut self, at: usize, group: GroupId, joined: Joined) {
        let Some(process) = self.process_mut(at) else { return };
        let service = process.serving.services.entry(group).or_default();
        service.joining = None;
        match joined {
            Joined::Done if !service.has_joined => {}
            // What it was told since counts more.
            Joined::LeftSince(n_left) if service.n_left < n_left => {
                return self.mail(at, Mail::Member(Input::LeftSince { group, n_left }));
            }
            Joined::Done | Joined::LeftSince(_) | Joined::Unknown => return,
        }
        service.has_joined = true;
        if std::mem::replace(&mut service.is_up, true) {
            return;
        }
        let n_workers = self.plan.n_workers;
        self.mail(at, Mail::Member(Input::ServiceUp { group, n_workers: n_workers as usize }));
        for worker in (0..n_workers).map(WorkerId::new) {
            self.worker_up(at, (group, worker));
        }
    }

    /// A command of this process has its answer. Whether it was one of delivery's.
    pub(crate) fn delivery_answered(
        &mut self,
        at: usize,
        asker: Asker,
        answer: &Result<Answer, Refused>,
    ) -> bool {
        let joined = match answer {
            Ok(_) => Joined::Done,
            &Err(Refused::LeftSince { n_left }) => Joined::LeftSince(n_left),
            Err(_) => Joined::Unknown,
        };
        match asker {
            Asker::Joins(group) => self.joined(at, group, joined),
            Asker::LinkJoins(link, group) => self.say(at, link, Message::Joined { group, joined }),
            Asker::Nobody => {}
            Asker::Link(..) | Asker::Operator => return false,
        }
        true
    }

    /// A command of this process has none. Whether it was one of delivery's.
    pub(crate) fn delivery_unanswered(&mut self, at: usize, asker: Asker) -> bool {
        match asker {
            Asker::Joins(group) => self.joined(at, group, Joined::Unknown),
            Asker::LinkJoins(link, group) => {
                self.say(at, link, Message::Joined { group, joined: Joined::Unknown });
            }
            Asker::Nobody => {}
            Asker::Link(..) | Asker::Operator => return false,
        }
        true
    }

    /// Which command it was.
    pub(crate) fn asker(&mut self, at: usize, token: Token) -> Option<Asker> {
        self.process_mut(at).and_then(|process| process.tokens.take(token))
    }
}
