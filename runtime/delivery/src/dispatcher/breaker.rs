//! Whether a group's handler fails as a whole: then its backlog waits, and one event probes.
//!
//! ```text
//!   closed ── of 50 events or more in a minute, half failed ──▶ open
//!     ▲                                                          │ a probe after 1 s, 2 s … 30 s
//!     └───────────────────── the probe succeeds ─────────────────┘
//! ```
//!
//! A mail server that is down for an hour must not use up the attempts of all that was published
//! meanwhile. An event counts by its first attempt, so one that fails for ever counts once, and what
//! failed before comes again by its own back-off. While it is open only the probe's end counts: what
//! else was out began before.
//!
//! Circuit breaker: M. Nygard, Release It!, 2007. Half of all and not a tenth, as some failing is
//! what retries are for, and a group that is opened works off one event a second.

use tidings_types::limits::{
    BREAKER_EVENTS_MIN, BREAKER_PERCENT, BREAKER_PROBE_MAX, BREAKER_PROBE_MIN, BREAKER_WINDOW,
};

const BUCKETS: usize = 12;
const BUCKET_MS: u64 = BREAKER_WINDOW.as_millis() as u64 / BUCKETS as u64;
/// A probe that has not ended by then is waited for no longer: it may have gone with its lane.
const PROBE_LOST_MS: u64 = 60_000;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Succeeded,
    Failed,
    /// It never began.
    Unstarted,
}

/// First attempts of some seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    number: u64,
    n_events: u32,
    n_failed: u32,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    buckets: [Bucket; BUCKETS],
    open: Option<Open>,
    is_told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    why: Why,
    probe_at_ms: u64,
    pause_ms: u64,
    /// The hand-out that probes, and since when.
    probe: Option<(u64, u64)>,
}

/// So many of so many events failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) n_failed: u32,
    pub(super) n_events: u32,
}

impl Breaker {
    /// How many events may be handed out by now.
    pub(super) fn room(&self, now_ms: u64) -> usize {
        match &self.open {
            None => usize::MAX,
            Some(open) => usize::from(open.next_ms() <= now_ms),
        }
    }

    /// When there will be room again.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.open.as_ref().map(Open::next_ms)
    }

    /// An event was handed out: while it is open, the probe.
    pub(super) const fn handed_out(&mut self, handed_as: u64, now_ms: u64) {
        if let Some(open) = &mut self.open {
            open.probe = Some((handed_as, now_ms));
        }
    }

    /// A hand-out of an event ended, that of its first attempt or not.
    pub(super) fn ended(&mut self, handed_as: u64, is_first: bool, attempt: Attempt, now_ms: u64) {
        match &mut self.open {
            Some(open) if open.probe.is_some_and(|(probe, _)| probe == handed_as) => {
                open.probe = None;
                match attempt {
                    Attempt::Succeeded => *self = Self { is_told: self.is_told, ..Self::default() },
                    Attempt::Failed => open.wait_longer(now_ms),
                    Attempt::Unstarted => {}
                }
            }
            None if is_first && attempt != Attempt::Unstarted => {
                self.count(attempt == Attempt::Failed, now_ms);
            }
            Some(_) | None => {}
        }
    }

    fn count(&mut self, has_failed: bool, now_ms: u64) {
        let number = now_ms / BUCKET_MS;
        let idx = (number % BUCKETS as u64) as usize;
        let bucket = self.buckets.get_mut(idx).expect("taken modulo their number");
        if bucket.number != number {
            *bucket = Bucket { number, ..Bucket::default() };
        }
        bucket.n_events = bucket.n_events.saturating_add(1);
        if !has_failed {
            return;
        }
        bucket.n_failed = bucket.n_failed.saturating_add(1);
        let recent = self.buckets.iter().filter(|it| number < it.number + BUCKETS as u64);
        let why = recent.fold(Why::default(), |why, it| Why {
            n_failed: why.n_failed.saturating_add(it.n_failed),
            n_events: why.n_events.saturating_add(it.n_events),
        });
        let is_half = u64::from(why.n_events) * BREAKER_PERCENT <= u64::from(why.n_failed) * 100;
        if BREAKER_EVENTS_MIN <= why.n_events && is_half {
            let pause_ms = BREAKER_PROBE_MIN.as_millis() as u64;
            let probe_at_ms = now_ms.saturating_add(pause_ms);
            self.open = Some(Open { why, probe_at_ms, pause_ms, probe: None });
        }
    }

    /// Whether it has opened, and why, or closed since this was asked last.
    pub(super) fn news(&mut self) -> Option<Result<(), Why>> {
        let is_open = self.open.is_some();
        if std::mem::replace(&mut self.is_told, is_open) == is_open {
            return None;
        }
        Some(self.open.as_ref().map_or(Ok(()), |open| Err(open.why)))
    }
}

