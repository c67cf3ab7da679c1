//! What a run is to be: chosen by its seed, or written down by a test.

use tidings_check::history::Run;
use tidings_types::limits::WORKER_WINDOW_EVENTS;

use crate::chance::Chance;
use crate::fault::{self, Fault};
use crate::net::Noise;

const SECOND: u64 = 1_000_000;

/// The id that the topic of this number gets.
pub(crate) const fn topic_id(number: u32) -> u32 {
    number + 1
}

/// Of a thousand attempts, so many end so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Handlers {
    pub(crate) fail: u64,
    pub(crate) fatal: u64,
    pub(crate) panic: u64,
    pub(crate) hang: u64,
    /// The process ends.
    pub(crate) kill: u64,
    /// An event is published with the ack.
    pub(crate) emit: u64,
}

impl Handlers {
    fn random(chance: &mut Chance) -> Self {
        let mut some = |percent, most| if chance.percent(percent) { chance.below(most) } else { 0 };
        Self {
            fail: some(70, 200),
            fatal: some(40, 30),
            panic: some(40, 40),
            hang: some(30, 20),
            kill: some(20, 4),
            emit: some(50, 200),
        }
    }
}

/// See the module's description. Times in microseconds.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) seed: u64,
    /// Replicas.
    pub(crate) n_stores: usize,
    /// Nodes without a replica.
    pub(crate) n_services: usize,
    /// For how long there is load and faults.
    pub(crate) load_us: u64,
    /// Publishes in that time.
    pub(crate) n_calls: u64,
    pub(crate) n_topics: u32,
    pub(crate) n_keys: u64,
    /// Each group's topics, by their number.
    pub(crate) groups: Vec<Vec<u32>>,
    pub(crate) noise: Noise,
    /// How slow and how fast monotonic clocks run, in thousandths of what is right.
    pub(crate) clock_rates: (u64, u64),
    pub(crate) segment_bytes: u64,
    pub(crate) tail_bytes_max: usize,
    /// Of each group the nodes that serve it.
    pub(crate) serving: Vec<Vec<usize>>,
    /// Workers of each group on each of them.
    pub(crate) n_workers: u32,
    pub(crate) handlers: Handlers,
    /// An event is given up after so many attempts.
    pub(crate) attempts_max: u32,
    /// The shortest bound of a back-off.
    pub(crate) retry_min_ms: u64,
    /// Calls that must be told that they are stored, or the run proves nothing.
    pub(crate) acknowledged_min: u64,
    /// Between two checkpoints.
    pub(crate) tidy_every_us: u64,
    /// When what happens, in that order.
    pub(crate) faults: Vec<(u64, Fault)>,
    /// Lines of the trace are wanted.
    pub(crate) wants_trace: bool,
}

