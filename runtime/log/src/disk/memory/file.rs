//! An open file in memory.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faults::Call;
use super::pages::Pages;
use super::world::World;
use crate::disk::File;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file, under whatever name.
pub(super) struct Inode {
    pub(super) pages: Mutex<Pages>,
    /// The name that it has now, or had last.
    path: Mutex<Arc<str>>,
}

impl Inode {
    pub(super) fn new(path: &str, pages: Pages) -> Arc<Self> {
        Arc::new(Self { pages: Mutex::new(pages), path: Mutex::new(path.into()) })
    }

    pub(super) fn path(&self) -> Arc<str> {
        lock(&self.path).clone()
    }

    pub(super) fn set_path(&self, path: &str) {
        *lock(&self.path) = path.into();
    }
}

/// A handle; it is of no use any more after a crash.
pub(super) struct MemoryFile {
    inode: Arc<Inode>,
    world: Arc<World>,
    life: u64,
}

impl MemoryFile {
    pub(super) fn new(inode: Arc<Inode>, world: Arc<World>) -> Self {
        let life = world.life.load(Ordering::Relaxed);
        Self { inode, world, life }
    }

    fn check_life(&self) -> io::Result<()> {
        if self.life == self.world.life.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(io::Error::other("the power went since the file was opened"))
    }
}

fn write_all(pages: &mut Pages, parts: &[IoSlice<'_>], mut at: u64, mut n_bytes: u64) {
    for part in parts {
        let n_taken = usize::try_from(n_bytes).unwrap_or(usize::MAX).min(part.len());
        pages.write(part.split_at(n_taken).0, at);
        at += n_taken as u64;
        n_bytes -= n_taken as u64;
    }
}

impl File for MemoryFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        self.check_life()?;
        let n_bytes = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let asked = self.world.ask_change(Call::Write, || self.inode.path(), at..at + n_bytes);
        let mut pages = lock(&self.inode.pages);
        let (room, result) = match asked {
            Ok(()) => self.world.take_space((at + n_bytes).saturating_sub(pages.len())),
            Err(failure) => (0, Err(failure)),
        };
        let n_written = match &result {
            Ok(()) => n_bytes,
            Err(failure) if failure.kept > 0 => failure.kept.min(n_bytes),
            // Of what does not fit as much is written as does.
            Err(_) if room > 0 => (pages.len() + room).saturating_sub(at).min(n_bytes),
            Err(_) => 0,
        };
        write_all(&mut pages, parts, at, n_written);
        if let Some(watch) = self.world.watch()
            && result.is_ok()
        {
            let (path, mut at) = (self.inode.path(), at);
            for part in &*parts {
                watch.wrote(&path, at, part);
                at += part.len() as u64;
            }
        }
        result.map_err(|failure| failure.error)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.check_life()?;
        self.world.ask(Call::Read, || self.inode.path(), at..at + buffer.len() as u64)?;
        Ok(lock(&self.inode.pages).read(buffer, at))
    }

    fn sync(&self) -> io::Result<()> {
        self.check_life()?;
        let asked = self.world.ask_change(Call::Sync, || self.inode.path(), 0..u64::MAX);
        let mut pages = lock(&self.inode.pages);
        let watch = self.world.watch();
        if let Err(failure) = asked {
            if !failure.is_end {
                pages.fail_sync();
                watch.inspect(|watch| watch.sync_failed(&self.inode.path()));
            }
            return Err(failure.error);
        }
        self.world.n_syncs.fetch_add(1, Ordering::Relaxed);
        pages.sync();
        watch.inspect(|watch| watch.synced(&self.inode.path()));
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.inode.pages).len())
    }
}
