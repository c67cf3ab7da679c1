//! A directory in memory that forgets, at a crash, what was not made durable.
//!
//! Files are pages of 4 KiB that came to be by a write; a page that differs from its durable form
//! keeps that form beside it. Names have a durable form too. A failed sync leaves pages as Linux
//! does: clean, readable, and not on the disk.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, File, Stamp};

const PAGE: usize = 4096;
type PageBytes = Box<[u8; PAGE]>;

struct Page {
    cached: PageBytes,
    /// What the disk holds, if that is something else.
    durable: Option<PageBytes>,
    /// A sync takes it along.
    is_dirty: bool,
}

#[derive(Default)]
struct Content {
    pages: BTreeMap<u64, Page>,
    len: u64,
    durable_len: u64,
}

#[derive(Default)]
struct Names {
    cached: BTreeMap<String, Arc<MemoryFile>>,
    durable: BTreeMap<String, Arc<MemoryFile>>,
}

/// What a test turns.
struct Knobs {
    fail_next_sync: AtomicBool,
    fail_next_write: AtomicBool,
    /// Changes that still succeed; then none does until the power went.
    changes_left: AtomicU64,
    /// What files may still grow by.
    free_bytes: AtomicU64,
    salt: AtomicU64,
    n_syncs: AtomicU64,
}

struct MemoryFile {
    content: Mutex<Content>,
    knobs: Arc<Knobs>,
}

