//! When a checkpoint is proposed, written, and what may be purged behind it.
//!
//! ```text
//!   leader: due ──▶ Checkpoint entry ──applied──▶ every replica: clone ──▶ written elsewhere
//!   Purge entry ──applied──▶ wanted ──▶ purged up to the newest checkpoint here that it covers
//! ```
//!
//! A log is purged up to one of its own checkpoints only, and that one stays: a newcomer begins with
//! it and gets every entry behind, so it holds the same events as everyone.
//!
//! One at a time: a replica that still writes the last one passes an entry over, so that a slow
//! disk never holds two copies of the state in memory. Neither does one begin while a purge is on its
//! way to the disk: with it goes the one up to which the log was purged before, and a crash may take
//! the purge back.
//!
//! One that could not be written is given up; the next one comes by the same rules, after a pause.

use std::collections::BTreeSet;
use std::time::Duration;

use tidings_types::bugs::{Bug, is_planted};
use tidings_types::limits::{
    CHECKPOINT_EVERY, CHECKPOINT_EVERY_BYTES, CHECKPOINT_RETRY_AFTER, CHECKPOINTS_KEPT,
};
use tidings_types::offset::LogIndex;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// Those that are durable here.
    durable: BTreeSet<LogIndex>,
    writing: Option<LogIndex>,
    is_proposed: bool,
    /// When the newest one was made, or this replica started.
    made_at: Duration,
    /// None is proposed before, since writing the last one failed.
    paused_until: Duration,
    purge: Option<LogIndex>,
    /// The job of a purge that is not durable.
    purging: Option<u64>,
}

impl Checkpoints {
    /// Those that were on the disk at the start.
    pub(crate) fn new(durable: &[LogIndex], now: Duration) -> Self {
        Self {
            durable: durable.iter().copied().collect(),
            writing: None,
            is_proposed: false,
            made_at: now,
            paused_until: Duration::ZERO,
            purge: None,
            purging: None,
        }
    }

