//! What the log's ends share: the events' index and tail, and a few numbers.
//!
//! One lock for index and tail, because a look-up needs both and each holds it for a few map steps
//! only; no I/O happens under it. The numbers are atomics, each meaningful alone.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_types::offset::Position;

use crate::block::Space;
use crate::contents::{Closed, Scan};
use crate::disk::Disk;
use crate::event_index::EventIndex;
use crate::event_tail::EventTail;
use crate::pace::Gauge;

/// Events by topic and offset.
#[derive(Default)]
pub(crate) struct Events {
    pub(crate) index: EventIndex,
    pub(crate) tail: EventTail,
}

/// See the module's description.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    events: Mutex<Events>,
    /// Closed segments whose entries are all applied: their index files can be written.
    to_file: Mutex<Vec<Closed>>,
    /// What reading entries by index found in segments without a file. Held across reads of the
    /// disk, so only those who wait for the disk anyway may take it.
    scans: Mutex<Vec<Scan>>,
    durable: AtomicU64,
    log_bytes: AtomicU64,
    space: AtomicU8,
    pub(crate) gauge: Gauge,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in between leaves at worst an event unindexed; the thread that panicked ends us.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            events: Mutex::default(),
            to_file: Mutex::default(),
            scans: Mutex::default(),
            durable: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            space: AtomicU8::new(Space::Plenty as u8),
            gauge: Gauge::default(),
        }
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Events> {
        lock(&self.events)
    }

    pub(crate) fn scans(&self) -> MutexGuard<'_, Vec<Scan>> {
        lock(&self.scans)
    }

    pub(crate) fn put_to_file(&self, closed: Closed) {
        lock(&self.to_file).push(closed);
    }

    pub(crate) fn take_to_file(&self) -> Vec<Closed> {
        std::mem::take(&mut *lock(&self.to_file))
    }

    pub(crate) fn durable(&self) -> Position {
        Position::new(self.durable.load(Ordering::Acquire))
    }

    /// The only caller has just seen its fdatasync return.
    pub(crate) fn set_durable(&self, position: Position) {
        self.durable.store(position.get(), Ordering::Release);
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_log_bytes(&self, n_bytes: u64) {
        self.log_bytes.store(n_bytes, Ordering::Relaxed);
    }

    pub(crate) fn space(&self) -> Space {
        match self.space.load(Ordering::Relaxed) {
            0 => Space::Plenty,
            1 => Space::NoPublish,
            _ => Space::LastSegment,
        }
    }

    pub(crate) fn set_space(&self, space: Space) {
        self.space.store(space as u8, Ordering::Relaxed);
    }
}
