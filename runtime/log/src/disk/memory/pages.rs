//! The bytes of a file in memory: as a reader sees them, and as the disk holds them.
//!
//! Only pages exist that something else than zeros was written to. A page that may differ from what
//! the disk holds keeps that form as its shadow; a page and a shadow that are missing are zeros.

use std::collections::BTreeMap;

use super::fate::{Judge, Part};

pub(super) const PAGE: usize = 4096;
/// A disk writes these whole or not at all; bytes are torn all the same, to be on the safe side.
const SECTOR: usize = 512;
pub(super) const SECTORS: usize = PAGE / SECTOR;
/// Shadows that are kept for the next write: making them is most of what a write costs.
const SPARE_MAX: usize = 16;

type Bytes = Box<[u8; PAGE]>;
static ZEROS: [u8; PAGE] = [0; PAGE];

struct Shadow {
    durable: Option<Bytes>,
    /// A sync takes it along. After a failed one it is not: the page is called clean.
    is_dirty: bool,
}

/// See the module's description.
#[derive(Default)]
pub(super) struct Pages {
    pages: Vec<Option<Bytes>>,
    shadows: BTreeMap<u64, Shadow>,
    spare: Vec<Bytes>,
    len: u64,
    durable_len: u64,
}

fn idx_of(number: u64) -> usize {
    usize::try_from(number).expect("a file in memory is no larger than memory")
}

impl Pages {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn write(&mut self, mut bytes: &[u8], mut at: u64) {
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
        let idx = idx_of(number);
        let known = self.pages.get(idx).and_then(Option::as_ref);
        // Zeros where there is no page change nothing: prepared space takes no memory.
        if known.is_none() && part == ZEROS.split_at(part.len()).0 {
            return;
        }
        if let Some(shadow) = self.shadows.get_mut(&number) {
            shadow.is_dirty = true;
        } else {
            let durable = known.map(|page| match self.spare.pop() {
                Some(mut spare) => {
                    spare.copy_from_slice(&**page);
                    spare
                }
                None => page.clone(),
            });
            self.shadows.insert(number, Shadow { durable, is_dirty: true });
        }
        if self.pages.len() <= idx {
            self.pages.resize_with(idx + 1, || None);
        }
        let page = self.pages.get_mut(idx).expect("there is room for it");
        let page = page.get_or_insert_with(|| Box::new([0; PAGE]));
        let (_, target) = page.split_at_mut(start);
        target.split_at_mut(part.len()).0.copy_from_slice(part);
    }

    /// Reads until the buffer is full or the file ends; says how much.
    pub(super) fn read(&self, buffer: &mut [u8], at: u64) -> usize {
        let n_bytes = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let n_bytes = n_bytes.min(buffer.len());
        let (mut rest, _) = buffer.split_at_mut(n_bytes);
        let mut at = at;
        while !rest.is_empty() {
            let start = (at % PAGE as u64) as usize;
            let (target, behind) = rest.split_at_mut(rest.len().min(PAGE - start));
            let page = self.pages.get(idx_of(at / PAGE as u64)).and_then(Option::as_ref);
            let source = page.map_or(&ZEROS, |page| &**page);
            let (_, source) = source.split_at(start);
            target.copy_from_slice(source.split_at(target.len()).0);
            at += target.len() as u64;
            rest = behind;
        }
        n_bytes
    }

    pub(super) fn sync(&mut self) {
        let spare = &mut self.spare;
        self.shadows.retain(|_, shadow| {
            if shadow.is_dirty && spare.len() < SPARE_MAX {
                spare.extend(shadow.durable.take());
            }
            !shadow.is_dirty
        });
        self.durable_len = self.len;
    }

    /// As Linux does it: the pages are clean then, readable, and not on the disk.
    pub(super) fn fail_sync(&mut self) {
        self.shadows.values_mut().for_each(|shadow| shadow.is_dirty = false);
    }

    /// The power goes.
    pub(super) fn crash(&mut self, path: &str, judge: &mut dyn Judge) {
        let mut reaches = self.durable_len;
        for (number, Shadow { durable, .. }) in std::mem::take(&mut self.shadows) {
            let part = judge.page(path, number);
            if part != Part::Nothing {
                reaches = reaches.max((number + 1) * PAGE as u64);
            }
            if let Some(page) = self.pages.get_mut(idx_of(number)) {
                restore(page, durable, part);
            }
        }
        let grows = self.durable_len < self.len && judge.length();
        let len = if grows { self.len.min(reaches) } else { self.durable_len };
        self.cut(len);
    }

    /// Ends the file here, durably.
    pub(super) fn cut(&mut self, len: u64) {
        self.pages.truncate(idx_of(len.div_ceil(PAGE as u64)));
        self.shadows.split_off(&len.div_ceil(PAGE as u64));
        let n_left = (len % PAGE as u64) as usize;
        if let Some(Some(last)) = self.pages.get_mut(idx_of(len / PAGE as u64)) {
            last.split_at_mut(n_left).1.fill(0);
        }
        self.len = len;
        self.durable_len = len;
    }

    /// As the disk holds it.
    pub(super) fn durable_copy(&self) -> Self {
        let mut pages = self.pages.clone();
        for (&number, shadow) in &self.shadows {
            if let Some(page) = pages.get_mut(idx_of(number)) {
                page.clone_from(&shadow.durable);
            }
        }
        let mut copy = Self { pages, ..Self::default() };
        copy.cut(self.durable_len);
        copy
    }
}

/// Makes of a page what the disk holds of it after a crash.
fn restore(page: &mut Option<Bytes>, durable: Option<Bytes>, part: Part) {
    let is_kept = |at: usize| match part {
        Part::Nothing => false,
        Part::All => true,
        Part::Bytes(n_bytes) => at < n_bytes,
        Part::Sectors(kept) => kept >> (at / SECTOR) & 1 == 1,
    };
    match (part, &mut *page) {
        (Part::All, _) => {}
        (Part::Nothing, _) | (_, None) => *page = durable,
        (_, Some(page)) => {
            let durable = durable.as_deref().unwrap_or(&ZEROS);
            for (at, (byte, &durable)) in page.iter_mut().zip(durable).enumerate() {
                if !is_kept(at) {
                    *byte = durable;
                }
            }
        }
    }
}
