//! A model of a correct system that writes down what an observer would see of it.
//!
//! Three nodes, one topic, two groups. Publishes get acknowledged, refused, lost or left open.
//! Handlers fail, outlive their member, die with their worker or their node; outcomes that are not
//! settled by then are lost. Leaders change. At the end all heals, everything is handled and told.

use std::collections::BTreeMap;

use tidings_check::history::{Installed, Line, Outcome, Run, Seen};

use super::TOPIC;

const NODES: [u32; 3] = [1, 2, 3];
const GROUPS: [u32; 2] = [1, 2];
const KEYS: u64 = 4;
const ATTEMPTS_MAX: u32 = 3;

/// A history of so many steps.
pub fn history(seed: u64, n_steps: usize) -> Vec<Line> {
    let mut model = Model::new(seed);
    for _ in 0..n_steps {
        model.step();
    }
    model.finish();
    let line = |(at, seen)| Line { at_us: at as u64 * 1000, seen };
    model.seen.into_iter().enumerate().map(line).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running {
        node: u32,
        worker: u64,
    },
    /// Its handler reported; the log has not taken it.
    Reported {
        node: u32,
        worker: u64,
        outcome: Outcome,
    },
    Settled,
    Dead {
        is_fatal: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Mail {
    state: State,
    /// Failed attempts that the log knows.
    n_failed: u32,
}

struct Model {
    random: u64,
    seen: Vec<Seen>,
    log: Vec<(u64, u64)>,
    next_event: u64,
    is_up: BTreeMap<u32, bool>,
    term: u64,
    leader: u32,
    applied: u64,
    mail: BTreeMap<u32, Vec<Mail>>,
    /// Who works a key, and since which epoch.
    owner: BTreeMap<(u32, u64), (u32, u64)>,
    /// Handlers that outlived their membership.
    stale: Vec<(u32, u32, u64, u64)>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let groups = GROUPS.map(|group| (group, vec![TOPIC])).to_vec();
        let run = Run {
            seed,
            n_voters: 3,
            groups,
            attempts_max: ATTEMPTS_MAX,
            worker_in_flight_max: 64,
            acknowledged_min: 1,
            faults_min: 1,
        };
        let keys = GROUPS.into_iter().flat_map(|group| (0..KEYS).map(move |key| (group, key)));
        let owner = keys.map(|(group, key)| ((group, key), (NODES[key as usize % 3], 1)));
        Self {
            random: seed | 1,
            seen: [Seen::Run(run)].into_iter().chain(NODES.map(|node| Seen::Up { node })).collect(),
            log: Vec::new(),
            next_event: 1000,
            is_up: NODES.map(|node| (node, true)).into(),
            term: 1,
            leader: 1,
            applied: 1,
            mail: GROUPS.map(|group| (group, Vec::new())).into(),
            owner: owner.collect(),
            stale: Vec::new(),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % n as u64) as usize
    }

    fn step(&mut self) {
        let group = GROUPS[self.below(2)];
        match self.below(24) {
            0..6 => self.publish(),
            6..12 => self.start(group),
            12..17 => self.end(group),
            17..20 => self.settle(group),
            20 => self.tell(),
            21 => self.crash(),
            22 => self.lose(group),
            _ => self.end_stale(),
        }
    }

    fn publish(&mut self) {
        let op = self.next_event;
        let n_events = 1 + self.below(2) as u64;
        let events: Vec<_> =
            (0..n_events).map(|i| (op + i, self.below(KEYS as usize) as u64)).collect();
        self.next_event += n_events;
        let (publisher, place) = (self.below(2) as u32, Some(op));
        let call = Seen::Publish { op, publisher, events: events.clone(), topic: TOPIC, place };
        self.seen.push(call);
        let luck = self.below(10);
        let error = "T0110".to_owned();
        match luck {
            0 => self.seen.push(Seen::Refused { op, error }),
            1 => self.seen.push(Seen::Unknown { op, error }),
            2 => {}
            _ => {
                let first = self.log.len() as u64;
                self.store(&events);
                match luck {
                    3 => self.seen.push(Seen::Unknown { op, error }),
                    4 => {}
                    _ => self.seen.push(Seen::Published { op, first }),
                }
            }
        }
    }

    fn store(&mut self, events: &[(u64, u64)]) {
        let first = self.log.len() as u64;
        let numbers: Vec<_> = events.iter().map(|(event, _)| *event).collect();
        // Two disks are enough; the third one may be behind.
        let behind = self.below(6) as u32;
        for node in NODES.into_iter().filter(|node| *node != behind) {
            self.seen.extend(numbers.iter().map(|event| Seen::Durable { node, event: *event }));
        }
        for node in NODES.into_iter().filter(|node| self.is_up[node]) {
            self.seen.push(Seen::Placed { node, topic: TOPIC, first, events: numbers.clone() });
        }
        self.log.extend(events);
        self.applied += 1;
        for mail in self.mail.values_mut() {
            mail.extend(events.iter().map(|_| Mail { state: State::Waiting, n_failed: 0 }));
        }
    }

    fn start(&mut self, group: u32) {
        let mut is_busy = [false; KEYS as usize];
        for offset in 0..self.log.len() {
            let ((event, key), mail) = (self.log[offset], self.mail[&group][offset]);
            let (node, epoch) = self.owner[&(group, key)];
            let is_open = matches!(
                mail.state,
                State::Settled
                    | State::Dead { .. }
                    | State::Reported { outcome: Outcome::Done, .. }
            );
            let may_start = mail.state == State::Waiting && !is_busy[key as usize];
            is_busy[key as usize] |= !is_open;
            if !may_start || !self.is_up[&node] || self.below(2) == 0 {
                continue;
            }
            let worker = key;
            self.mail.get_mut(&group).expect("known")[offset].state =
                State::Running { node, worker };
            self.seen.push(Seen::Started {
                group,
                node,
                worker,
                topic: TOPIC,
                offset: offset as u64,
                event,
                key,
                is_whole: true,
                attempt: mail.n_failed + 1,
                epoch: Some(epoch),
            });
            return;
        }
    }

    fn end(&mut self, group: u32) {
        for offset in 0..self.log.len() {
            let mail = self.mail[&group][offset];
            let State::Running { node, worker } = mail.state else { continue };
            if self.below(2) == 0 {
                continue;
            }
            let is_last = mail.n_failed + 1 == ATTEMPTS_MAX;
            let outcome = match self.below(8) {
                0 => Outcome::Dead,
                1 | 2 if is_last => Outcome::Dead,
                1 | 2 => Outcome::Again,
                _ => Outcome::Done,
            };
            self.ended((group, node, worker, offset as u64), outcome);
            self.mail.get_mut(&group).expect("known")[offset].state =
                State::Reported { node, worker, outcome };
            return;
        }
    }

    fn ended(&mut self, (group, node, worker, offset): (u32, u32, u64, u64), outcome: Outcome) {
        self.seen.push(Seen::Ended { group, node, worker, topic: TOPIC, offset, outcome });
    }

    fn settle(&mut self, group: u32) {
        for offset in 0..self.log.len() {
            let mail = &mut self.mail.get_mut(&group).expect("known")[offset];
            let State::Reported { outcome, .. } = mail.state else { continue };
            mail.state = match outcome {
                Outcome::Done => State::Settled,
                Outcome::Dead => State::Dead { is_fatal: mail.n_failed + 1 < ATTEMPTS_MAX },
                Outcome::Again | Outcome::Lost => State::Waiting,
            };
            mail.n_failed += u32::from(outcome != Outcome::Done);
            self.applied += 1;
            if outcome != Outcome::Again {
                let (first, is_dead) = (offset as u64, outcome == Outcome::Dead);
                self.seen.push(Seen::Settled { group, topic: TOPIC, first, n_events: 1, is_dead });
            }
        }
        self.tell_floor(group);
    }

    fn tell_floor(&mut self, group: u32) {
        let is_open = |mail: &Mail| !matches!(mail.state, State::Settled | State::Dead { .. });
        let floor = self.mail[&group].iter().position(is_open).unwrap_or(self.log.len()) as u64;
        for node in NODES.into_iter().filter(|node| self.is_up[node]) {
            self.seen.push(Seen::Floor { node, group, topic: TOPIC, floor });
        }
    }

    fn tell(&mut self) {
        let (term, at) = (self.term, self.applied);
        for node in NODES.into_iter().filter(|node| self.is_up[node]) {
            let leads = node == self.leader;
            self.seen.push(Seen::Status { node, term, leads, commit: at, applied: at, last: at });
            self.seen.push(Seen::Digest { node, index: at, digest: at * 31 });
        }
    }

    fn crash(&mut self) {
        let node = NODES[self.below(3)];
        if !self.is_up[&node] {
            self.is_up.insert(node, true);
            self.seen.push(Seen::Up { node });
            return;
        }
        let n_up = self.is_up.values().filter(|is_up| **is_up).count();
        if n_up < 3 {
            return;
        }
        self.fault("kill", node);
        let in_flight = self.take(None, node, None);
        self.stale.retain(|(_, of_node, _, _)| *of_node != node);
        self.seen.push(Seen::Down { node, in_flight });
        self.is_up.insert(node, false);
        if self.leader == node {
            self.term += 1;
            self.leader = NODES[(node % 3) as usize];
        }
        for group in GROUPS {
            self.seen.push(Seen::Removed { group, node });
            self.move_keys(group, node);
        }
    }

    /// A worker dies, or a member that cannot be heard is taken out.
    fn lose(&mut self, group: u32) {
        let node = NODES[self.below(3)];
        if !self.is_up[&node] {
            return;
        }
        let worker = self.below(KEYS as usize) as u64;
        self.fault("cut", node);
        if self.below(2) == 0 {
            self.take(Some(group), node, Some(worker));
            self.seen.push(Seen::WorkerGone { group, node, worker });
            return;
        }
        for (offset, mail) in self.mail[&group].iter().enumerate() {
            if let State::Running { node: of_mail, worker } = mail.state
                && of_mail == node
            {
                self.stale.push((group, node, worker, offset as u64));
            }
        }
        self.take(Some(group), node, None);
        self.seen.push(Seen::Removed { group, node });
        self.move_keys(group, node);
    }

    fn fault(&mut self, what: &str, node: u32) {
        let (what, node, installed) = (what.to_owned(), Some(node), Installed::Yes);
        self.seen.push(Seen::Fault { what, node, installed });
    }

    /// What is out there, or not yet taken by the log, comes again.
    fn take(&mut self, group: Option<u32>, from: u32, whom: Option<u64>) -> u64 {
        let mut n_taken = 0;
        let of_group = |of_mail: &u32| group.is_none_or(|group| group == *of_mail);
        for (_, mail) in self.mail.iter_mut().filter(|(of_mail, _)| of_group(of_mail)) {
            for mail in mail {
                let (State::Running { node, worker } | State::Reported { node, worker, .. }) =
                    mail.state
                else {
                    continue;
                };
                if node == from && whom.is_none_or(|whom| whom == worker) {
                    mail.state = State::Waiting;
                    n_taken += 1;
                }
            }
        }
        n_taken
    }

    fn move_keys(&mut self, of_group: u32, from: u32) {
        let target = NODES.into_iter().find(|node| *node != from && self.is_up[node]);
        for ((group, _), (node, epoch)) in &mut self.owner {
            if *group == of_group && *node == from {
                (*node, *epoch) = (target.expect("two nodes are up"), *epoch + 1);
            }
        }
    }

    fn end_stale(&mut self) {
        let Some((group, node, worker, offset)) = self.stale.pop() else { return };
        // The same worker may have begun with it anew; then nobody could tell the two apart.
        let state = self.mail[&group][offset as usize].state;
        if !matches!(state, State::Running { node: of_mail, .. } if of_mail == node) {
            self.ended((group, node, worker, offset), Outcome::Done);
        }
    }

    fn finish(&mut self) {
        for node in NODES {
            if !self.is_up[&node] {
                self.is_up.insert(node, true);
                self.seen.push(Seen::Up { node });
            }
        }
        let op = self.next_event;
        self.next_event += 1;
        let last = |op, place| Seen::Publish {
            op,
            publisher: 9,
            events: vec![(op, 0)],
            topic: TOPIC,
            place,
        };
        self.fault("a last one", 1);
        self.seen.push(Seen::Healed);
        self.seen.push(last(op, None));
        let first = self.log.len() as u64;
        self.store(&[(op, 0)]);
        self.seen.push(Seen::Published { op, first });
        for group in GROUPS {
            let is_open = |mail: &Mail| !matches!(mail.state, State::Settled | State::Dead { .. });
            while self.mail[&group].iter().any(is_open) {
                self.start(group);
                self.end(group);
                self.settle(group);
            }
            self.tell_floor(group);
            for (offset, mail) in self.mail[&group].iter().enumerate() {
                let State::Dead { is_fatal } = mail.state else { continue };
                let (event, attempts, offset) = (self.log[offset].0, mail.n_failed, offset as u64);
                let topic = TOPIC;
                self.seen.push(Seen::DeadLetter {
                    group,
                    topic,
                    offset,
                    event,
                    attempts,
                    is_fatal,
                });
            }
        }
        self.tell();
        for node in NODES {
            for (offset, (event, _)) in self.log.iter().enumerate() {
                let (offset, event, is_whole) = (offset as u64, *event, true);
                self.seen.push(Seen::Read { node, topic: TOPIC, offset, event, is_whole });
            }
            let end = self.log.len() as u64;
            self.seen.push(Seen::ReadThrough { node, topic: TOPIC, start: 0, end });
        }
        self.seen.push(Seen::End);
    }
}
