//! Calls that fail because a test wants it so.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A file is made or emptied.
    Create,
    /// Bytes are written.
    Write,
    /// Bytes are read.
    Read,
    /// A file's bytes are made durable.
    Sync,
    /// A file gets another name.
    Rename,
    /// A file is removed.
    Remove,
    /// A folder's names are made durable.
    SyncDir,
    /// A folder is made that was not there.
    MakeDir,
}

impl Call {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Write => "write",
            Self::Read => "read",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::SyncDir => "folder sync",
            Self::MakeDir => "folder",
        }
    }
}

/// A plan for some calls to fail. A failed sync leaves the pages clean and not durable, as Linux
/// does; the next one is `Ok`.
///
/// ```
/// use tidings_log::disk::{Call, Fault, MemoryDisk};
/// let disk = MemoryDisk::new();
/// disk.plan(Fault::on(Call::Read).of("log/").within(4096..8192).for_ever());
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    call: Option<Call>,
    path: String,
    range: Range<u64>,
    skipped: u64,
    times: u64,
    kept: u64,
    kind: io::ErrorKind,
}

impl Fault {
    /// The next call of that kind fails, whatever its path, once.
    pub fn on(call: Call) -> Self {
        Self { call: Some(call), ..Self::on_change() }
    }

    /// The next call of whatever kind fails, once; reads do not count.
    pub fn on_change() -> Self {
        let (path, range, kind) = (String::new(), 0..u64::MAX, io::ErrorKind::Other);
        Self { call: None, path, range, skipped: 0, times: 1, kept: 0, kind }
    }

    /// Only calls whose path holds this text.
    #[must_use]
    pub fn of(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Only reads and writes that touch these bytes of their file.
    #[must_use]
    pub fn within(mut self, range: Range<u64>) -> Self {
        self.range = range;
        self
    }

    /// So many of them succeed before.
    #[must_use]
    pub fn after(mut self, n_calls: u64) -> Self {
        self.skipped = n_calls;
        self
    }

    /// So many fail, one after the other.
    #[must_use]
    pub fn times(mut self, n_calls: u64) -> Self {
        self.times = n_calls;
        self
    }

    /// They fail until [`MemoryDisk::heal`](super::MemoryDisk::heal).
    #[must_use]
    pub fn for_ever(self) -> Self {
        self.times(u64::MAX)
    }

    /// A write that fails has written so many bytes before.
    #[must_use]
    pub fn having_written(mut self, n_bytes: u64) -> Self {
        self.kept = n_bytes;
        self
    }

    /// What kind of error it is; without this a plain one.
    #[must_use]
    pub fn kind(mut self, kind: io::ErrorKind) -> Self {
        self.kind = kind;
        self
    }
}

/// A call that is about to happen.
pub(super) struct Asked<'a> {
    pub(super) call: Call,
    pub(super) path: &'a str,
    pub(super) range: Range<u64>,
}

/// How it fails.
pub(super) struct Failure {
    pub(super) error: io::Error,
    /// Bytes that were written all the same.
    pub(super) kept: u64,
    /// The power goes before anything comes of the call.
    pub(super) is_end: bool,
}

/// The plans of a disk.
#[derive(Default)]
pub(super) struct Faults {
    /// So that a disk without any pays nothing.
    is_any: AtomicBool,
    plans: Mutex<Vec<Fault>>,
}

impl Faults {
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Relaxed)
    }

    pub(super) fn plan(&self, fault: Fault) {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
        self.is_any.store(true, Ordering::Relaxed);
    }

    pub(super) fn heal(&self) {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.is_any.store(false, Ordering::Relaxed);
    }

    /// Whether the call fails.
    pub(super) fn ask(&self, asked: &Asked<'_>) -> Result<(), Failure> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        for plan in plans.iter_mut() {
            let touches = plan.range.start < asked.range.end.max(asked.range.start + 1)
                && asked.range.start < plan.range.end;
            let is_call = plan.call.map_or(asked.call != Call::Read, |call| call == asked.call);
            if !is_call || !asked.path.contains(&plan.path) || !touches {
                continue;
            }
            if let Some(left) = plan.skipped.checked_sub(1) {
                plan.skipped = left;
            } else if let Some(left) = plan.times.checked_sub(1) {
                plan.times = if plan.times == u64::MAX { u64::MAX } else { left };
                let message = format!("planned {} error", asked.call.name());
                let error = io::Error::new(plan.kind, message);
                return Err(Failure { error, kept: plan.kept, is_end: false });
            }
        }
        Ok(())
    }
}
