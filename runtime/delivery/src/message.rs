//! What the members of groups and the leader say to each other.
//!
//! ```text
//!   member                                leader
//!     │ ── Resume (parts; the last one) ──▶ │   first of each session
//!     │ ── ServiceUp, WorkerUp … ─────────▶ │
//!     │ ◀───────────────────────── Deliver  │
//!     │ ── Report ────────────────────────▶ │   the outcomes are kept …
//!     │ ◀─────────────────────── Confirmed  │   … until here
//!     │ ── Ping ──▶        ◀── Pong         │   the lease
//! ```
//!
//! A session is ordered and may break at any point. It begins with a [`Resume`], which names all that
//! the member holds and all outcomes that nobody has confirmed. What is said in another session than
//! the current one counts for nothing, on both sides. What comes from another process is checked and
//! refused with a [`BadMessage`]; nothing that it may say is a panic here.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidings_types::id::{GroupId, Incarnation, TopicId, WorkerId};
use tidings_types::limits::{
    DELIVERY_EVENTS_MAX, GROUP_WORKERS_MAX, RESUME_BATCHES_MAX, RESUME_EVENTS_MAX,
    WORKER_WINDOW_EVENTS,
};
use tidings_types::offset::{LaneEpoch, Offset};

use crate::session::{BatchId, Delivery, Report, Verdict};

/// Names one session of one member: a later one is greater, over all starts of the member's node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SessionId {
    /// The member's incarnation.
    pub incarnation: Incarnation,
    /// Counts the sessions of this incarnation; the first is 1.
    pub number: u64,
}

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToLeader {
    /// The first words of a session.
    Resume(Resume),
    /// A service begins, or begins again after it drained. Its process is a member of the group.
    ServiceUp {
        /// Its group.
        group: GroupId,
        /// How many workers it will have.
        n_workers: u32,
    },
    /// A service ends: nothing more is to be handed to its workers.
    ServiceDraining {
        /// Its group.
        group: GroupId,
    },
    /// A worker takes batches.
    WorkerUp {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// Which life of the worker: a batch for another one reaches nobody.
        life: u64,
    },
    /// A worker is gone. What its reports did not name was not started.
    WorkerDown {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// Which life of the worker.
        life: u64,
    },
    /// A worker tells what became of what it was handed.
    Report {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// What it tells.
        report: Report,
    },
    /// The member lives.
    Ping {
        /// When it was sent, by the member's clock; comes back in the answer.
        sent: Duration,
    },
}

/// What the leader says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMember {
    /// The leader does not know the session: begin another one. Counts in any session.
    AskResume,
    /// Events for a worker.
    Deliver {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// Which life of the worker.
        life: u64,
        /// Names the batch in reports.
        batch: BatchId,
        /// At least one event.
        deliveries: Vec<Delivery>,
        /// Which of them were dead letters before, by their places, and by which redrive they came.
        redriven: Vec<(u32, u64)>,
    },
    /// Outcomes are in the log, or can never count: the member need not keep them any longer.
    Confirmed {
        /// Their group.
        group: GroupId,
        /// Batches, with a bit for each place in the batch.
        batches: Vec<(BatchId, u64)>,
    },
    /// What has not started of a batch must not start: it went elsewhere.
    Recall {
        /// Its group.
        group: GroupId,
        /// The batch.
        batch: BatchId,
    },
    /// The member was taken out of the group: nothing that it holds of it counts any more. If its
    /// service goes on, its process joins again.
    Removed {
        /// The group.
        group: GroupId,
        /// How often it was by now, this time included; it joins with this number.
        n_left: u32,
    },
    /// The answer to a ping.
    Pong {
        /// When the ping was sent, by the member's clock.
        sent: Duration,
    },
}

/// All that a member has, in one part or several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Its services and their workers.
    pub services: Vec<Serving>,
    /// What it holds, and outcomes that are not confirmed.
    pub batches: Vec<KeptBatch>,
    /// The highest batch that it was ever handed: no other may have a name up to it.
    pub newest_batch: BatchId,
    /// Which part it is, from 0 on: one that the leader did not take, because it did not lead yet,
    /// must not be taken for nothing.
    pub number: u32,
    /// No further part follows.
    pub is_last: bool,
}

/// A service of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// Its group.
    pub group: GroupId,
    /// It is draining.
    pub is_draining: bool,
    /// Its workers, each with its life.
    pub workers: Vec<(WorkerId, u64)>,
}

