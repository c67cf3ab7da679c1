//! A directory in memory that forgets, at a crash, what was not made durable, and fails as planned.
//!
//! What files hold is in [`pages`], what folders hold in [`names`], both with a durable form beside
//! the one that is seen. What becomes of the difference at a crash says a [`Fate`]; which calls fail
//! say [`Fault`]s. All of it is decided by what is passed in, so a run can be repeated.

mod fate;
mod faults;
mod file;
mod names;
mod pages;
mod world;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

pub use fate::{Fate, Kept};
use fate::{Judge, Keeping, Tosser};
pub use faults::{Call, Fault};
use file::{Inode, MemoryFile, lock};
use names::Names;
use pages::Pages;
use tidings_types::bugs::{Bug, is_planted};
use world::World;

use super::watch::Watch;
use super::{Disk, File, Stamp};

/// See the module's description. Clones are the same directory.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    names: Arc<Mutex<Names<Inode>>>,
    world: Arc<World>,
}

impl MemoryDisk {
    /// An empty directory on a disk without an end.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes: what was not durable is gone, and handles of before are of no use.
    pub fn crash(&self) {
        self.crash_as(Fate::NOTHING);
    }

    /// The power goes, and what was not durable has this fate.
    pub fn crash_as(&self, fate: Fate) {
        self.crash_by(&mut Tosser::new(fate));
    }

    /// The power goes, but of the pages that were not durable those stay that `keeps` names, by
    /// path and page number: a disk writes them in any order, and some before the power goes.
    pub fn crash_keeping(&self, keeps: impl FnMut(&str, u64) -> bool) {
        self.crash_by(&mut Keeping(keeps));
    }

    fn crash_by(&self, judge: &mut dyn Judge) {
        self.end_process();
        let len = |names: &Names<Inode>| -> u64 {
            names.files().map(|(_, inode)| lock(&inode.pages).len()).sum()
        };
        let mut names = lock(&self.names);
        let len_before = len(&names);
        names.crash(judge);
        for (path, inode) in names.files() {
            inode.set_path(path);
            lock(&inode.pages).crash(path, judge);
        }
        let free = self.world.free_bytes.load(Ordering::Relaxed) + len_before;
        self.set_free_bytes(free.saturating_sub(len(&names)));
        if let Some(watch) = self.world.watch() {
            watch.crashed();
        }
    }

    /// The process dies and the power stays: what was written stays readable. Handles of before are
    /// of no use, and what was planned with [`MemoryDisk::fail_after`] is over.
    pub fn end_process(&self) {
        self.fail_after(u64::MAX);
        self.world.life.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a plan for calls to fail.
    pub fn plan(&self, fault: Fault) {
        self.world.faults.plan(fault);
    }

    /// Forgets all plans, and lets changes happen again.
    pub fn heal(&self) {
        self.world.faults.heal();
        self.set_read_only(false);
    }

    /// From here on every change fails, as after a remount, or none for that reason.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.world.is_read_only.store(is_read_only, Ordering::Relaxed);
    }

    /// The next sync fails once; the pages it was to take are called clean and are not durable.
    pub fn fail_next_sync(&self) {
        self.plan(Fault::on(Call::Sync));
    }

    /// The next write fails once and writes nothing.
    pub fn fail_next_write(&self) {
        self.plan(Fault::on(Call::Write));
    }

    /// So many changes succeed and no more, until a crash: for a crash at each of them.
    pub fn fail_after(&self, n_changes: u64) {
        self.fail_after_torn(n_changes, 0);
    }

    /// As [`MemoryDisk::fail_after`]; and if it is a write that fails, `torn` of its bytes are
    /// written all the same, counted around if there are fewer.
    pub fn fail_after_torn(&self, n_changes: u64, torn: u64) {
        self.world.torn.store(torn, Ordering::Relaxed);
        self.world.changes_left.store(n_changes, Ordering::Relaxed);
    }

    /// Files may grow by so much from here on.
    pub fn set_free_bytes(&self, n_bytes: u64) {
        self.world.free_bytes.store(n_bytes, Ordering::Relaxed);
    }

