//! What becomes, when the power goes, of what was not durable.

use tidings_types::seam::{Rng, SplitMix};

use super::pages::{PAGE, SECTORS};

/// How much stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// All of it: the disk was quick.
    All,
    /// Each page, or each change of a folder, by the toss of a coin.
    Some,
    /// As `Some`, but a page may also be torn: at any byte, or into any of its sectors.
    Torn,
}

/// A fate: the same one does the same to the same disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Of bytes that were written and not synced, and of lengths.
    pub bytes: Kept,
    /// Of files that were made, renamed or removed without a sync of their folder; each change for
    /// itself.
    pub names: Kept,
    /// What is tossed for.
    pub seed: u64,
}

impl Fate {
    /// Only what is durable stays.
    pub const NOTHING: Self = Self { bytes: Kept::Nothing, names: Kept::Nothing, seed: 0 };
    /// Everything stays, as when only the process dies.
    pub const ALL: Self = Self { bytes: Kept::All, names: Kept::All, seed: 0 };
}

/// What stays of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Nothing,
    All,
    /// So many bytes from its begin on.
    Bytes(usize),
    /// One bit for each sector.
    Sectors(u8),
}

/// Who is asked at a crash, in the order of paths and pages.
pub(super) trait Judge {
    fn page(&mut self, path: &str, number: u64) -> Part;

    /// Whether a change of a folder stays.
    fn name(&mut self) -> bool;

    /// Whether a file is as long as the pages that stay say, or only as long as is durable.
    fn length(&mut self) -> bool;
}

/// Tosses for a fate.
pub(super) struct Tosser {
    fate: Fate,
    rng: SplitMix,
}

impl Tosser {
    pub(super) fn new(fate: Fate) -> Self {
        Self { fate, rng: SplitMix::new(fate.seed) }
    }

    fn toss(&mut self, kept: Kept) -> bool {
        match kept {
            Kept::Nothing => false,
            Kept::All => true,
            Kept::Some | Kept::Torn => self.rng.below(2) == 0,
        }
    }
}

impl Judge for Tosser {
    fn page(&mut self, _path: &str, _number: u64) -> Part {
        if self.fate.bytes == Kept::Torn && self.rng.below(2) == 0 {
            return match self.rng.below(2) {
                0 => Part::Bytes(self.rng.below(PAGE as u64 + 1) as usize),
                _ => Part::Sectors(self.rng.below(1 << SECTORS) as u8),
            };
        }
        if self.toss(self.fate.bytes) { Part::All } else { Part::Nothing }
    }

    fn name(&mut self) -> bool {
        self.toss(self.fate.names)
    }

    fn length(&mut self) -> bool {
        self.toss(self.fate.bytes)
    }
}

/// Keeps the pages that a test names, and no more.
pub(super) struct Keeping<F>(pub(super) F);

impl<F: FnMut(&str, u64) -> bool> Judge for Keeping<F> {
    fn page(&mut self, path: &str, number: u64) -> Part {
        if self.0(path, number) { Part::All } else { Part::Nothing }
    }

    fn name(&mut self) -> bool {
        false
    }

    fn length(&mut self) -> bool {
        true
    }
}
