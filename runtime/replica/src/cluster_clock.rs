//! Cluster time: it never goes back, never jumps, and drifts by 10 % at most.
//!
//! ```text
//!   anchor ─┬─ elapsed (monotonic) ──────────┬─▶ now
//!           └─ gap to the aim, at anchor     └─ time = anchor + elapsed + gap, cut to ± elapsed/10
//! ```
//!
//! Who leads aims at wall time. Everyone else aims at the newest time in the log and what has
//! elapsed since, so that a new leader goes on where the old one stopped: with a wall clock of its
//! own to aim at, a follower would be hours ahead after a day, and as a leader make the state forget
//! its producers at once.
//!
//! The gap is taken when the anchor is set and not when the time is read: so reading needs no
//! change, and two readings never disagree about their order, whatever wall time does between them.

use std::time::Duration;

use crate::port::Now;

/// The slew is at most one part in this many.
const SLEW_PARTS: u64 = 10;

/// See the module's description. All times in microseconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct ClusterClock {
    time: u64,
    mono: Duration,
    /// How far the aim was ahead of `time` when the anchor was set.
    gap: i64,
    /// The newest time in the log, and when it was seen first. Without one, the first one that comes
    /// is taken as it is.
    newest: Option<(u64, Duration)>,
    leads: bool,
}

impl ClusterClock {
    /// Goes on from the newest time in the log; starts at wall time if the log has none.
    pub(crate) fn new(ts_ms: u64, now: Now) -> Self {
        let newest = (ts_ms > 0).then_some((micros(ts_ms), now.mono));
        let time = newest.map_or(micros(now.wall_ms), |(ts, _)| ts);
        let mut clock = Self { time, mono: now.mono, gap: 0, newest, leads: false };
        clock.advance(now);
        clock
    }

    /// This replica leads from here on, or no more.
    pub(crate) fn lead(&mut self, leads: bool, now: Now) {
        self.leads = leads;
        self.advance(now);
    }

    /// The time now, in milliseconds.
    pub(crate) fn read_ms(&self, now: Now) -> u64 {
        self.read(now) / 1_000
    }

    /// Moves the anchor here. What is read later depends on wall time only through this.
    pub(crate) fn advance(&mut self, now: Now) {
        self.time = self.read(now);
        self.mono = self.mono.max(now.mono);
        let aim = match self.newest.filter(|_| !self.leads) {
            Some((ts, seen)) => ts.saturating_add(elapsed(seen, now)),
            None => micros(now.wall_ms),
        };
        let aim = i64::try_from(aim).unwrap_or(i64::MAX);
        self.gap = aim.saturating_sub(i64::try_from(self.time).unwrap_or(i64::MAX));
    }

    /// An entry of this time was applied: the clock is never behind it. The first entry of a leader
    /// has no time, which says nothing.
    pub(crate) fn observe(&mut self, ts_ms: u64, now: Now) {
        let ts = micros(ts_ms);
        self.advance(now);
        if ts == 0 || self.newest.is_some_and(|(newest, _)| ts <= newest) {
            return;
        }
        self.time = if self.newest.is_none() { ts } else { self.time.max(ts) };
        self.newest = Some((ts, now.mono));
        self.advance(now);
    }

    fn read(&self, now: Now) -> u64 {
        let elapsed = elapsed(self.mono, now);
        let slew = i64::try_from(elapsed / SLEW_PARTS).unwrap_or(i64::MAX);
        let gap = self.gap.clamp(-slew, slew);
        self.time.saturating_add(elapsed).saturating_add_signed(gap)
    }
}

