//! What this process remembers of attempts, for one event's story: a bounded ring, lost on restart.
//!
//! One plain lock: it is taken once for each report of up to 64 outcomes, and by whoever asks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_types::id::{GroupId, TopicId, WorkerId};
use tidings_types::limits::STORIES_KEPT;
use tidings_types::offset::Offset;

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) group: GroupId,
    pub(crate) topic: TopicId,
    pub(crate) offset: Offset,
    pub(crate) attempt: u32,
    pub(crate) worker: WorkerId,
    pub(crate) at_ms: u64,
    pub(crate) took: Duration,
    pub(crate) outcome: &'static str,
    /// Only failures have one, so that the common case allocates nothing.
    pub(crate) message: Option<Box<str>>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Stories {
    ring: Mutex<VecDeque<Attempt>>,
}

impl Stories {
    pub(crate) fn record(&self, attempts: impl Iterator<Item = Attempt>) {
        let mut ring = self.lock();
        for attempt in attempts {
            if ring.len() == STORIES_KEPT {
                ring.pop_front();
            }
            ring.push_back(attempt);
        }
    }

    /// The attempts on one event, oldest first.
    pub(crate) fn of(&self, topic: TopicId, offset: Offset) -> Vec<Attempt> {
        let is_meant = |attempt: &&Attempt| (attempt.topic, attempt.offset) == (topic, offset);
        self.lock().iter().filter(is_meant).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Attempt>> {
        // Each change is whole, so a ring that a panic poisoned is still sound.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
