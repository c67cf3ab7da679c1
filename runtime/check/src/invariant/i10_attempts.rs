//! I10: attempts are counted, and an event is given up once, for a reason.
//!
//! For a user: `attempts(20)` means twenty, across crashes and changes of leader; a poison event
//! becomes one dead letter, and no event becomes one before its attempts are used up or its handler
//! said that it can never work.
//!
//! The first attempt is 1. The next number comes only after an attempt with the number before it
//! failed or was cut off by the death of its worker. A number comes again only if the outcome of the
//! attempt that had it can have been lost: its worker, process or membership ended since, or its lane
//! moved on, because others joined. Processes
//! that die three times over one event convict it before its attempts are used up.

use crate::facts::{Cut, Facts, Handling};
use crate::findings::{Breaks, Findings, Point};
use crate::history::{Outcome, Seen};
use crate::violation::Invariant;

/// So many deaths while an event was handled convict it.
const CONVICTED_BY: usize = 3;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    for handling in &facts.handlings {
        let Some(why) = wrong(facts, handling) else { continue };
        breaks.add(handling.line, || {
            let (group, _, offset) = facts.about(handling);
            let number = facts.number(handling.event);
            let what = format!(
                "group {group} began attempt {} of event {number} (offset {offset}): {why}",
                handling.attempt
            );
            let lines = facts.chain(handling.prev).map(|earlier| earlier.line).take(4).collect();
            (Point { event: Some(handling.event), place: place(facts, handling), lines }, what)
        });
    }
    for (at, line) in facts.lines.iter().enumerate() {
        letter(facts, &mut breaks, at, &line.seen);
    }
    if facts.handlings.is_empty() {
        findings.not_checked(Invariant::I10, "no handler was seen");
    }
    if facts.attempts_max().is_none() {
        findings.not_checked(Invariant::I10, "the bound: the run does not say it");
    }
    findings.report(Invariant::I10, breaks);
}

fn place(facts: &Facts<'_>, handling: &Handling) -> Option<(usize, u64)> {
    let mailbox = facts.mailboxes.get(handling.mailbox)?;
    Some((mailbox.topic, facts.offset(mailbox.topic, handling.place)))
}

fn wrong(facts: &Facts<'_>, handling: &Handling) -> Option<&'static str> {
    let attempt = handling.attempt;
    if facts.attempts_max().is_some_and(|max| max < attempt) {
        return Some("that is more than there may be");
    }
    let Some(before) = facts.chain(handling.prev).next() else {
        return (attempt != 1).then_some("the first is 1");
    };
    if before.attempt < attempt {
        let counted = facts.chain(handling.prev).filter(|earlier| earlier.attempt == attempt - 1);
        let (mut is_known, mut has_any_failed) = (false, false);
        for earlier in counted {
            is_known = true;
            has_any_failed |= has_failed(facts, earlier, handling.line);
        }
        return match (is_known, has_any_failed) {
            (false, _) => Some("it skips a number"),
            (true, false) => Some("no attempt with the number before it failed"),
            (true, true) => None,
        };
    }
    let mut same = facts.chain(handling.prev).filter(|earlier| earlier.attempt == attempt);
    let can_be_lost = |earlier: &Handling| {
        matches!(earlier.end, Some((_, Outcome::Lost)))
            || facts.taken(earlier, earlier.line, handling.line).is_some()
            || earlier.has_moved_before(handling)
    };
    (!same.any(can_be_lost)).then_some("that number was used, and its outcome cannot be lost")
}

fn has_failed(facts: &Facts<'_>, handling: &Handling, before: usize) -> bool {
    match handling.end {
        Some((_, Outcome::Again | Outcome::Dead | Outcome::Lost)) => true,
        Some((_, Outcome::Done)) => false,
        None => facts.is_gone(handling, handling.line, before),
    }
}

fn letter(facts: &Facts<'_>, breaks: &mut Breaks, at: usize, seen: &Seen) {
    let Seen::DeadLetter { group, topic, offset, event, attempts, is_fatal } = seen else { return };
    let mailbox = facts.mailbox_of.get(&(*group, *topic)).and_then(|idx| facts.mailboxes.get(*idx));
    let Some(mailbox) = mailbox else { return };
    let place = facts.topics.get(mailbox.topic).and_then(|topic| topic.offsets.idx(*offset));
    let Some(slot) = place.and_then(|place| mailbox.slots.get(place)) else { return };
    let handlings = || facts.chain(slot.last);
    let n_deaths = handlings().filter(|h| matches!(h.cut, Some((_, Cut::Gone)))).count();
    let max = facts.attempts_max();
    let why = if slot.letter != Some(at) {
        "it is listed twice".to_owned()
    } else if max.is_some_and(|max| max < *attempts) {
        "its attempts are more than there may be".to_owned()
    } else if !is_fatal && max.is_some_and(|max| *attempts < max) && n_deaths < CONVICTED_BY {
        "its attempts are not used up, and nothing says that it can never work".to_owned()
    } else if n_deaths == 0
        && slot.last.is_some()
        && handlings().all(|handling| handling.attempt != *attempts)
    {
        format!("it counts {attempts} attempts, and no handler began that one")
    } else {
        return;
    };
    breaks.add(at, || {
        let what = format!("dead letter of group {group}, event {event}, offset {offset}: {why}");
        let lines = slot.letter.into_iter().chain(handlings().map(|h| h.line).take(2)).collect();
        let place = Some((mailbox.topic, *offset));
        (Point { event: facts.event(*event), place, lines }, what)
    });
}