    /// Lets somebody watch what becomes durable. Once for a disk, before it is used.
    pub fn watch(&self, watch: Arc<dyn Watch>) {
        assert!(self.world.watch.set(watch).is_ok(), "a disk has one watch");
    }

    /// How many changes were asked for: each call but reads.
    pub fn n_changes(&self) -> u64 {
        self.world.n_changes.load(Ordering::Relaxed)
    }

    /// How many syncs of files there were.
    pub fn n_syncs(&self) -> u64 {
        self.world.n_syncs.load(Ordering::Relaxed)
    }

    /// A file's bytes; `None` if there is no such file.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let inode = lock(&self.names).get(path).ok()?;
        let pages = lock(&inode.pages);
        let mut bytes = vec![0; usize::try_from(pages.len()).ok()?];
        pages.read(&mut bytes, 0);
        Some(bytes)
    }

    /// Puts bytes where they are durable at once, as rot or a person with an editor would.
    pub fn put(&self, path: &str, at: u64, bytes: &[u8]) {
        let inode = {
            let mut names = lock(&self.names);
            let inode = names.get(path).unwrap_or_else(|_| Inode::new(path, Pages::default()));
            names.put(path, inode.clone());
            inode
        };
        let mut pages = lock(&inode.pages);
        pages.write(bytes, at);
        pages.sync();
    }

    /// Flips one bit, durably: `bit` counts from the file's first byte on. Says whether the file is
    /// that long.
    pub fn flip(&self, path: &str, bit: u64) -> bool {
        let at = bit / 8;
        let byte = self.bytes(path).and_then(|bytes| bytes.get(usize::try_from(at).ok()?).copied());
        if let Some(byte) = byte {
            self.put(path, at, &[byte ^ 1 << (bit % 8)]);
        }
        byte.is_some()
    }

    /// Cuts a file at a length, durably.
    pub fn cut(&self, path: &str, len: u64) {
        if let Ok(inode) = lock(&self.names).get(path) {
            lock(&inode.pages).cut(len);
        }
    }

    /// Removes a file, durably.
    pub fn lose(&self, path: &str) {
        lock(&self.names).lose(path);
    }

    /// A copy of the directory as it would be after a crash: another disk.
    pub fn durable_copy(&self) -> Self {
        let copy = Self::new();
        let salt = self.world.salt.load(Ordering::Relaxed);
        copy.world.salt.store(salt, Ordering::Relaxed);
        for (path, inode) in lock(&self.names).durable_files() {
            let pages = lock(&inode.pages).durable_copy();
            lock(&copy.names).put(path, Inode::new(path, pages));
        }
        copy
    }

    fn ask(&self, call: Call, path: &str) -> io::Result<()> {
        self.world.ask_change(call, || path.into(), 0..0).map_err(|failure| failure.error)
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.ask(Call::Create, path)?;
        let inode = Inode::new(path, Pages::default());
        lock(&self.names).make(path, inode.clone());
        Ok(Arc::new(MemoryFile::new(inode, self.world.clone())))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let inode = lock(&self.names).get(path)?;
        Ok(Arc::new(MemoryFile::new(inode, self.world.clone())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask(Call::Rename, from)?;
        lock(&self.names).rename(from, to)?.set_path(to);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.ask(Call::Remove, path)?;
        let inode = lock(&self.names).remove(path)?;
        let len = lock(&inode.pages).len();
        self.world.free_bytes.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        if is_planted(Bug::NoDirFsync) {
            return Ok(());
        }
        self.ask(Call::SyncDir, path)?;
        lock(&self.names).sync(path);
        Ok(())
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        if !lock(&self.names).has_dir(path) {
            self.ask(Call::MakeDir, path)?;
            lock(&self.names).make_dir(path);
        }
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        Ok(lock(&self.names).list(path))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.world.free_bytes.load(Ordering::Relaxed))
    }

    fn stamp(&self) -> Stamp {
        let number = self.world.salt.fetch_add(1, Ordering::Relaxed);
        Stamp { salt: (number as u32).wrapping_mul(0x9E37_79B1), created_ms: 0 }
    }
}
