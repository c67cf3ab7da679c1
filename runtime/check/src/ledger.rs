//! The figures of a run, as people ask for them.

use std::fmt;

use serde::Serialize;

use crate::facts::{Answer, Facts, Source};
use crate::history::{Installed, Outcome, Seen};

/// A fault and an acknowledged publish overlap if the publish was under way within this time of the
/// fault's taking hold.
const NEAR_US: u64 = 500_000;

/// How much of everything was seen. All figures but `faults_*`, `calls` and the duplicates' bound
/// count events, or handlings of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Calls of publishers.
    pub calls: u64,
    /// Events whose publisher was told that they are stored.
    pub acknowledged: u64,
    /// Events whose publisher was told nothing it can rely on.
    pub unknown: u64,
    /// Of these, such as the log has.
    pub unknown_stored: u64,
    /// Of these, such as it has not.
    pub unknown_not_stored: u64,
    /// Events whose publisher was told that surely nothing is stored.
    pub refused: u64,
    /// Handlers that began.
    pub delivered: u64,
    /// Of these, such as began with an event that the group had begun with before.
    pub redelivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Handlings whose end nobody saw: their worker or process ended first.
    pub lost_attempts: u64,
    /// Events that a group gave up.
    pub dead_letters: u64,
    /// Acknowledged events that a node's log or a group lacks at the end.
    pub missing: u64,
    /// Handlings that began before an earlier event of their key was settled.
    pub out_of_order: u64,
    /// Handlings beyond the first of an event by a group.
    pub duplicates: u64,
    /// How many there may be: what was in flight at each death, what was taken from removed
    /// members, and failed attempts.
    pub duplicates_bound: u64,
    /// Faults that took hold.
    pub faults_installed: u64,
    /// Of these, such as had an acknowledged publish under way within half a second.
    pub faults_overlapped: u64,
    /// Faults that were passed over, or of which nobody can say.
    pub faults_skipped: u64,
}

impl Tally {
    /// Counts all but what the invariants find: missing, out of order, and the duplicates' bound.
    pub(crate) fn of(facts: &Facts<'_>) -> Self {
        let calls = facts.calls.iter().filter(|call| call.line != usize::MAX).count() as u64;
        let mut tally = Self { calls, ..Self::default() };
        for sent in facts.sent.iter().filter(|sent| sent.call.is_some()) {
            if sent.acked.is_some() {
                tally.acknowledged += 1;
            } else if sent.n_refused == sent.n_calls {
                tally.refused += 1;
            } else {
                tally.unknown += 1;
                let place = sent.place.and_then(|place| {
                    facts.topics.get(sent.topic).and_then(|topic| topic.places.get(place))
                });
                let is_stored = place.is_some_and(|place| place.source == Source::Log);
                tally.unknown_stored += u64::from(is_stored);
                tally.unknown_not_stored += u64::from(!is_stored);
            }
        }
        for handling in &facts.handlings {
            tally.delivered += 1;
            tally.redelivered += u64::from(handling.prev.is_some());
            match handling.end {
                Some((_, Outcome::Done)) => {}
                Some((_, Outcome::Again | Outcome::Dead)) => tally.failed_attempts += 1,
                Some((_, Outcome::Lost)) | None => tally.lost_attempts += 1,
            }
        }
        let slots = facts.mailboxes.iter().flat_map(|mailbox| &mailbox.slots);
        tally.dead_letters = slots.filter(|slot| slot.letter.is_some()).count() as u64;
        tally.faults(facts);
        tally
    }

    fn faults(&mut self, facts: &Facts<'_>) {
        let at_us = |line: usize| facts.lines.get(line).map_or(0, |line| line.at_us);
        let told = |call: &crate::facts::Call<'_>| match call.answer {
            Answer::Stored { line, .. } => Some((at_us(call.line), at_us(line))),
            _ => None,
        };
        let mut acked: Vec<(u64, u64)> = facts.calls.iter().filter_map(told).collect();
        acked.sort_unstable();
        // From here on: when the last of all calls up to this one was told.
        let mut latest = 0;
        for (_, told) in &mut acked {
            latest = latest.max(*told);
            *told = latest;
        }
        for line in facts.lines {
            let Seen::Fault { installed, .. } = &line.seen else { continue };
            if *installed != Installed::Yes {
                self.faults_skipped += 1;
                continue;
            }
            self.faults_installed += 1;
            let until = line.at_us.saturating_add(NEAR_US);
            let n_called = acked.partition_point(|(called, _)| *called <= until);
            let told = n_called.checked_sub(1).and_then(|idx| acked.get(idx));
            let from = line.at_us.saturating_sub(NEAR_US);
            self.faults_overlapped += u64::from(told.is_some_and(|(_, told)| from <= *told));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stored, not) = (self.unknown_stored, self.unknown_not_stored);
        writeln!(f, "acknowledged    {:>10}", self.acknowledged)?;
        writeln!(
            f,
            "unknown         {:>10}   {stored} were stored, {not} were not (both allowed)",
            self.unknown
        )?;
        writeln!(f, "refused         {:>10}", self.refused)?;
        writeln!(
            f,
            "delivered       {:>10}   of which redelivered {} (at least once)",
            self.delivered, self.redelivered
        )?;
        writeln!(f, "failed attempts {:>10}", self.failed_attempts)?;
        writeln!(f, "dead letters    {:>10}", self.dead_letters)?;
        writeln!(f, "missing         {:>10}   acknowledged but not there", self.missing)?;
        writeln!(f, "out of order    {:>10}   per key", self.out_of_order)?;
        writeln!(
            f,
            "duplicates      {:>10}   bound {} (in flight at each death + failed attempts)",
            self.duplicates, self.duplicates_bound
        )?;
        write!(
            f,
            "faults          {:>10}   {} overlapped an acknowledged publish",
            self.faults_installed, self.faults_overlapped
        )
    }
}
