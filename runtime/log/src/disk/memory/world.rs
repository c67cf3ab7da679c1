//! What all files of a disk in memory share: how much room there is, what fails, who watches.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::faults::{Asked, Call, Failure, Faults};
use crate::disk::watch::Watch;

/// See the module's description.
pub(super) struct World {
    pub(super) faults: Faults,
    pub(super) is_read_only: AtomicBool,
    /// Changes that still succeed; then none does until the power went.
    pub(super) changes_left: AtomicU64,
    /// Of the change that fails then, if it is a write: so many bytes are written, counted around.
    pub(super) torn: AtomicU64,
    pub(super) n_changes: AtomicU64,
    pub(super) n_syncs: AtomicU64,
    /// What files may still grow by.
    pub(super) free_bytes: AtomicU64,
    pub(super) salt: AtomicU64,
    /// Counts crashes.
    pub(super) life: AtomicU64,
    pub(super) watch: OnceLock<Arc<dyn Watch>>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            is_read_only: AtomicBool::new(false),
            changes_left: AtomicU64::new(u64::MAX),
            torn: AtomicU64::new(0),
            n_changes: AtomicU64::new(0),
            n_syncs: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX / 2),
            salt: AtomicU64::new(1),
            life: AtomicU64::new(0),
            watch: OnceLock::new(),
        }
    }
}

fn plain(error: io::Error) -> Failure {
    Failure { error, kept: 0, is_end: false }
}

impl World {
    pub(super) fn watch(&self) -> Option<&dyn Watch> {
        self.watch.get().map(|watch| &**watch)
    }

    /// Before a call that changes nothing.
    pub(super) fn ask(
        &self,
        call: Call,
        path: impl FnOnce() -> Arc<str>,
        range: Range<u64>,
    ) -> io::Result<()> {
        if !self.faults.is_any() {
            return Ok(());
        }
        let asked = Asked { call, path: &path(), range };
        self.faults.ask(&asked).map_err(|failure| failure.error)
    }

    /// Before a call that changes something.
    pub(super) fn ask_change(
        &self,
        call: Call,
        path: impl FnOnce() -> Arc<str>,
        range: Range<u64>,
    ) -> Result<(), Failure> {
        self.n_changes.fetch_add(1, Ordering::Relaxed);
        if self.is_read_only.load(Ordering::Relaxed) {
            return Err(plain(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        let n_bytes = range.end - range.start;
        if self.faults.is_any() {
            self.faults.ask(&Asked { call, path: &path(), range })?;
        }
        let left = self.changes_left.load(Ordering::Relaxed);
        if left == u64::MAX {
            return Ok(());
        }
        let Some(less) = left.checked_sub(1) else {
            // Only the first one is torn: then the power is gone.
            let torn = self.torn.swap(0, Ordering::Relaxed);
            let kept = if call == Call::Write { torn % (n_bytes + 1) } else { 0 };
            return Err(Failure { error: io::Error::other("planned end"), kept, is_end: true });
        };
        self.changes_left.store(less, Ordering::Relaxed);
        Ok(())
    }

    /// Takes room for a file to grow by so much; if there is less, all of that, which comes with the
    /// error.
    pub(super) fn take_space(&self, n_bytes: u64) -> (u64, Result<(), Failure>) {
        let free = self.free_bytes.load(Ordering::Relaxed);
        let taken = free.min(n_bytes);
        self.free_bytes.store(free - taken, Ordering::Relaxed);
        let is_room = taken == n_bytes;
        (taken, if is_room { Ok(()) } else { Err(plain(io::ErrorKind::StorageFull.into())) })
    }
}