impl Open {
    const fn next_ms(&self) -> u64 {
        match self.probe {
            Some((_, since_ms)) => since_ms.saturating_add(PROBE_LOST_MS),
            None => self.probe_at_ms,
        }
    }

    fn wait_longer(&mut self, now_ms: u64) {
        self.pause_ms = (2 * self.pause_ms).min(BREAKER_PROBE_MAX.as_millis() as u64);
        self.probe_at_ms = now_ms.saturating_add(self.pause_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u64 = 7;

    fn fail(breaker: &mut Breaker, n_events: u32, now_ms: u64) {
        (0..n_events).for_each(|_| breaker.ended(ID, true, Attempt::Failed, now_ms));
    }

    /// Some failing is what retries are for: it must stay closed, whatever the load; and it must open
    /// when half of the events fail, but not for few, nor for the same ones again and again.
    #[test]
    fn opens_when_half_of_many_events_fail() {
        let mut breaker = Breaker::default();
        for n in 0..10_000_u64 {
            let attempt = if n % 5 < 2 { Attempt::Failed } else { Attempt::Succeeded };
            breaker.ended(ID, true, attempt, n * 3);
        }
        assert_eq!((breaker.room(30_000), breaker.news()), (usize::MAX, None));

        let mut breaker = Breaker::default();
        fail(&mut breaker, BREAKER_EVENTS_MIN - 1, 0);
        (0..999).for_each(|_| breaker.ended(ID, false, Attempt::Failed, 0));
        assert_eq!(breaker.room(0), usize::MAX, "they are few");
        fail(&mut breaker, 1, 0);
        let why = Why { n_failed: BREAKER_EVENTS_MIN, n_events: BREAKER_EVENTS_MIN };
        assert_eq!((breaker.room(0), breaker.news(), breaker.news()), (0, Some(Err(why)), None));
    }

    /// Failures of long ago must not add up with today's.
    #[test]
    fn old_failures_are_forgotten() {
        let mut breaker = Breaker::default();
        for minute in 0..100 {
            fail(&mut breaker, BREAKER_EVENTS_MIN / 2, minute * 61_000);
        }
        assert_eq!(breaker.room(6_200_000), usize::MAX);
    }

    /// While it is open one event probes at a time, ever later up to a bound; what was out before says
    /// nothing, and one success closes it with a clean record.
    #[test]
    fn probes_one_at_a_time_and_closes_with_the_first_success() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, BREAKER_EVENTS_MIN, 0);
        breaker.ended(ID, true, Attempt::Succeeded, 10);
        let mut now_ms = 0;
        for pause_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(breaker.next_ms(), Some(now_ms + pause_ms));
            assert_eq!(
                (breaker.room(now_ms + pause_ms - 1), breaker.room(now_ms + pause_ms)),
                (0, 1)
            );
            now_ms += pause_ms;
            breaker.handed_out(ID, now_ms);
            assert_eq!(breaker.room(now_ms), 0, "one at a time");
            breaker.ended(ID, false, Attempt::Failed, now_ms);
        }
        now_ms += 30_000;
        breaker.handed_out(ID, now_ms);
        breaker.ended(ID, false, Attempt::Unstarted, now_ms);
        assert_eq!(breaker.room(now_ms), 1, "it proved nothing");
        breaker.handed_out(ID, now_ms);
        assert_eq!(
            breaker.room(now_ms + PROBE_LOST_MS),
            1,
            "a probe that is lost is not waited for"
        );
        breaker.news();
        breaker.ended(ID, false, Attempt::Succeeded, now_ms);
        assert_eq!((breaker.news(), breaker.room(now_ms)), (Some(Ok(())), usize::MAX));
        fail(&mut breaker, BREAKER_EVENTS_MIN - 1, now_ms);
        assert_eq!(breaker.room(now_ms), usize::MAX);
    }
}
