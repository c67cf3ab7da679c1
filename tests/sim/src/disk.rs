//! A disk that notices which events it has made durable.
//!
//! It looks into what is written for the payloads of events. When the sync of a file has returned,
//! the events that were written to it since the last one are durable, and not before: this is what
//! a node's word is held against, so it does not ask the node.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_log::MemoryDisk;
use tidings_log::disk::{Disk, File, Stamp};

use crate::payload;

/// See the module's description. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    memory: MemoryDisk,
    synced: Arc<Mutex<Vec<u64>>>,
}

struct SimFile {
    memory: Arc<dyn File>,
    /// Whether it may hold events for the first time.
    is_log: bool,
    unsynced: Mutex<Vec<u64>>,
    synced: Arc<Mutex<Vec<u64>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is whole, so a list that a panic poisoned is still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimDisk {
    pub(crate) fn new() -> Self {
        Self { memory: MemoryDisk::new(), synced: Arc::default() }
    }

    /// What of it is durable, as another disk.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Self {
        Self { memory: self.memory.durable_copy(), synced: Arc::default() }
    }

    /// The disk below, to turn its knobs.
    pub(crate) const fn memory(&self) -> &MemoryDisk {
        &self.memory
    }

    /// Events that became durable since the last call.
    pub(crate) fn take_durable(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.synced))
    }

    fn watch(&self, path: &str, memory: Arc<dyn File>) -> Arc<dyn File> {
        let is_log = path.starts_with("log/");
        let synced = Arc::clone(&self.synced);
        Arc::new(SimFile { memory, is_log, unsynced: Mutex::default(), synced })
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.watch(path, self.memory.create(path)?))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.watch(path, self.memory.open(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.memory.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.memory.remove(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.memory.sync_dir(path)
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        self.memory.make_dir(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.memory.list(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.memory.free_bytes()
    }

    fn stamp(&self) -> Stamp {
        self.memory.stamp()
    }
}

impl File for SimFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut events = Vec::new();
        if self.is_log {
            parts.iter().for_each(|part| events.extend(payload::events_in(part)));
        }
        self.memory.write_at(parts, at)?;
        lock(&self.unsynced).append(&mut events);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.memory.read_at(buffer, at)
    }

    fn sync(&self) -> io::Result<()> {
        let mut unsynced = std::mem::take(&mut *lock(&self.unsynced));
        // After an error the pages count as clean, so a later sync does not cover these either.
        self.memory.sync()?;
        lock(&self.synced).append(&mut unsynced);
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.memory.len_bytes()
    }
}
