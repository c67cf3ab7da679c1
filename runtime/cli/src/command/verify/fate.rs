//! What each group of the run does with each event: decided by the seed, the same in every life.

use std::time::Duration;

use tidings_types::seam::{Rng, SplitMix};

/// Attempts that an event gets.
pub(super) const ATTEMPTS_MAX: u32 = 5;
/// The names of the groups; a group's number in the history is its place here.
pub(super) const GROUPS: [&str; 3] = ["verify-plain", "verify-flaky", "verify-slow"];

/// What becomes of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It succeeds.
    Done,
    /// It fails with `?`.
    Again,
    /// It panics.
    Panic,
    /// It gives the event up.
    Fatal,
}

/// See the module's description.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fates {
    seed: u64,
    dead_every: u64,
}

impl Fates {
    /// One event in so many ends as a dead letter of the group that fails.
    pub(super) fn new(seed: u64, dead_every: u64) -> Self {
        Self { seed, dead_every: dead_every.max(1) }
    }

    /// For the group that fails: what this attempt on this event comes to.
    pub(super) fn flaky(self, event: u64, attempt: u32) -> Fate {
        let mut rng = self.of(event);
        if rng.below(self.dead_every) == 0 {
            // Half of them are given up at once, half fail until no attempt is left.
            let is_given_up = rng.below(2) == 0 && attempt > 1;
            return if is_given_up { Fate::Fatal } else { Fate::Again };
        }
        let n_failing = 1 + rng.below(2) as u32;
        match rng.below(100) {
            0 if attempt == 1 => Fate::Panic,
            1..=12 if attempt <= n_failing => Fate::Again,
            _ => Fate::Done,
        }
    }

    /// For the slow group: how long it takes over this event.
    pub(super) fn slow(self, event: u64) -> Option<Duration> {
        let mut rng = self.of(event);
        (rng.below(4) == 0).then(|| Duration::from_millis(2 + rng.below(10)))
    }

    /// The event's key, one of so many.
    pub(super) fn key(self, event: u64, n_keys: u64) -> u64 {
        let mut rng = self.of(event);
        rng.next_u64();
        rng.below(n_keys.max(1))
    }

    fn of(self, event: u64) -> SplitMix {
        SplitMix::new(self.seed ^ event.wrapping_mul(0xA24B_AED4_963E_E407))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A run must meet every way of failing, and few dead letters: a group has room for so many.
    /// We let ten thousand events run through all their attempts.
    #[test]
    fn all_fates_come_and_dead_letters_are_few() {
        let fates = Fates::new(8_123, 250);
        let (mut n_failed, mut n_panics, mut n_fatal, mut n_exhausted) = (0, 0, 0, 0);
        for event in 0..10_000 {
            for attempt in 1..=ATTEMPTS_MAX {
                match fates.flaky(event, attempt) {
                    Fate::Done => break,
                    Fate::Again => n_failed += 1,
                    Fate::Panic => n_panics += 1,
                    Fate::Fatal => {
                        n_fatal += 1;
                        break;
                    }
                }
                n_exhausted += u32::from(attempt == ATTEMPTS_MAX);
            }
        }
        assert!((1_000..3_000).contains(&n_failed), "{n_failed}");
        assert!((50..200).contains(&n_panics), "{n_panics}");
        assert!((5..50).contains(&n_fatal) && (5..50).contains(&n_exhausted), "{n_fatal}");
    }

    #[test]
    fn keys_are_all_used_and_stay_with_their_event() {
        let fates = Fates::new(1, 250);
        let keys: BTreeSet<_> = (0..2_000).map(|event| fates.key(event, 100)).collect();
        assert_eq!(keys, (0..100).collect());
        assert_eq!(fates.key(7, 100), Fates::new(1, 99).key(7, 100));
    }
}
