//! Durations as people write them: `10.secs()`, `100.millis()`.

use std::time::Duration;

/// For one integer type only, so that a plain number has no doubt which one it is.
pub trait Units {
    /// So many milliseconds.
    fn millis(self) -> Duration;
    /// So many seconds.
    fn secs(self) -> Duration;
    /// So many minutes.
    fn mins(self) -> Duration;
}

impl Units for u64 {
    fn millis(self) -> Duration {
        Duration::from_millis(self)
    }

    fn secs(self) -> Duration {
        Duration::from_secs(self)
    }

    fn mins(self) -> Duration {
        Duration::from_secs(self * 60)
    }
}

#[cfg(test)]
mod tests {
    use super::Units;

    #[test]
    fn units_agree() {
        assert_eq!((2.secs(), 3.mins()), (2_000.millis(), 180.secs()));
    }
}
