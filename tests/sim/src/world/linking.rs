//! Links: a process finds the leader, talks to it in order, and notices when that ends.

use tidings_delivery::member;
use tidings_delivery::publisher::Input;
use tidings_replica::Proposal;
use tidings_types::effect::Published;
use tidings_types::layout::entry::SectionKind;

use crate::happen::{Happens, What};
use crate::link::{End, Message, Uplink};
use crate::mail::Mail;
use crate::net::Net;
use crate::tokens::Asker;
use crate::world::{MS, SECOND, World};

/// An attempt to find the leader ends after this.
const DIAL_US: u64 = 500 * MS;
/// Each end notices a dead link after this, at most.
const SILENCE_US: u64 = 2 * SECOND;

impl World {
    /// The process looks for the leader, unless it has one or another attempt is under way.
    pub(crate) fn dial(&mut self, at: usize, attempt: u32) {
        let guess = self.status(at).and_then(|status| status.leader);
        let guess = guess.and_then(|leader| self.place(leader)).filter(|leader| *leader != at);
        let others: Vec<usize> = self.stores().into_iter().filter(|other| *other != at).collect();
        let start = self.node(at).start;
        let Some(process) = self.process_mut(at) else { return };
        if process.uplink != Uplink::Looking(attempt) {
            return;
        }
        process.uplink = Uplink::Looking(attempt + 1);
        if let Some(to) = guess.or_else(|| self.chance.pick(&others)) {
            self.ask(at, start, to, attempt + 1);
        }
        let delay = DIAL_US + self.chance.below(100 * MS);
        self.to(at, delay, What::Dial { attempt: attempt + 1 });
    }

    fn ask(&mut self, at: usize, start: u32, to: usize, attempt: u32) {
        if !self.net.is_cut(at, to) {
            let delay = Net::latency(&mut self.chance);
            self.to(to, delay, What::Dialed { from: (at, start), attempt });
        }
    }

    /// Another process asks whether this one leads.
    pub(crate) fn dialed(&mut self, at: usize, from: (usize, u32), attempt: u32) {
        let start = self.node(at).start;
        let answer = if self.node(at).leads() {
            Ok(self.links.make(from, (at, start)))
        } else {
            let leader = self.status(at).and_then(|status| status.leader);
            Err(leader.and_then(|leader| self.place(leader)))
        };
        if self.net.is_cut(at, from.0) {
            return;
        }
        let delay = Net::latency(&mut self.chance);
        let what = What::DialAnswer { attempt, answer };
        self.after(delay, Happens::To { node: from.0, start: from.1, what });
    }

    pub(crate) fn dial_answer(
        &mut self,
        at: usize,
        attempt: u32,
        answer: Result<u64, Option<usize>>,
    ) {
        let start = self.node(at).start;
        // The leader may have closed the link before this end heard that there is one.
        if let Ok(link) = answer
            && !self.links.get(link).is_some_and(|link| link.is_open(End::Client))
        {
            return;
        }
        let Some(process) = self.process_mut(at) else { return };
        let is_wanted = process.uplink == Uplink::Looking(attempt);
        match answer {
            Ok(link) if is_wanted => {
                process.uplink = Uplink::Link(link);
                self.trace.line(self.now_us, || format!("node {at} has link {link}"));
                self.mail(at, Mail::Publisher(Input::LeaderIs(true)));
                self.uplink_up(at);
            }
            Ok(link) => self.close_link(at, link),
            Err(Some(other)) if is_wanted && other != at => {
                // The next attempt begins here, so that the deadline of this one means nothing.
                process.uplink = Uplink::Looking(attempt + 1);
                self.ask(at, start, other, attempt + 1);
                let delay = DIAL_US + self.chance.below(100 * MS);
                self.to(at, delay, What::Dial { attempt: attempt + 1 });
            }
            Err(_) => {}
        }
    }

    /// Says something over a link.
    pub(crate) fn say(&mut self, at: usize, link: u64, message: Message) {
        let process = (at, self.node(at).start);
        let latency = Net::latency(&mut self.chance);
        let arrives_us = self.now_us + latency;
        let Some(found) = self.links.get(link) else { return };
        let Some(end) = found.end_of(process).filter(|end| found.is_open(*end)) else { return };
        let (node, start) = found.of(end.other());
        if found.is_lost(end) {
            return;
        }
        let is_cut = self.net.is_cut(at, node);
        let Some(found) = self.links.get(link) else { return };
        if is_cut {
            found.lose(end);
            return self.link_breaks(link, SILENCE_US);
        }
        let arrives_us = found.arrival(end, arrives_us);
        let what = What::Link { link, message };
        self.after(arrives_us - self.now_us, Happens::To { node, start, what });
    }

