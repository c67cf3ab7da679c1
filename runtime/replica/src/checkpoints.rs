//! When a checkpoint is proposed, written, and what may be purged behind it.
//!
//! ```text
//!   leader: due ──▶ Checkpoint entry ──applied──▶ every replica: clone ──▶ written elsewhere
//!   Purge entry ──applied──▶ wanted ──▶ purged, once a checkpoint of that index is durable here
//! ```
//!
//! One at a time: a replica that still writes the last one passes an entry over, so that a slow
//! disk never holds two copies of the state in memory.

use std::time::Duration;

use tidings_types::limits::{CHECKPOINT_EVERY, CHECKPOINT_EVERY_BYTES};
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
    purge: Option<LogIndex>,
}

impl Checkpoints {
    /// The one that the replica started from, 0 if none.
    pub(crate) const fn new(durable: LogIndex, now: Duration) -> Self {
        Self { durable, writing: None, is_proposed: false, made_at: now, purge: None }
    }

    /// Whether a leader proposes one now. Says so once.
    pub(crate) fn is_due(&mut self, changed: LogIndex, n_bytes: u64, now: Duration) -> bool {
        if self.is_proposed || self.writing.is_some() || changed <= self.durable {
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
}
