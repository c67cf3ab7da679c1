//! What was seen of a run, one line of JSON for each thing, in the order in which it was seen.
//!
//! One process writes it, with one monotonic clock, and never on a disk of the system under test.
//! Numbers stand for names, so that a simulator can write millions of them.

use serde::{Deserialize, Serialize};

pub mod jsonl;

/// One event of the run. The publisher gives the number and writes it into the payload; no two
/// events of a run share one.
pub type Event = u64;

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the run began; never less than in the line before.
    pub at_us: u64,
    /// What was seen.
    #[serde(flatten)]
    pub seen: Seen,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum Seen {
    /// The run begins. The first line, and only that.
    Run(Run),
    /// A publisher calls.
    Publish {
        /// Names the call.
        op: u64,
        /// Who calls.
        publisher: u32,
        /// What it wants stored, in this order.
        events: Vec<(Event, Key)>,
        /// To which topic.
        topic: u32,
        /// Place in the pipeline of one producer: its calls are stored in this order. Calls without
        /// a place are ordered by time alone.
        place: Option<u64>,
    },
    /// It was told that all its events are stored.
    Published {
        /// The call.
        op: u64,
        /// Offset of its first event; the others follow.
        first: u64,
    },
    /// It was told that surely nothing is stored.
    Refused {
        /// The call.
        op: u64,
        /// The error's code.
        error: String,
    },
    /// It was told nothing that can be relied on: no answer, or one that leaves it open.
    Unknown {
        /// The call.
        op: u64,
        /// The error's code.
        error: String,
    },
    /// A node made an event durable: an fdatasync that covered it returned.
    Durable {
        /// The node.
        node: u32,
        /// The event.
        event: Event,
    },
    /// A node said that events got their place; on every node, each time that it says so.
    Placed {
        /// The node.
        node: u32,
        /// The topic.
        topic: u32,
        /// Offset of the first.
        first: u64,
        /// Which.
        events: Vec<Event>,
    },
    /// A handler begins with an event.
    Started {
        /// The group.
        group: u32,
        /// The node whose worker it is.
        node: u32,
        /// The worker.
        worker: u64,
        /// The topic.
        topic: u32,
        /// The event's offset.
        offset: u64,
        /// The event, as its payload says.
        event: Event,
        /// Its key, as its payload says.
        key: Key,
        /// Whether the payload is the one that was published.
        is_whole: bool,
        /// 1 is the first.
        attempt: u32,
        /// The lane epoch, if the handler can know it.
        epoch: Option<u64>,
    },
    /// A handler has ended.
    Ended {
        /// The group.
        group: u32,
        /// The node whose worker it is.
        node: u32,
        /// The worker.
        worker: u64,
        /// The topic.
        topic: u32,
        /// The event's offset.
        offset: u64,
        /// How.
        outcome: Outcome,
    },
    /// A worker is gone, with all that it had begun and not ended.
    WorkerGone {
        /// The group.
        group: u32,
        /// The node.
        node: u32,
        /// The worker.
        worker: u64,
    },
    /// The log took an outcome of a group: what is settled here never comes again.
    Settled {
        /// The group.
        group: u32,
        /// The topic.
        topic: u32,
        /// The first event.
        first: u64,
        /// How many.
        n_events: u64,
        /// They became dead letters.
        is_dead: bool,
    },
    /// A group's floor on a topic, as a node tells it.
    Floor {
        /// The node.
        node: u32,
        /// The group.
        group: u32,
        /// The topic.
        topic: u32,
        /// The first event without an ack.
        floor: u64,
    },
    /// A dead letter of a group, as it is listed at the end.
    DeadLetter {
        /// The group.
        group: u32,
        /// The topic.
        topic: u32,
        /// The event's offset.
        offset: u64,
        /// The event, as its payload says.
        event: Event,
        /// Attempts that were made.
        attempts: u32,
        /// Whether it was given up before the last attempt.
        is_fatal: bool,
    },
    /// An event as a node's log gives it when it is read.
    Read {
        /// The node.
        node: u32,
        /// The topic.
        topic: u32,
        /// The offset.
        offset: u64,
        /// The event, as its payload says.
        event: Event,
        /// Whether the payload is the one that was published.
        is_whole: bool,
    },
    /// A node's log was read from this offset to its end: what there is, `Read` lines name.
    ReadThrough {
        /// The node.
        node: u32,
        /// The topic.
        topic: u32,
        /// The first offset that it still has.
        start: u64,
        /// The next offset.
        end: u64,
    },
    /// A member was taken out of a group: what it still runs counts no more.
    Removed {
        /// The group.
        group: u32,
        /// The member's node.
        node: u32,
    },
    /// A digest of a node's state after an entry.
    Digest {
        /// The node.
        node: u32,
        /// The entry.
        index: u64,
        /// The digest.
        digest: u64,
    },
    /// Where a replica stands.
    Status {
        /// The node.
        node: u32,
        /// Its term.
        term: u64,
        /// Whether it leads.
        leads: bool,
        /// Up to where it knows entries to be committed.
        commit: u64,
        /// Up to where it has applied them.
        applied: u64,
        /// Its last entry.
        last: u64,
    },
    /// A node started.
    Up {
        /// The node.
        node: u32,
    },
    /// A node ended, by whatever cause.
    Down {
        /// The node.
        node: u32,
        /// Deliveries that were out to its workers at most: each may come again.
        in_flight: u64,
    },
    /// A node's disk is lost for good; a fresh node takes its place.
    DiskLost {
        /// The node.
        node: u32,
    },
    /// Something was done to the system.
    Fault {
        /// What, in words.
        what: String,
        /// To which node, if to one.
        node: Option<u32>,
        /// Whether it took hold.
        installed: Installed,
    },
    /// A part of a node panicked or broke an assertion, and nothing that was done to it asked for
    /// that.
    Panicked {
        /// The node.
        node: u32,
        /// What it said.
        message: String,
    },
    /// All faults are over.
    Healed,
    /// The run ends. The last line of one that was not cut short.
    End,
}

/// An event's key, as a number; events of one key are handled in order.
pub type Key = u64;

/// What the run was to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Repeats the run, as far as it can be repeated.
    pub seed: u64,
    /// How many replicas vote.
    pub n_voters: u32,
    /// Which groups read which topics.
    pub groups: Vec<(u32, Vec<u32>)>,
    /// An event is given up after so many attempts.
    pub attempts_max: u32,
    /// Deliveries that may come again after a death of a worker alone.
    pub worker_in_flight_max: u64,
    /// Acknowledged publishes without which the run proves nothing.
    pub acknowledged_min: u64,
    /// Faults that must have taken hold, each with an acknowledged publish near it.
    pub faults_min: u64,
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It succeeded.
    Done,
    /// It failed and will be tried again.
    Again,
    /// It failed, and the event is given up.
    Dead,
    /// It is not known how: its process ended first.
    Lost,
}

/// Whether a fault took hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Installed {
    /// It did.
    Yes,
    /// It was passed over.
    Skipped,
    /// Nobody can say.
    Unclear,
}