    /// Whether a leader proposes one now. Says so once.
    pub(crate) fn is_due(&mut self, changed: LogIndex, n_bytes: u64, now: Duration) -> bool {
        if self.is_proposed || self.writing.is_some() || changed <= self.newest() {
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
        if self.writing.is_some() || self.purging.is_some() {
            return false;
        }
        self.writing = Some(index);
        self.made_at = now;
        true
    }

    fn newest(&self) -> LogIndex {
        self.durable.last().copied().unwrap_or_default()
    }

    /// The one that was begun is durable; old ones went, but not the one up to which the log is
    /// purged.
    pub(crate) fn written(&mut self, index: LogIndex, purged: LogIndex) {
        if self.writing == Some(index) {
            self.writing = None;
        }
        self.durable.insert(index);
        let oldest_kept = self.durable.iter().rev().nth(CHECKPOINTS_KEPT - 1).copied();
        let oldest_kept = oldest_kept.unwrap_or_default();
        self.durable.retain(|&index| index == purged || oldest_kept <= index);
    }

    /// A snapshot is durable, and the log begins behind it.
    pub(crate) fn restored(&mut self, index: LogIndex, now: Duration) {
        self.durable.insert(index);
        self.made_at = now;
        self.purge = None;
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

    /// The log is being purged, by this job of its writer.
    pub(crate) const fn purging(&mut self, job: u64) {
        self.purging = Some(job);
    }

    /// What the log's writer was given up to this job is durable.
    pub(crate) fn persisted(&mut self, job: u64) {
        self.purging = self.purging.filter(|&purging| job < purging);
    }

    /// The index to purge up to beyond what is purged already, once it is safe. Says so once.
    pub(crate) fn purge(&mut self, purged: LogIndex) -> Option<LogIndex> {
        let wanted = self.purge?;
        if is_planted(Bug::PurgeBeforeSnapshotSync) {
            return self.purge.take();
        }
        // That one will do better, or with it goes what was not known to stay when it began.
        if self.writing.is_some() {
            return None;
        }
        self.purge = None;
        let best = self.durable.range(..=wanted).next_back().copied();
        best.filter(|&best| purged < best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_is_due_after_bytes_or_time_with_changes() {
        let at = |seconds| Duration::from_secs(seconds);
        let index = LogIndex::new;
        let mut checkpoints = Checkpoints::new(&[index(10)], at(0));
        assert!(!checkpoints.is_due(index(10), u64::MAX, at(700)), "nothing changed");
        assert!(!checkpoints.is_due(index(11), 5, at(599)));
        assert!(checkpoints.is_due(index(11), 5, at(600)));
        assert!(!checkpoints.is_due(index(11), 5, at(601)), "it is proposed already");
        assert!(checkpoints.begin(index(12), at(601)));
        assert!(!checkpoints.begin(index(13), at(602)), "one at a time");
        checkpoints.want_purge(index(12));
        let purged = LogIndex::ZERO;
        assert_eq!(checkpoints.purge(purged), None, "not durable here");
        checkpoints.written(index(12), purged);
        assert_eq!((checkpoints.purge(purged), checkpoints.purge(purged)), (Some(index(12)), None));
        assert!(checkpoints.is_due(index(14), CHECKPOINT_EVERY_BYTES, at(602)));
    }

    /// One failed write must not be the end of checkpoints, nor lead to the next one at once.
    #[test]
    fn failed_checkpoint_is_followed_by_another_after_a_pause() {
        let at = |seconds| Duration::from_secs(seconds);
        let index = LogIndex::new;
        let enough = CHECKPOINT_EVERY_BYTES;
        let mut checkpoints = Checkpoints::new(&[index(10)], at(0));
        assert!(checkpoints.is_due(index(11), enough, at(1)));
        assert!(checkpoints.begin(index(12), at(1)));
        checkpoints.want_purge(index(12));
        checkpoints.failed(index(11), at(2));
        assert!(!checkpoints.begin(index(13), at(2)), "another one failed, long ago");
        checkpoints.failed(index(12), at(5));
        assert_eq!(checkpoints.purge(index(10)), None, "no newer one is durable");
        assert!(!checkpoints.is_due(index(11), enough, at(64)), "the pause");
        assert!(checkpoints.is_due(index(11), enough, at(65)));
        assert!(checkpoints.begin(index(14), at(65)));
        checkpoints.failed(index(14), at(66));
        assert!(!checkpoints.is_due(index(11), 5, at(664)), "time counts from the last attempt");
        assert!(checkpoints.is_due(index(11), 5, at(665)));
        assert!(checkpoints.begin(index(15), at(665)));
    }

    /// While one is written, the older ones go but for that up to which the log was purged when it
    /// began: a purge in between would leave the log without its checkpoint.
    #[test]
    fn nothing_is_purged_while_a_checkpoint_is_written() {
        let index = LogIndex::new;
        let durable = [5, 10, 20, 30, 40].map(index);
        let mut checkpoints = Checkpoints::new(&durable, Duration::ZERO);
        assert!(checkpoints.begin(index(50), Duration::ZERO));
        checkpoints.want_purge(index(10));
        assert_eq!(checkpoints.purge(index(5)), None, "that of 10 is about to go");
        checkpoints.written(index(50), index(5));
        assert_eq!(checkpoints.purge(index(5)), None, "it went");
        assert!(checkpoints.begin(index(60), Duration::ZERO));
        checkpoints.want_purge(index(50));
        checkpoints.failed(index(60), Duration::ZERO);
        assert_eq!(checkpoints.purge(index(5)), Some(index(50)), "once nothing is written");
    }

    /// A purge that is not durable may be taken back by a crash: the checkpoint of the one before it
    /// must still be there then. Try to write another one meanwhile.
    #[test]
    fn no_checkpoint_begins_while_a_purge_is_written() {
        let index = LogIndex::new;
        let durable = [10, 20, 30, 40].map(index);
        let mut checkpoints = Checkpoints::new(&durable, Duration::ZERO);
        checkpoints.want_purge(index(20));
        assert_eq!(checkpoints.purge(index(10)), Some(index(20)));
        checkpoints.purging(7);
        checkpoints.persisted(6);
        assert!(!checkpoints.begin(index(50), Duration::ZERO), "that of 10 would go");
        checkpoints.persisted(8);
        assert!(checkpoints.begin(index(51), Duration::ZERO));
    }

    /// Whoever purges must hold the checkpoint of that very entry: try to purge with one that was
    /// passed over, and to lose the one that newcomers need to newer ones.
    #[test]
    fn purge_goes_up_to_a_checkpoint_that_stays() {
        let index = LogIndex::new;
        let mut checkpoints = Checkpoints::new(&[index(10)], Duration::ZERO);
        checkpoints.want_purge(index(20));
        assert_eq!(checkpoints.purge(LogIndex::ZERO), Some(index(10)), "that of 20 is not here");
        checkpoints.want_purge(index(25));
        assert_eq!(checkpoints.purge(index(10)), None);
        for at in 30..40 {
            checkpoints.written(index(at), index(10));
        }
        checkpoints.want_purge(index(35));
        assert_eq!(checkpoints.purge(index(10)), None, "it went, and only that of 10 was kept");
        checkpoints.want_purge(index(38));
        assert_eq!(checkpoints.purge(index(10)), Some(index(38)));
    }
}
