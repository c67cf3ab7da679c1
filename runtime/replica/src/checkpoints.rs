//! When a checkpoint is proposed, written, and what may be purged behind it.
//!
//! ```text
//!   leader: due ──▶ Checkpoint entry ──applied──▶ every replica: clone ──▶ written elsewhere
//!   Purge entry ──applied──▶ wanted ──▶ purged, once a checkpoint of that index is durable here
//! ```
//!
//! One at a time: a replica that still writes the last one passes an entry over, so that a slow
//! disk never holds two copies of the state in memory.
//!
//! One that could not be written is given up; the next one comes by the same rules, after a pause.

use std::time::Duration;

use tidings_types::limits::{CHECKPOINT_EVERY, CHECKPOINT_EVERY_BYTES, CHECKPOINT_RETRY_AFTER};
use tidings_types::offset::LogIndex;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// The newest one that is durable here.
    durable: LogIndex,
    writing: Option<LogIndex>,
    is_proposed: bool,
    /// When the newest one was made, or this replica started.
    made_at: Duration,
    /// None is proposed before, since writing the last one failed.
    paused_until: Duration,
    purge: Option<LogIndex>,
}

impl Checkpoints {
    /// The one that the replica started from, 0 if none.
    pub(crate) const fn new(durable: LogIndex, now: Duration) -> Self {
        Self {
            durable,
            writing: None,
            is_proposed: false,
            made_at: now,
            paused_until: Duration::ZERO,
            purge: None,
        }
    }

    /// Whether a leader proposes one now. Says so once.
    pub(crate) fn is_due(&mut self, changed: LogIndex, n_bytes: u64, now: Duration) -> bool {
        if self.is_proposed || self.writing.is_some() || changed <= self.durable {
            return false;
        }
        // The bytes since the last durable one are as many as before: without the pause, a full
        // disk would be given a copy of the whole state at each tick.
        if now < self.paused_until {
            return false;
        }
        let is_old = CHECKPOINT_EVERY <= now.saturating_sub(self.made_at);
        self.is_proposed = is_old || CHECKPOINT_EVERY_BYTES <= n_bytes;
        self.is_proposed
    }

    /// Leadership ended, and with it what was proposed.
    pub(crate) fn lose(&mut self) {
        self.is_proposed = false;
    }

    /// A Checkpoint entry was applied. Whether this replica writes one.
    pub(crate) fn begin(&mut self, index: LogIndex, now: Duration) -> bool {
        self.is_proposed = false;
        if self.writing.is_some() {
            return false;
        }
        self.writing = Some(index);
        self.made_at = now;
        true
    }

    /// The one that was begun is durable.
    pub(crate) fn written(&mut self, index: LogIndex) {
        if self.writing == Some(index) {
            self.writing = None;
        }
        self.durable = self.durable.max(index);
    }

    /// The one that was begun could not be written.
    pub(crate) fn failed(&mut self, index: LogIndex, now: Duration) {
        if self.writing == Some(index) {
            self.writing = None;
            self.paused_until = now + CHECKPOINT_RETRY_AFTER;
        }
    }

    /// A Purge entry was applied.
    pub(crate) fn want_purge(&mut self, index: LogIndex) {
        self.purge = self.purge.max(Some(index));
    }

    /// The index to purge up to, once it is safe. Says so once.
    pub(crate) fn purge(&mut self) -> Option<LogIndex> {
        self.purge.take_if(|index| *index <= self.durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_is_due_after_bytes_or_time_with_changes() {
        let at = |seconds| Duration::from_secs(seconds);
        let index = LogIndex::new;
        let mut checkpoints = Checkpoints::new(index(10), at(0));
        assert!(!checkpoints.is_due(index(10), u64::MAX, at(700)), "nothing changed");
        assert!(!checkpoints.is_due(index(11), 5, at(599)));
        assert!(checkpoints.is_due(index(11), 5, at(600)));
        assert!(!checkpoints.is_due(index(11), 5, at(601)), "it is proposed already");
        assert!(checkpoints.begin(index(12), at(601)));
        assert!(!checkpoints.begin(index(13), at(602)), "one at a time");
        checkpoints.want_purge(index(12));
        assert_eq!(checkpoints.purge(), None, "not durable here");
        checkpoints.written(index(12));
        assert_eq!((checkpoints.purge(), checkpoints.purge()), (Some(index(12)), None));
        assert!(checkpoints.is_due(index(14), CHECKPOINT_EVERY_BYTES, at(602)));
    }

    /// One failed write must not be the end of checkpoints, nor lead to the next one at once.
    #[test]
    fn failed_checkpoint_is_followed_by_another_after_a_pause() {
        let at = |seconds| Duration::from_secs(seconds);
        let index = LogIndex::new;
        let enough = CHECKPOINT_EVERY_BYTES;
        let mut checkpoints = Checkpoints::new(index(10), at(0));
        assert!(checkpoints.is_due(index(11), enough, at(1)));
        assert!(checkpoints.begin(index(12), at(1)));
        checkpoints.want_purge(index(12));
        checkpoints.failed(index(11), at(2));
        assert!(!checkpoints.begin(index(13), at(2)), "another one failed, long ago");
        checkpoints.failed(index(12), at(5));
        assert_eq!(checkpoints.purge(), None, "nothing is durable");
        assert!(!checkpoints.is_due(index(11), enough, at(64)), "the pause");
        assert!(checkpoints.is_due(index(11), enough, at(65)));
        assert!(checkpoints.begin(index(14), at(65)));
        checkpoints.failed(index(14), at(66));
        assert!(!checkpoints.is_due(index(11), 5, at(664)), "time counts from the last attempt");
        assert!(checkpoints.is_due(index(11), 5, at(665)));
        assert!(checkpoints.begin(index(15), at(665)));
        checkpoints.written(index(15));
        assert_eq!(checkpoints.purge(), Some(index(12)));
    }
}
