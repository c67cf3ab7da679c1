//! Cluster time as the core last told it, for the dispatcher, whose clock it is.
//!
//! One atomic: the difference between cluster time and this process's monotonic time. Between two
//! words of the replica, cluster time goes on at the pace of the monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct ClusterTime {
    /// Cluster time minus monotonic time, in milliseconds. It alone is shared, so that no order
    /// between two words matters.
    ahead_ms: AtomicU64,
}

impl ClusterTime {
    /// The replica's word.
    pub(crate) fn show(&self, cluster_ms: u64, mono: Duration) {
        let ahead_ms = cluster_ms.saturating_sub(millis(mono));
        // Never back: a timer that has rung must stay due.
        self.ahead_ms.fetch_max(ahead_ms, Ordering::Relaxed);
    }

    /// Cluster time as a duration since 1970, finer than its millisecond by the monotonic clock.
    pub(crate) fn at(&self, mono: Duration) -> Duration {
        Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed)) + mono
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