impl Plan {
    /// All that the seed says, for so many replicas.
    pub fn random(n_stores: usize, seed: u64) -> Self {
        let chance = &mut Chance::new(seed ^ (n_stores as u64).rotate_left(40) ^ 0x7469_6469_6E67);
        let load_us = 20 * SECOND;
        let is_noisy = chance.percent(60) && n_stores > 1;
        let noise = Noise {
            drop_percent: if is_noisy { chance.below(6) } else { 0 },
            double_percent: if is_noisy { chance.below(6) } else { 0 },
            late_percent: if is_noisy { chance.below(8) } else { 0 },
            late_us: 300_000,
        };
        let sizes = [96 << 10, 96 << 10, 128 << 10, 256 << 10];
        let n_services = chance.pick(&[0, 0, 0, 1, 2]).unwrap_or_default();
        let n_topics = chance.between(2, 3) as u32;
        // The first group's handlers publish to the last topic, so it must not read that one.
        let groups = match chance.below(10) {
            0 => Vec::new(),
            1..5 => vec![(0..n_topics - 1).collect()],
            _ => vec![(0..n_topics - 1).collect(), (0..n_topics).collect()],
        };
        let n_nodes = n_stores + n_services;
        let serving = groups.iter().map(|_: &Vec<u32>| {
            let mut nodes: Vec<usize> = (0..n_nodes).filter(|_| chance.percent(60)).collect();
            if nodes.is_empty() {
                nodes.push(chance.below(n_nodes as u64) as usize);
            }
            nodes
        });
        let serving = serving.collect();
        Self {
            seed,
            n_stores,
            n_services,
            load_us,
            n_calls: chance.between(150, 250),
            n_topics,
            n_keys: chance.between(1, 12),
            groups,
            serving,
            n_workers: chance.between(1, 3) as u32,
            handlers: Handlers::random(chance),
            noise,
            clock_rates: chance.pick(&[(1_000, 1_000), (990, 1_010)]).unwrap_or((1_000, 1_000)),
            segment_bytes: chance.pick(&sizes).unwrap_or(96 << 10),
            tail_bytes_max: chance.pick(&[8 << 10, 64 << 10, 64 << 20]).unwrap_or(64 << 20),
            attempts_max: chance.between(2, 5) as u32,
            retry_min_ms: chance.pick(&[0, 5, 50, 50]).unwrap_or(50),
            acknowledged_min: 20,
            tidy_every_us: chance
                .pick(&[SECOND, 3 * SECOND, 7 * SECOND, 3_600 * SECOND])
                .unwrap_or(SECOND),
            faults: fault::schedule(chance, n_stores, load_us),
            wants_trace: false,
        }
    }

    /// Whether a node serves each group.
    pub(crate) fn serves(&self, at: usize) -> Vec<bool> {
        self.serving.iter().map(|nodes| nodes.contains(&at)).collect()
    }

    /// Bytes of events that a process takes before one is answered. All of them may go into one
    /// section, and that must get past what a leader holds.
    pub(crate) const fn admitted_bytes_max(&self) -> usize {
        self.segment_bytes as usize / 4
    }

    /// Bytes of proposals that a leader holds: all of them may go into one entry, and a segment
    /// must hold that, with outcomes.
    pub(crate) const fn uncommitted_bytes_max(&self) -> usize {
        self.segment_bytes as usize / 3
    }

    /// Whether its groups have workers.
    pub(crate) fn is_served(&self) -> bool {
        !self.groups.is_empty()
    }

    /// A quiet run with these faults alone.
    #[cfg(test)]
    pub(crate) fn of(n_stores: usize, seed: u64, faults: Vec<(u64, Fault)>) -> Self {
        let groups = vec![vec![0], vec![0, 1]];
        let serving = groups.iter().map(|_| (0..n_stores).collect()).collect();
        Self {
            seed,
            n_stores,
            n_services: 1,
            load_us: 8 * SECOND,
            n_calls: 200,
            n_topics: 2,
            n_keys: 6,
            groups,
            serving,
            n_workers: 2,
            handlers: Handlers::default(),
            noise: Noise::default(),
            clock_rates: (1_000, 1_000),
            segment_bytes: 64 << 10,
            tail_bytes_max: 64 << 10,
            attempts_max: 3,
            retry_min_ms: 50,
            acknowledged_min: 50,
            tidy_every_us: 3_600 * SECOND,
            faults,
            wants_trace: false,
        }
    }

    /// What the checker is told of it.
    pub(crate) fn run(&self) -> Run {
        let topics = |reads: &Vec<u32>| reads.iter().map(|topic| topic_id(*topic)).collect();
        Run {
            seed: self.seed,
            n_voters: self.n_stores as u32,
            groups: (1..).zip(self.groups.iter().map(topics)).collect(),
            attempts_max: self.attempts_max,
            worker_in_flight_max: WORKER_WINDOW_EVENTS as u64,
            acknowledged_min: self.acknowledged_min,
            faults_min: 0,
        }
    }

    /// The same, with lines of what happens.
    #[must_use]
    pub fn traced(self) -> Self {
        Self { wants_trace: true, ..self }
    }
}