/// A batch of which a member holds something, or keeps outcomes. One that is long may be cut into
/// pieces, which follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBatch {
    /// Its group.
    pub group: GroupId,
    /// The worker that it was handed to.
    pub worker: WorkerId,
    /// The batch.
    pub batch: BatchId,
    /// How many events it had.
    pub n_events: u32,
    /// So many of them, from the front, have their outcome. The others are held.
    pub n_ended: u32,
    /// Those that are held, and those whose outcome is not confirmed, by place.
    pub events: Vec<KeptEvent>,
}

/// An event of a [`KeptBatch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEvent {
    /// Its place in the batch.
    pub place: u32,
    /// Its topic.
    pub topic: TopicId,
    /// Its offset.
    pub offset: Offset,
    /// The hash of its key.
    pub key_hash: u64,
    /// As it was delivered.
    pub lane_epoch: LaneEpoch,
    /// As it was delivered.
    pub attempt: u32,
    /// It was a dead letter before, and came by this redrive.
    pub redrive: Option<u64>,
    /// What became of it; nothing while it is held.
    pub verdict: Option<Verdict>,
}

/// A message that no member of ours sends. Its session ends.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadMessage {
    /// It names a group that does not exist.
    #[error("{group} does not exist")]
    NoSuchGroup {
        /// The group.
        group: GroupId,
    },
    /// It names an event that does not exist.
    #[error("{group} has no event {offset} of {topic}")]
    NoSuchEvent {
        /// The group.
        group: GroupId,
        /// The topic.
        topic: TopicId,
        /// The offset.
        offset: Offset,
    },
    /// It names a worker that there is not.
    #[error("{group} has no {worker} there")]
    NoSuchWorker {
        /// The group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
    },
    /// A report is not of what was handed out.
    #[error("report on batch {} does not match what was handed out", .batch.get())]
    OtherBatch {
        /// The batch.
        batch: BatchId,
    },
    /// A batch that is kept contradicts itself.
    #[error("batch {} cannot be kept: {why}", .batch.get())]
    BadBatch {
        /// The batch.
        batch: BatchId,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A service has more workers than it may have.
    #[error("{n_workers} workers exceed {GROUP_WORKERS_MAX}")]
    TooManyWorkers {
        /// How many.
        n_workers: usize,
    },
    /// It holds more than it can have been handed.
    #[error(
        "resume exceeds {RESUME_EVENTS_MAX} events or {RESUME_BATCHES_MAX} batches of a group, or \
         {WORKER_WINDOW_EVENTS} events of a worker"
    )]
    TooMuch,
    /// The numbers of batches are used up, which none of ours comes near.
    #[error("batches have numbers below {BATCHES_MAX}")]
    TooManyBatches,
}

/// No dispatcher gives a batch this number or a higher one.
pub(crate) const BATCHES_MAX: u64 = 1 << 62;

impl KeptBatch {
    /// Whether the batch fits together by itself.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(crate) fn check(&self) -> Result<(), BadMessage> {
        let bad = |why| Err(BadMessage::BadBatch { batch: self.batch, why });
        if self.n_events == 0 || DELIVERY_EVENTS_MAX < self.n_events as usize {
            return bad("it is empty or too long");
        }
        if self.n_events < self.n_ended || BATCHES_MAX <= self.batch.get() {
            return bad("its numbers cannot be");
        }
        let places = self.events.iter().map(|event| event.place);
        if !places.clone().is_sorted_by(|a, b| a < b) || places.clone().any(|n| self.n_events <= n)
        {
            return bad("its places are out of order");
        }
        let n_held = self.events.iter().filter(|event| event.verdict.is_none()).count();
        let is_fitting =
            |event: &KeptEvent| event.verdict.is_some() == (event.place < self.n_ended);
        if n_held as u32 != self.n_events - self.n_ended || !self.events.iter().all(is_fitting) {
            return bad("what is held does not follow what has ended");
        }
        if self.events.iter().any(|event| event.attempt == 0) {
            return bad("attempts count from 1");
        }
        Ok(())
    }

    /// It is another piece of the same batch.
    pub(crate) fn is_of_same(&self, other: &Self) -> bool {
        let numbers =
            |kept: &Self| (kept.group, kept.worker, kept.batch, kept.n_events, kept.n_ended);
        numbers(self) == numbers(other)
    }

    /// How many events are held.
    pub(crate) fn n_held(&self) -> usize {
        (self.n_events - self.n_ended) as usize
    }
}
