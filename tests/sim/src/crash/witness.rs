//! Knows from the disk alone what of the log's segments is written and not durable.

use std::sync::atomic::{AtomicU64, Ordering};

use tidings_log::disk::Watch;

/// See the module's description. It counts bytes of segments, whichever; when something is
/// acknowledged there must be none.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    unsynced: AtomicU64,
}

impl Witness {
    /// Bytes that are written to a segment and not durable.
    pub(crate) fn unsynced(&self) -> u64 {
        self.unsynced.load(Ordering::Relaxed)
    }
}

fn is_segment(path: &str) -> bool {
    path.ends_with(".seg")
}

impl Watch for Witness {
    fn wrote(&self, path: &str, _at: u64, bytes: &[u8]) {
        if is_segment(path) {
            self.unsynced.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }

    fn synced(&self, path: &str) {
        if is_segment(path) {
            self.unsynced.store(0, Ordering::Relaxed);
        }
    }

    // No later sync covers it; who goes on all the same is found out by the next crash.
    fn sync_failed(&self, _path: &str) {}

    fn crashed(&self) {
        self.unsynced.store(0, Ordering::Relaxed);
    }
}
