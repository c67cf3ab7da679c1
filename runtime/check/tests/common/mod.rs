//! Histories for the tests: a small one to bend by hand, and a model that makes long ones.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod model;

use tidings_check::history::{Installed, Line, Outcome, Run, Seen};
use tidings_check::verdict::{Verdict, check};
use tidings_check::violation::Invariant;

/// Topic, group, worker of the small history.
pub const TOPIC: u32 = 1;
pub const GROUP: u32 = 1;
pub const WORKER: u64 = 5;

/// A history in the making. Time is not what the tests are about: a millisecond a line.
#[derive(Clone, Debug)]
pub struct Story {
    pub seen: Vec<Seen>,
    /// Events by offset.
    log: Vec<u64>,
}

impl Story {
    /// Three nodes; events 101 and 102 of key 7 and 103 of key 8 are published, acknowledged and
    /// handled on node 1; there is one fault; everything is told of at the end.
    pub fn healthy() -> Self {
        let mut story = Self::begin(3);
        for (event, key) in [(101, 7), (102, 7), (103, 8)] {
            story.acked(event, key);
        }
        for offset in 0..3 {
            story.handled(1, offset);
        }
        story.finish();
        story
    }

    pub fn begin(n_voters: u32) -> Self {
        let groups = vec![(GROUP, vec![TOPIC])];
        let run = Run {
            seed: 1,
            n_voters,
            groups,
            attempts_max: 3,
            worker_in_flight_max: 2,
            acknowledged_min: 1,
            faults_min: 1,
        };
        let up = (1..=n_voters).map(|node| Seen::Up { node });
        Self { seen: [Seen::Run(run)].into_iter().chain(up).collect(), log: Vec::new() }
    }

    pub fn publish(&mut self, event: u64, key: u64) {
        let events = vec![(event, key)];
        let place = Some(event);
        self.seen.push(Seen::Publish { op: event, publisher: 1, events, topic: TOPIC, place });
    }

    /// Published, on two disks, in all logs, acknowledged.
    pub fn acked(&mut self, event: u64, key: u64) {
        self.publish(event, key);
        self.stored(event);
        self.seen.push(Seen::Published { op: event, first: self.log.len() as u64 - 1 });
    }

    pub fn stored(&mut self, event: u64) {
        let first = self.log.len() as u64;
        self.log.push(event);
        self.seen.extend([1, 2].map(|node| Seen::Durable { node, event }));
        let placed = |node| Seen::Placed { node, topic: TOPIC, first, events: vec![event] };
        self.seen.extend((1..=3).map(placed));
    }

    pub fn started(&mut self, node: u32, offset: u64, attempt: u32) {
        let event = self.log[offset as usize];
        let key = if event == 103 { 8 } else { 7 };
        let (group, worker, topic, epoch) = (GROUP, WORKER, TOPIC, Some(1));
        let is_whole = true;
        self.seen.push(Seen::Started {
            group,
            node,
            worker,
            topic,
            offset,
            event,
            key,
            is_whole,
            attempt,
            epoch,
        });
    }

    pub fn ended(&mut self, node: u32, offset: u64, outcome: Outcome) {
        let (group, worker, topic) = (GROUP, WORKER, TOPIC);
        self.seen.push(Seen::Ended { group, node, worker, topic, offset, outcome });
    }

    pub fn settled(&mut self, first: u64, n_events: u64, is_dead: bool) {
        let (group, topic) = (GROUP, TOPIC);
        self.seen.push(Seen::Settled { group, topic, first, n_events, is_dead });
    }

    pub fn handled(&mut self, node: u32, offset: u64) {
        self.started(node, offset, 1);
        self.ended(node, offset, Outcome::Done);
        self.settled(offset, 1, false);
    }

    pub fn letter(&mut self, offset: u64, attempts: u32) {
        let (group, topic, event) = (GROUP, TOPIC, self.log[offset as usize]);
        let is_fatal = false;
        self.seen.push(Seen::DeadLetter { group, topic, offset, event, attempts, is_fatal });
    }

    pub fn fault(&mut self, what: &str) {
        let (what, node, installed) = (what.to_owned(), Some(1), Installed::Yes);
        self.seen.push(Seen::Fault { what, node, installed });
    }

    /// One fault, its end, one more event, and all that is told at the end.
    pub fn finish(&mut self) {
        self.fault("the link between nodes 1 and 3 was cut");
        self.seen.push(Seen::Healed);
        self.acked(199, 7);
        let end = self.log.len() as u64;
        self.handled(1, end - 1);
        for node in 1..=3 {
            let (group, topic, floor) = (GROUP, TOPIC, end);
            self.seen.push(Seen::Floor { node, group, topic, floor });
            let (leads, commit, applied, last) = (node == 1, 40, 40, 40);
            self.seen.push(Seen::Status { node, term: 2, leads, commit, applied, last });
            self.seen.push(Seen::Digest { node, index: 40, digest: 0xfeed });
            for (offset, event) in self.log.iter().enumerate() {
                let (offset, event, is_whole) = (offset as u64, *event, true);
                self.seen.push(Seen::Read { node, topic, offset, event, is_whole });
            }
            self.seen.push(Seen::ReadThrough { node, topic, start: 0, end });
        }
        self.seen.push(Seen::End);
    }

    /// Puts a line before the first one that fits.
    pub fn before(mut self, fits: impl Fn(&Seen) -> bool, line: Seen) -> Self {
        let at = self.at(fits);
        self.seen.insert(at, line);
        self
    }

    /// Bends the first line that fits.
    pub fn bend(mut self, fits: impl Fn(&Seen) -> bool, bend: impl FnOnce(&mut Seen)) -> Self {
        let at = self.at(fits);
        bend(&mut self.seen[at]);
        self
    }

    /// Takes out all lines that fit.
    pub fn without(mut self, fits: impl Fn(&Seen) -> bool) -> Self {
        assert!(self.seen.iter().any(&fits), "a line to take out is there");
        self.seen.retain(|seen| !fits(seen));
        self
    }

    fn at(&self, fits: impl Fn(&Seen) -> bool) -> usize {
        self.seen.iter().position(fits).expect("a line that fits is there")
    }

    pub fn lines(&self) -> Vec<Line> {
        let line =
            |(at, seen): (usize, &Seen)| Line { at_us: at as u64 * 1000, seen: seen.clone() };
        self.seen.iter().enumerate().map(line).collect()
    }

    pub fn verdict(&self) -> Verdict {
        check(&self.lines())
    }

    /// It is flagged by exactly these; prints what a person would see.
    #[track_caller]
    pub fn breaks(&self, expected: &[Invariant]) {
        let verdict = self.verdict();
        let found: Vec<_> = verdict.violations.iter().map(|found| found.invariant).collect();
        assert_eq!(found, expected, "{verdict}");
        for violation in &verdict.violations {
            let text = violation.to_string();
            assert!(text.lines().count() <= 30, "a witness is short:\n{text}");
            println!("{text}");
        }
    }
}
