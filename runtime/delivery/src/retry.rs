//! Whether and when a failed event is tried again: a pure decision, so chance is passed in.
//!
//! The delay's bound doubles with each attempt, and the delay is anything up to it (full jitter):
//! events that failed together, as when a mail server went away, do not come back together.

use std::time::Duration;

use tidings_types::limits::{ATTEMPTS_DEFAULT, RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use tidings_types::seam::Rng;

/// How an event whose handling failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Bound of the first delay.
    pub min: Duration,
    /// Bound of all delays.
    pub max: Duration,
    /// Attempts in all; when the last one failed, the event becomes a dead letter.
    pub attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { min: RETRY_DELAY_MIN, max: RETRY_DELAY_MAX, attempts: ATTEMPTS_DEFAULT }
    }
}

/// What happens to an event whose attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is tried again.
    Again {
        /// Not before this has passed.
        after: Duration,
    },
    /// It is given up.
    Dead,
}

/// Decides after an attempt failed; `attempts_so_far` includes that one.
pub fn decide(policy: &RetryPolicy, attempts_so_far: u32, rng: &mut impl Rng) -> Decision {
    if policy.attempts <= attempts_so_far {
        return Decision::Dead;
    }
    let bound = delay_bound(policy, attempts_so_far);
    let bound_ns = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX - 1);
    Decision::Again { after: Duration::from_nanos(rng.below(bound_ns.saturating_add(1))) }
}

fn delay_bound(policy: &RetryPolicy, attempts_so_far: u32) -> Duration {
    let n_doublings = attempts_so_far.saturating_sub(1);
    let factor = 2_u32.checked_pow(n_doublings).unwrap_or(u32::MAX);
    policy.min.saturating_mul(factor).min(policy.max)
}

#[cfg(test)]
mod tests {
    use tidings_types::seam::SplitMix;

    use super::*;

    struct Highest;

    impl Rng for Highest {
        fn next_u64(&mut self) -> u64 {
            u64::MAX
        }
    }

    /// With the unluckiest chance the delays must double up to the bound and then end.
    #[test]
    fn delays_double_up_to_the_bound() {
        let [min, max] = [100, 500].map(Duration::from_millis);
        let policy = RetryPolicy { min, max, attempts: 6 };
        let decisions = (1..=6).map(|n_failed| decide(&policy, n_failed, &mut Highest));
        let delays = [100, 200, 400, 500, 500].map(Duration::from_millis);
        let mut expected = delays.map(|after| Decision::Again { after }).to_vec();
        expected.push(Decision::Dead);
        assert_eq!(decisions.collect::<Vec<_>>(), expected);
    }

    /// The delays must spread over the whole span; a fixed part would bring events back together.
    #[test]
    fn jitter_is_full() {
        let mut rng = SplitMix::new(7);
        let policy = RetryPolicy { min: Duration::from_secs(8), ..RetryPolicy::default() };
        let mut n_by_second = [0; 8];
        for _ in 0..8_000 {
            let Decision::Again { after } = decide(&policy, 1, &mut rng) else { unreachable!() };
            n_by_second[usize::try_from(after.as_secs()).unwrap().min(7)] += 1;
        }
        assert!(n_by_second.iter().all(|n| (900..1_100).contains(n)), "{n_by_second:?}");
    }

    /// No policy that a person can write may overflow.
    #[test]
    fn extreme_policies_are_decided() {
        let policy = RetryPolicy { min: Duration::MAX, max: Duration::MAX, attempts: u32::MAX };
        assert!(matches!(decide(&policy, u32::MAX - 1, &mut Highest), Decision::Again { .. }));
        let none = RetryPolicy { attempts: 0, ..policy };
        assert_eq!(decide(&none, 0, &mut Highest), Decision::Dead);
    }
}