fn elapsed(since: Duration, now: Now) -> u64 {
    let elapsed = now.mono.saturating_sub(since).as_micros();
    u64::try_from(elapsed).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

fn micros(ms: u64) -> u64 {
    ms.saturating_mul(1_000).min(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_state::State;
    use tidings_types::effect::{Effect, Refused};
    use tidings_types::event::NewEvent;
    use tidings_types::id::{NodeId, ProducerId, Sequence, TopicId};
    use tidings_types::layout::command::Command;
    use tidings_types::layout::entry::{EntryBuilder, SectionKind};
    use tidings_types::layout::records::RecordsBuilder;
    use tidings_types::name::TopicName;

    use super::*;

    /// The clock of a replica that leads.
    fn leading(ts_ms: u64, now: Now) -> ClusterClock {
        let mut clock = ClusterClock::new(ts_ms, now);
        clock.lead(true, now);
        clock
    }

    const fn now(mono_ms: u64, wall_ms: u64) -> Now {
        Now { mono: Duration::from_millis(mono_ms), wall_ms }
    }

    #[test]
    fn clock_starts_at_wall_time_or_goes_on_from_the_log() {
        assert_eq!(ClusterClock::new(0, now(5, 7_000)).read_ms(now(5, 7_000)), 7_000);
        // A log whose newest entry is 100 s old: no jump, but 10 % faster until it has caught up.
        let mut clock = leading(7_000, now(0, 107_000));
        assert_eq!(clock.read_ms(now(10_000, 117_000)), 18_000);
        for second in 1..2_000 {
            clock.advance(now(second * 1_000, 107_000 + second * 1_000));
        }
        assert_eq!(clock.read_ms(now(2_000_000, 2_107_000)), 2_107_000);
    }

    #[test]
    fn follower_takes_the_first_time_and_later_ones_only_forward() {
        let mut clock = ClusterClock::new(0, now(0, 9_000_000));
        clock.observe(1_000, now(10, 9_000_010));
        assert_eq!(clock.read_ms(now(10, 9_000_010)), 1_000);
        clock.observe(900, now(20, 9_000_020));
        assert_eq!(clock.read_ms(now(20, 9_000_020)), 1_010);
        clock.observe(5_000, now(20, 9_000_020));
        assert_eq!(clock.read_ms(now(20, 9_000_020)), 5_000);
    }

    /// A follower whose wall clock is hours ahead, or behind, leads after a day: its time must go on
    /// where the last entry was, or the state forgets producers early, or keeps back-offs for hours.
    #[test]
    fn new_leader_goes_on_where_the_old_one_stopped() {
        const HOUR_MS: u64 = 3_600_000;
        for skew_ms in [-3 * HOUR_MS as i64, 3 * HOUR_MS as i64] {
            let wall = |second: u64| 100 * HOUR_MS + second * 1_000;
            let skewed =
                |second: u64| now(second * 1_000, wall(second).wrapping_add_signed(skew_ms));
            let mut leader = leading(0, now(0, wall(0)));
            let mut follower = ClusterClock::new(0, skewed(0));
            for second in 0..24 * 3_600 {
                let at = now(second * 1_000, wall(second));
                leader.advance(at);
                follower.advance(skewed(second));
                if second % 60 == 0 {
                    follower.observe(leader.read_ms(at), skewed(second));
                }
            }
            let end = 24 * 3_600;
            follower.lead(true, skewed(end));
            let behind =
                follower.read_ms(skewed(end)).abs_diff(leader.read_ms(now(end * 1_000, wall(end))));
            assert!(behind <= 10, "{behind} ms apart");
            // From here on it leads by its own wall clock, slowly.
            let hour_later = end + 3_600;
            let moved = follower.read_ms(skewed(hour_later)) - follower.read_ms(skewed(end));
            assert_eq!(moved, if skew_ms < 0 { HOUR_MS * 9 / 10 } else { HOUR_MS * 11 / 10 });
        }
    }

    /// A leader's first entry has no time. On a fresh log it must not set the clock back to 1970.
    #[test]
    fn entry_without_a_time_changes_nothing() {
        let mut clock = ClusterClock::new(0, now(5, 7_000));
        clock.observe(0, now(6, 7_001));
        assert_eq!(clock.read_ms(now(6, 7_001)), 7_001);
    }

    /// F34: a wall clock that jumps by an hour forth and back must neither make the state forget a
    /// producer early nor ring a timer early, and must not hold a timer back for long. The state
    /// sees nothing but the times of entries, so we give it those of a clock under which wall time
    /// strobes, with a producer that says nothing for 54 minutes and one that says nothing for 67.
    #[test]
    fn f34_jumps_of_wall_time_expire_no_producer_and_ring_no_timer_early() {
        const HOUR_MS: u64 = 3_600_000;
        let wall = |second: u64| 10 * HOUR_MS + second * 1_000 + second % 3 * HOUR_MS - HOUR_MS;
        for n_silent in [54 * 60, 67 * 60] {
            let (mut clock, mut state) = (leading(0, now(0, wall(0))), State::new());
            let mut send = |ts_ms, sequence| {
                let topic = Command::CreateTopic { name: TopicName::new("t").unwrap() };
                let mut records = RecordsBuilder::with_capacity(0);
                let (id, kind, key, payload) = ("e", "t.v1", b"".as_slice(), b"".as_slice());
                records.push(&NewEvent { id, kind, key, time_ms: 0, headers: b"", payload });
                let producer = ProducerId::new([1; 16]);
                let records = records.finish(TopicId::new(1), producer, Sequence::new(sequence));
                let mut entry = EntryBuilder::with_capacity(0);
                entry.push(SectionKind::Command, &topic.encode());
                entry.push(SectionKind::Records, &records);
                let mut effects = Vec::new();
                let index = state.applied().next();
                state.apply(index, &entry.finish(NodeId::new(1), ts_ms), &mut effects).unwrap();
                effects.into_iter().find_map(|effect| match effect {
                    Effect::Published(published) => Some(published.result),
                    _ => None,
                })
            };
            let begun = clock.read_ms(now(0, wall(0)));
            assert!(send(begun, 0).is_some_and(|result| result.is_ok()));
            let mut rang_at = None;
            for second in 1..=n_silent {
                clock.advance(now(second * 1_000, wall(second)));
                let time = clock.read_ms(now(second * 1_000, wall(second)));
                // A retry that is due 30 s of cluster time after the beginning.
                rang_at = rang_at.or((begun + 30_000 <= time).then_some(second));
            }
            assert!(rang_at.is_some_and(|second| (27..=34).contains(&second)), "{rang_at:?}");
            let at = now(n_silent * 1_000, wall(n_silent));
            let known = send(clock.read_ms(at), 1).unwrap();
            match known {
                Ok(placed) => assert_eq!((placed.first.get(), n_silent), (1, 54 * 60)),
                Err(why) => assert_eq!((why, n_silent), (Refused::ProducerExpired, 67 * 60)),
            }
        }
    }

    proptest! {
        /// Whatever wall time does, cluster time moves by 0.9 to 1.1 of the monotonic time.
        #[test]
        fn rate_keeps_within_ten_percent(
            start in 0_u64..1 << 42,
            steps in prop::collection::vec((0_u64..5_000, any::<u64>(), any::<bool>()), 1..50),
        ) {
            let mut clock = leading(start, now(0, 1 << 41));
            let (mut mono, mut last) = (0, clock.read(now(0, 1 << 41)));
            for (elapsed, wall, moves_anchor) in steps {
                mono += elapsed;
                let at = now(mono, wall);
                if moves_anchor {
                    clock.lead(wall % 3 > 0, at);
                }
                let time = clock.read(at);
                // Two microseconds of slack: each anchor rounds down once.
                prop_assert!(last + elapsed * 900 <= time + 2, "{last} {elapsed} {time}");
                prop_assert!(time <= last + elapsed * 1_100 + 2, "{last} {elapsed} {time}");
                last = time;
            }
        }
    }
}
