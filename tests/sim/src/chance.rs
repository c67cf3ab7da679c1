//! Chance that a seed repeats.

use tidings_types::seam::{Rng, SplitMix};

/// See the module's description.
#[derive(Clone, Debug)]
pub(crate) struct Chance(SplitMix);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(SplitMix::new(seed))
    }

    /// A number below `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.below(end) }
    }

    /// A number from `start` to `end`, both included.
    pub(crate) fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end.saturating_sub(start) + 1)
    }

    /// `true` so many times of 100.
    pub(crate) fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        let idx = self.below(items.len() as u64) as usize;
        items.get(idx).copied()
    }

    /// A generator of its own for something that lives by itself.
    pub(crate) fn generator(&mut self) -> SplitMix {
        SplitMix::new(self.number())
    }
}
