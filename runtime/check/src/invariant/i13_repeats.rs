//! I13: nothing is done twice without a cause.
//!
//! For a user: "at least once" does not mean "often". An event comes again only if its handling
//! failed, or if its worker, its process or its membership ended before the log had its outcome. A
//! run without faults and failures has no repeats at all, a change of leader by itself causes none,
//! and what is settled never comes again.
//!
//! Each repeat must have its cause, and all together must not exceed what was in flight at each
//! death, plus what was taken from members, plus failed attempts.

use crate::facts::{Cut, Facts, Handling};
use crate::findings::{Breaks, Findings, Point};
use crate::history::{Outcome, Seen};
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    let (mut n_repeats, mut bound) = (0, in_flight(facts));
    let mut last = 0;
    for handling in &facts.handlings {
        bound = bound.saturating_add(u64::from(matches!(
            handling.end,
            Some((_, Outcome::Again | Outcome::Dead))
        )));
        let is_lost = matches!(handling.end, Some((_, Outcome::Lost)));
        bound = bound.saturating_add(u64::from(is_lost && handling.cut.is_none()));
        let Some(before) = facts.chain(handling.prev).next() else { continue };
        n_repeats += 1;
        last = handling.line;
        let cause = cause(facts, handling, before);
        bound = bound.saturating_add(u64::from(cause == Ok(Cause::Removed)));
        let Err(why) = cause else { continue };
        breaks.add(handling.line, || {
            let (group, _, offset) = facts.about(handling);
            let number = facts.number(handling.event);
            let what = format!("group {group} began event {number} (offset {offset}) again: {why}");
            let topic = facts.mailboxes.get(handling.mailbox).map(|mailbox| mailbox.topic);
            let place = topic.map(|topic| (topic, offset));
            let lines = [Some(before.line), before.over()].into_iter().flatten().collect();
            (Point { event: Some(handling.event), place, lines }, what)
        });
    }
    if bound < n_repeats {
        breaks.add(last, || {
            let what = format!("{n_repeats} repeats, and no more than {bound} have a cause");
            (Point::default(), what)
        });
    }
    if facts.handlings.is_empty() {
        findings.not_checked(Invariant::I13, "no handler was seen");
    }
    findings.repeats = (n_repeats, bound);
    findings.report(Invariant::I13, breaks);
}

/// What deaths may bring again.
fn in_flight(facts: &Facts<'_>) -> u64 {
    let of_worker = facts.run.map_or(0, |run| run.worker_in_flight_max);
    let of_line = |seen: &Seen| match seen {
        Seen::Down { in_flight, .. } => *in_flight,
        Seen::WorkerGone { .. } => of_worker,
        _ => 0,
    };
    facts.lines.iter().fold(0, |sum: u64, line| sum.saturating_add(of_line(&line.seen)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Failed,
    Died,
    Removed,
}

fn cause(facts: &Facts<'_>, handling: &Handling, before: &Handling) -> Result<Cause, &'static str> {
    let mailbox = facts.mailboxes.get(handling.mailbox);
    let slot = mailbox.and_then(|mailbox| mailbox.slots.get(handling.place));
    if slot.and_then(|slot| slot.settled).is_some_and(|settled| settled < handling.line) {
        return Err("the log had its outcome");
    }
    match (before.end, facts.taken(before, before.line, handling.line)) {
        (Some((_, Outcome::Again | Outcome::Dead | Outcome::Lost)), _) => Ok(Cause::Failed),
        (_, Some(Cut::Gone)) => Ok(Cause::Died),
        (_, Some(Cut::Removed)) => Ok(Cause::Removed),
        // Others joined and took the lane over while its outcome was on the way.
        (Some((_, Outcome::Done)), None) if before.has_moved_before(handling) => Ok(Cause::Removed),
        (Some((_, Outcome::Done)), None) => {
            Err("it had succeeded, and neither its worker nor its process nor its membership ended")
        }
        (None, None) => Err("its handler still ran"),
    }
}
