//! Time and chance come in from outside: the seams that the simulator turns.
//!
//! Cores take a moment as a plain [`Duration`] since some fixed moment; who drives a core reads the
//! clock. Only what makes ids or jitter needs a [`Rng`].

use std::time::Duration;

/// Reads the time.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since some fixed moment of this process; goes on while the machine sleeps.
    fn now(&self) -> Duration;

    /// Wall time in milliseconds since 1970; only shown and sought by, never used to decide.
    fn wall_ms(&self) -> u64;
}

/// Gives numbers that nobody can foresee, or that a seed repeats.
pub trait Rng: Send {
    /// The next 64 bits.
    fn next_u64(&mut self) -> u64;

    /// A number below `end`.
    ///
    /// # Panics
    /// If `end` is 0.
    fn below(&mut self, end: u64) -> u64 {
        assert!(0 < end, "there is no number below 0");
        // The high half of the product: the bias is below end / 2^64.
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }
}

/// A small generator of good quality (SplitMix64, Steele and others, 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct SplitMix {
    state: u64,
}

impl SplitMix {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }
}

impl Rng for SplitMix {
    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
