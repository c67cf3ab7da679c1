//! Bugs that are planted on purpose, to see that the proof finds them.
//!
//! Each one is a mistake that a hurried hand makes and that loses, doubles or reorders events. They
//! exist only with the feature `bugs`, which nothing that is released turns on; without it
//! [`is_planted`] is a constant `false` and the code behind it is not compiled in. With it, one bug
//! at a time is chosen at run time, for the whole process.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bug {
    /// A replica counts a job as durable as soon as it is handed to the writer.
    AckBeforeFsync = 1,
    /// The writer says that a batch is durable without an fdatasync.
    CallbackBeforeFsync,
    /// A job that carries nothing but term, vote and commit is not synced.
    VoteNotSynced,
    /// After a failed fdatasync the writer tries again and goes on.
    RetryFsync,
    /// A follower's answers leave before what they promise is durable.
    ResponseBeforePersist,
    /// Events are delivered when their entry is appended, before it is committed.
    DispatchOnAppend,
    /// What recovery finds behind the durable mark counts as durable, without being rewritten.
    TailCountedBeforeRewrite,
    /// Recovery leaves what stands behind the end of the log.
    SkipTruncateSync,
    /// Recovery ends the log at the first bad frame, whatever follows.
    TruncateOnMidlogCrc,
    /// Folders are never synced.
    NoDirFsync,
    /// A segment's first frame does not restate term, vote and commit.
    PurgeDropsHardState,
    /// The log is purged although no checkpoint of that entry is durable.
    PurgeBeforeSnapshotSync,
    /// The last number seen from a producer is all that is remembered of it.
    HwmDedup,
    /// A floor moves to the highest ack, over gaps.
    CursorMaxNotContiguous,
    /// An event is acked when it is handed out.
    CursorBeforeEffect,
    /// Outcomes count whoever owns the lane by now.
    NoLeaseEpoch,
    /// A dead letter is written after its event is settled.
    DlqAfterCursor,
    /// Events for which there is no room are forgotten.
    DropOnFull,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::AckBeforeFsync,
        Self::CallbackBeforeFsync,
        Self::VoteNotSynced,
        Self::RetryFsync,
        Self::ResponseBeforePersist,
        Self::DispatchOnAppend,
        Self::TailCountedBeforeRewrite,
        Self::SkipTruncateSync,
        Self::TruncateOnMidlogCrc,
        Self::NoDirFsync,
        Self::PurgeDropsHardState,
        Self::PurgeBeforeSnapshotSync,
        Self::HwmDedup,
        Self::CursorMaxNotContiguous,
        Self::CursorBeforeEffect,
        Self::NoLeaseEpoch,
        Self::DlqAfterCursor,
        Self::DropOnFull,
    ];

    /// Its name in commands and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeFsync => "ack-before-fsync",
            Self::CallbackBeforeFsync => "callback-before-fsync",
            Self::VoteNotSynced => "vote-not-synced",
            Self::RetryFsync => "retry-fsync",
            Self::ResponseBeforePersist => "response-before-persist",
            Self::DispatchOnAppend => "dispatch-on-append",
            Self::TailCountedBeforeRewrite => "tail-counted-before-rewrite",
            Self::SkipTruncateSync => "skip-truncate-sync",
            Self::TruncateOnMidlogCrc => "truncate-on-midlog-crc",
            Self::NoDirFsync => "no-dir-fsync",
            Self::PurgeDropsHardState => "purge-drops-hard-state",
            Self::PurgeBeforeSnapshotSync => "purge-before-snapshot-sync",
            Self::HwmDedup => "hwm-dedup",
            Self::CursorMaxNotContiguous => "cursor-max-not-contiguous",
            Self::CursorBeforeEffect => "cursor-before-effect",
            Self::NoLeaseEpoch => "no-lease-epoch",
            Self::DlqAfterCursor => "dlq-after-cursor",
            Self::DropOnFull => "drop-on-full",
        }
    }

    /// The bug of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

#[cfg(feature = "bugs")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Whether the bug is planted in this process.
#[cfg(feature = "bugs")]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether the bug is planted in this process: never, without the feature `bugs`.
#[cfg(not(feature = "bugs"))]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}

/// Plants a bug in this process in place of the one that is there; `None` only takes it out.
#[cfg(feature = "bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), std::sync::atomic::Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bug that nobody can name is never planted, and then nothing shows that it is found.
    #[test]
    fn every_bug_has_a_name_of_its_own() {
        for bug in Bug::ALL {
            assert_eq!(Bug::named(bug.name()), Some(bug));
        }
        assert_eq!(Bug::named("none"), None);
    }
}
