//! What is done to the node, and when: decided by the seed alone.
//!
//! With real processes a seed repeats the schedule and not the timing inside the node.

use std::time::Duration;

use tidings_types::seam::{Rng, SplitMix};

/// Nothing begins so shortly before the load ends: a fault without load shows nothing.
const LAST_BEFORE_END: Duration = Duration::from_millis(300);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(1_500);
/// A kill during the start comes so long after the process began, at most.
const START_MAX: Duration = Duration::from_millis(60);

/// Something that is done to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// SIGKILL, and a start.
    Kill,
    /// SIGKILL as soon as the next acknowledgement has come.
    KillAfterAck,
    /// SIGKILL, a start, and SIGKILL again so long after the process began.
    KillInStart { after: Duration },
    /// SIGSTOP, and SIGCONT so long after.
    Pause { lasts: Duration },
    /// SIGSTOP, and SIGKILL so long after.
    KillInPause { lasts: Duration },
}

/// An act and its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Since the load began.
    pub(super) at: Duration,
    pub(super) act: Act,
}

/// What is done within a load of this length, in order. Nothing happens every zero seconds.
pub(super) fn plan(
    seed: u64,
    wall: Duration,
    kill_every: Duration,
    pause_every: Duration,
) -> Vec<Planned> {
    let mut rng = SplitMix::new(seed);
    let mut planned = Vec::new();
    for at in moments(&mut rng, wall, kill_every) {
        let act = match rng.below(10) {
            0..=4 => Act::Kill,
            5..=7 => Act::KillAfterAck,
            _ => Act::KillInStart { after: between(&mut rng, Duration::ZERO, START_MAX) },
        };
        planned.push(Planned { at, act });
    }
    for at in moments(&mut rng, wall, pause_every) {
        let longest = PAUSE_MAX.min(pause_every.max(PAUSE_MIN));
        let lasts = between(&mut rng, PAUSE_MIN, longest);
        let act = if rng.below(5) == 0 { Act::KillInPause { lasts } } else { Act::Pause { lasts } };
        planned.push(Planned { at, act });
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

/// Moments that lie `every` apart, three tenths of it more or less.
fn moments(rng: &mut SplitMix, wall: Duration, every: Duration) -> Vec<Duration> {
    let mut moments = Vec::new();
    if every.is_zero() {
        return moments;
    }
    let end = wall.saturating_sub(LAST_BEFORE_END);
    let mut at = Duration::ZERO;
    loop {
        at += between(rng, every.mul_f64(0.7), every.mul_f64(1.3));
        if end <= at {
            return moments;
        }
        moments.push(at);
    }
}

fn between(rng: &mut SplitMix, min: Duration, max: Duration) -> Duration {
    let span_us = u64::try_from(max.saturating_sub(min).as_micros()).unwrap_or(u64::MAX - 1);
    min + Duration::from_micros(rng.below(span_us + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// "The same kill schedule again" is what the last line of a run promises.
    #[test]
    fn one_seed_is_one_schedule() {
        let of = |seed| plan(seed, 120 * SECOND, 3 * SECOND, 5 * SECOND);
        assert_eq!(of(8_123), of(8_123));
        assert_ne!(of(8_123), of(8_124));
    }

    /// Everything that was asked for must come, inside the load and in order. We look at many seeds.
    #[test]
    fn schedules_hold_what_was_asked_for() {
        let mut n_kills_in_pause = 0;
        for seed in 0..200 {
            let planned = plan(seed, 120 * SECOND, 3 * SECOND, 5 * SECOND);
            assert!(planned.is_sorted_by_key(|planned| planned.at));
            assert!(planned.iter().all(|planned| planned.at < 120 * SECOND));
            let is_pause = |act| matches!(act, Act::Pause { .. } | Act::KillInPause { .. });
            let is_in_pause = |act| matches!(act, Act::KillInPause { .. });
            n_kills_in_pause += planned.iter().filter(|planned| is_in_pause(planned.act)).count();
            let n_pauses = planned.iter().filter(|planned| is_pause(planned.act)).count();
            assert!((18..=33).contains(&n_pauses), "{n_pauses}");
            assert!((32..=55).contains(&(planned.len() - n_pauses)), "{}", planned.len());
            for act in [Act::Kill, Act::KillAfterAck] {
                assert!(planned.iter().any(|planned| planned.act == act), "seed {seed}: {act:?}");
            }
        }
        assert!((700..1_300).contains(&n_kills_in_pause), "{n_kills_in_pause}");
    }

    #[test]
    fn nothing_is_planned_unasked() {
        assert_eq!(plan(1, 60 * SECOND, Duration::ZERO, Duration::ZERO), []);
        assert_eq!(plan(1, SECOND / 2, SECOND, SECOND), []);
    }
}