    /// Both ends notice by themselves that nothing comes any more.
    fn link_breaks(&mut self, link: u64, within_us: u64) {
        for end in [End::Client, End::Leader] {
            let delay = within_us / 8 + self.chance.below(within_us);
            let Some(found) = self.links.get(link) else { return };
            let (node, start) = found.of(end);
            let what = What::LinkDown { link };
            self.after(delay, Happens::To { node, start, what });
        }
    }

    /// A process ended: the other ends of its links notice.
    pub(crate) fn links_end(&mut self, at: usize, noticed_us: u64) {
        let process = (at, self.node(at).start);
        for (link, end) in self.links.of(process) {
            let delay = noticed_us / 8 + self.chance.below(noticed_us);
            let Some(found) = self.links.get(link) else { continue };
            found.close(end);
            let (node, start) = found.of(end.other());
            let what = What::LinkDown { link };
            self.after(delay, Happens::To { node, start, what });
        }
        self.links.tidy();
    }

    /// A process paused for so long: the other ends may give its links up.
    pub(crate) fn links_pause(&mut self, at: usize, for_us: u64) {
        let process = (at, self.node(at).start);
        for (link, _) in self.links.of(process) {
            if SECOND < for_us {
                let delay = SECOND + self.chance.below(SECOND);
                self.link_breaks(link, delay);
            }
        }
    }

    /// This process has done with a link, and says so to the other end.
    pub(crate) fn close_link(&mut self, at: usize, link: u64) {
        self.say(at, link, Message::Close);
        self.link_down(at, link);
    }

    /// A link ended, as this process sees it.
    pub(crate) fn link_down(&mut self, at: usize, link: u64) {
        let process = (at, self.node(at).start);
        let Some(found) = self.links.get(link) else { return };
        let Some(end) = found.end_of(process).filter(|end| found.is_open(*end)) else { return };
        found.close(end);
        self.links.tidy();
        self.trace.line(self.now_us, || format!("node {at} loses link {link} as {end:?}"));
        if end == End::Leader {
            return self.client_gone(at, link);
        }
        let Some(process) = self.process_mut(at) else { return };
        if process.uplink == Uplink::Link(link) {
            process.uplink = Uplink::Looking(0);
            self.mail(at, Mail::Publisher(Input::LeaderIs(false)));
            self.uplink_down(at);
            let delay = 10 * MS + self.chance.below(100 * MS);
            self.to(at, delay, What::Dial { attempt: 0 });
        }
    }

    pub(crate) fn link_message(&mut self, at: usize, link: u64, message: Message) {
        let process = (at, self.node(at).start);
        let Some(found) = self.links.get(link) else { return };
        if found.end_of(process).is_none_or(|end| !found.is_open(end)) {
            return;
        }
        match message {
            Message::Propose { proposal, producer, section } => {
                let Some(process) = self.process_mut(at) else { return };
                let token = process.tokens.give(Asker::Link(link, proposal));
                process.producers.insert(producer, link);
                let kind = SectionKind::Records;
                let wants = Proposal { token, kind, body: section, may_wait: false };
                self.mail(at, Mail::Propose(vec![wants]));
            }
            Message::Refused { proposal, reason } => {
                self.mail(at, Mail::Publisher(Input::Refused { proposal, reason }));
            }
            Message::Unknown { proposal } => {
                self.mail(at, Mail::Publisher(Input::Unknown { proposal }));
            }
            Message::Published(published) => {
                self.mail(at, Mail::Publisher(Input::Published(published)));
            }
            Message::ToLeader { session, message } => self.heard(at, link, session, message),
            Message::ToMember { session, message } => {
                let input = member::Input::FromLeader { session, message };
                self.mail(at, Mail::Member(input));
            }
            Message::Join { group, incarnation, n_left } => {
                self.asked_to_join(at, link, group, (incarnation, n_left));
            }
            Message::Joined { group, joined } => self.joined(at, group, joined),
            Message::Close => self.link_down(at, link),
        }
    }

    /// The leader's process passes an answer of the log on.
    pub(crate) fn answer_links(&mut self, at: usize, published: &Published) {
        let Some(process) = self.process_mut(at) else { return };
        if let Some(&link) = process.producers.get(&published.producer) {
            self.say(at, link, Message::Published(published.clone()));
        }
    }

    /// This node's replica leads from here on, or no more.
    pub(crate) fn role_matters(&mut self, at: usize, is_leader: bool) {
        let process = (at, self.node(at).start);
        for (link, end) in self.links.of(process) {
            if is_leader || end == End::Leader {
                self.close_link(at, link);
            }
        }
        let Some(process) = self.process_mut(at) else { return };
        process.uplink = if is_leader { Uplink::Own } else { Uplink::Looking(0) };
        self.mail(at, Mail::Publisher(Input::LeaderIs(is_leader)));
        if is_leader {
            self.uplink_up(at);
        } else {
            self.uplink_down(at);
            let delay = 10 * MS + self.chance.below(100 * MS);
            self.to(at, delay, What::Dial { attempt: 0 });
        }
    }
}