/// See the module's description. Clones are the same directory.
#[derive(Clone)]
pub struct MemoryDisk {
    names: Arc<Mutex<Names>>,
    knobs: Arc<Knobs>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Knobs {
    /// Before each change.
    fn change(&self) -> io::Result<()> {
        let left = self.changes_left.load(Ordering::Relaxed);
        let less = left.checked_sub(1).ok_or_else(|| io::Error::other("planned end"))?;
        if left < u64::MAX {
            self.changes_left.store(less, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty directory on a disk without an end.
    pub fn new() -> Self {
        let knobs = Knobs {
            fail_next_sync: AtomicBool::new(false),
            fail_next_write: AtomicBool::new(false),
            changes_left: AtomicU64::new(u64::MAX),
            free_bytes: AtomicU64::new(u64::MAX / 2),
            salt: AtomicU64::new(1),
            n_syncs: AtomicU64::new(0),
        };
        Self { names: Arc::default(), knobs: Arc::new(knobs) }
    }

    /// The power goes: what was not durable is gone.
    pub fn crash(&self) {
        self.crash_keeping(|_, _| false);
    }

    /// The power goes, but of the pages that were not durable those stay that `keeps` names, by
    /// path and page number: a disk writes them in any order, and some before the power goes.
    pub fn crash_keeping(&self, mut keeps: impl FnMut(&str, u64) -> bool) {
        self.fail_after(u64::MAX);
        let mut names = lock(&self.names);
        names.cached = names.durable.clone();
        for (path, file) in &names.cached {
            let mut content = lock(&file.content);
            for (&number, page) in &mut content.pages {
                if let Some(durable) = page.durable.take()
                    && !keeps(path, number)
                {
                    page.cached = durable;
                }
                page.is_dirty = false;
            }
            content.len = content.durable_len;
        }
    }

    /// The next sync fails once; the pages it was to take are called clean and are not durable.
    pub fn fail_next_sync(&self) {
        self.knobs.fail_next_sync.store(true, Ordering::Relaxed);
    }

    /// The next write fails once and writes nothing.
    pub fn fail_next_write(&self) {
        self.knobs.fail_next_write.store(true, Ordering::Relaxed);
    }

    /// So many changes succeed and no more, until a crash: for a crash at each of them.
    pub fn fail_after(&self, n_changes: u64) {
        self.knobs.changes_left.store(n_changes, Ordering::Relaxed);
    }

    /// Files may grow by so much from here on.
    pub fn set_free_bytes(&self, n_bytes: u64) {
        self.knobs.free_bytes.store(n_bytes, Ordering::Relaxed);
    }

    /// How many syncs of files there were.
    pub fn n_syncs(&self) -> u64 {
        self.knobs.n_syncs.load(Ordering::Relaxed)
    }

    /// A file's bytes; `None` if there is no such file.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let file = lock(&self.names).cached.get(path).cloned()?;
        let mut bytes = vec![0; usize::try_from(lock(&file.content).len).ok()?];
        file.read_at(&mut bytes, 0).ok()?;
        Some(bytes)
    }

    /// Puts bytes where they are durable at once, as rot or a person with an editor would.
    pub fn put(&self, path: &str, at: u64, bytes: &[u8]) {
        let file = {
            let mut names = lock(&self.names);
            let fresh =
                || Arc::new(MemoryFile { content: Mutex::default(), knobs: self.knobs.clone() });
            let file = names.cached.entry(path.to_owned()).or_insert_with(fresh).clone();
            names.durable.insert(path.to_owned(), file.clone());
            file
        };
        let mut content = lock(&file.content);
        content.write(bytes, at);
        content.sync();
    }

    /// Cuts a file at a length, durably.
    pub fn cut(&self, path: &str, len: u64) {
        if let Some(file) = lock(&self.names).cached.get(path) {
            let mut content = lock(&file.content);
            content.len = len;
            content.durable_len = len;
        }
    }

    /// Removes a file, durably.
    pub fn lose(&self, path: &str) {
        let mut names = lock(&self.names);
        names.cached.remove(path);
        names.durable.remove(path);
    }

    /// A copy of the directory as it would be after a crash: another disk.
    pub fn durable_copy(&self) -> Self {
        let copy = Self::new();
        let salt = self.knobs.salt.load(Ordering::Relaxed);
        copy.knobs.salt.store(salt, Ordering::Relaxed);
        for (path, file) in &lock(&self.names).durable {
            let content = lock(&file.content);
            copy.put(path, 0, &[]);
            for (&number, page) in &content.pages {
                let bytes = page.durable.as_ref().unwrap_or(&page.cached);
                copy.put(path, number * PAGE as u64, bytes.as_slice());
            }
            let names = lock(&copy.names);
            let file = names.cached.get(path).expect("it was just put");
            let mut copied = lock(&file.content);
            copied.len = content.durable_len;
            copied.durable_len = content.durable_len;
        }
        copy
    }
}

impl Content {
    fn write(&mut self, mut bytes: &[u8], mut at: u64) {
        while !bytes.is_empty() {
            let start = (at % PAGE as u64) as usize;
            let (part, rest) = bytes.split_at(bytes.len().min(PAGE - start));
            self.write_page(at / PAGE as u64, start, part);
            at += part.len() as u64;
            bytes = rest;
        }
        self.len = self.len.max(at);
    }

    fn write_page(&mut self, number: u64, start: usize, part: &[u8]) {
        // Zeros where there is no page change nothing: prepared space takes no memory.
        if !self.pages.contains_key(&number) && part.iter().all(|&byte| byte == 0) {
            return;
        }
        let page = self.pages.entry(number).or_insert_with(|| Page {
            cached: Box::new([0; PAGE]),
            durable: None,
            is_dirty: false,
        });
        if page.durable.is_none() {
            page.durable = Some(page.cached.clone());
        }
        page.is_dirty = true;
        for (target, source) in page.cached.iter_mut().skip(start).zip(part) {
            *target = *source;
        }
    }

    fn sync(&mut self) {
        for page in self.pages.values_mut().filter(|page| page.is_dirty) {
            page.is_dirty = false;
            page.durable = None;
        }
        self.durable_len = self.len;
    }
}

impl File for MemoryFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], mut at: u64) -> io::Result<()> {
        if self.knobs.fail_next_write.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("planned write error"));
        }
        self.knobs.change()?;
        let mut content = lock(&self.content);
        let n_bytes: usize = parts.iter().map(|part| part.len()).sum();
        let grows_by = (at + n_bytes as u64).saturating_sub(content.len);
        let free = self.knobs.free_bytes.load(Ordering::Relaxed);
        let left = free.checked_sub(grows_by).ok_or(io::ErrorKind::StorageFull)?;
        self.knobs.free_bytes.store(left, Ordering::Relaxed);
        for part in parts {
            content.write(part, at);
            at += part.len() as u64;
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let content = lock(&self.content);
        let n_bytes = usize::try_from(content.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let n_bytes = n_bytes.min(buffer.len());
        let (buffer, _) = buffer.split_at_mut(n_bytes);
        buffer.fill(0);
        let end = at + n_bytes as u64;
        for (&number, page) in content.pages.range(at / PAGE as u64..end.div_ceil(PAGE as u64)) {
            let page_at = number * PAGE as u64;
            let skipped = usize::try_from(at.saturating_sub(page_at)).unwrap_or(PAGE);
            let target_at = usize::try_from(page_at.saturating_sub(at)).unwrap_or(usize::MAX);
            let source = page.cached.get(skipped..).unwrap_or_default();
            let target = buffer.get_mut(target_at..).unwrap_or_default();
            let n_copied = source.len().min(target.len());
            let (target, _) = target.split_at_mut(n_copied);
            target.copy_from_slice(source.split_at(n_copied).0);
        }
        Ok(n_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.knobs.change()?;
        let mut content = lock(&self.content);
        if self.knobs.fail_next_sync.swap(false, Ordering::Relaxed) {
            content.pages.values_mut().for_each(|page| page.is_dirty = false);
            return Err(io::Error::other("planned sync error"));
        }
        self.knobs.n_syncs.fetch_add(1, Ordering::Relaxed);
        content.sync();
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.content).len)
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.knobs.change()?;
        let file = MemoryFile { content: Mutex::default(), knobs: self.knobs.clone() };
        let file = Arc::new(file);
        lock(&self.names).cached.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = lock(&self.names).cached.get(path).cloned().ok_or_else(not_found)?;
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.knobs.change()?;
        let mut names = lock(&self.names);
        let file = names.cached.remove(from).ok_or_else(not_found)?;
        names.cached.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.knobs.change()?;
        let file = lock(&self.names).cached.remove(path).ok_or_else(not_found)?;
        self.knobs.free_bytes.fetch_add(file.len_bytes()?, Ordering::Relaxed);
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.knobs.change()?;
        let mut names = lock(&self.names);
        let is_within = |name: &String| match name.rsplit_once('/') {
            Some((dir, _)) => dir == path,
            None => path.is_empty(),
        };
        let Names { cached, durable } = &mut *names;
        durable.retain(|name, _| !is_within(name));
        let within = cached.iter().filter(|(name, _)| is_within(name));
        durable.extend(within.map(|(name, file)| (name.clone(), file.clone())));
        Ok(())
    }

    fn make_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let names = lock(&self.names);
        let within = names.cached.keys().filter_map(|name| match name.rsplit_once('/') {
            Some((dir, name)) => (dir == path).then(|| name.to_owned()),
            None => path.is_empty().then(|| name.clone()),
        });
        Ok(within.collect())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.knobs.free_bytes.load(Ordering::Relaxed))
    }

    fn stamp(&self) -> Stamp {
        let number = self.knobs.salt.fetch_add(1, Ordering::Relaxed);
        Stamp { salt: (number as u32).wrapping_mul(0x9E37_79B1), created_ms: 0 }
    }
}
