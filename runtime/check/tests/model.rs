//! What a correct system shows is valid, and one change to it is flagged.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::ptr_arg,
    reason = "a test may panic and print; all changes have one signature"
)]

mod common;

use common::TOPIC;
use common::model::history;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
use tidings_check::history::{Line, Outcome, Seen};
use tidings_check::verdict::check;
use tidings_check::violation::Invariant;

/// So many cases, and no files beside the sources.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(48))]

    /// A correct system must be found valid, whatever was done to it: crashes, removals, failures,
    /// repeats, refusals, changes of leader.
    #[test]
    fn a_correct_system_is_valid(seed in any::<u64>(), n_steps in 20_usize..300) {
        let verdict = check(&history(seed, n_steps));
        prop_assert!(verdict.is_valid(), "{verdict}");
    }

    /// One change to a valid history must be flagged, by the invariant that stands against it.
    #[test]
    fn one_change_is_flagged(seed in any::<u64>(), n_steps in 100_usize..300, pick in any::<usize>()) {
        let lines = history(seed, n_steps);
        for (name, expected, mutate) in MUTATIONS {
            let mut changed = lines.clone();
            if !mutate(&mut changed, pick) {
                continue;
            }
            changed.iter_mut().zip(0..).for_each(|(line, at)| line.at_us = at * 1000);
            let verdict = check(&changed);
            let found = verdict.violations.iter().any(|found| found.invariant == *expected);
            prop_assert!(found, "{name}: {expected} does not mind\n{verdict}");
        }
    }
}

/// A member that was taken out of a group and died afterwards did not hold its event any more, so that
/// the repeat is the removal's and not the death's, whose count does not have it.
#[test]
fn removal_before_a_death_is_the_cause() {
    let verdict = check(&history(12_725_498_113_271_877_418, 27));
    assert!(verdict.is_valid(), "{verdict}");
}

/// The model must show all that a system under faults can show, or its being found valid means
/// little.
#[test]
fn the_model_shows_enough() {
    let mut sum = [0; 6];
    for seed in 1..=50 {
        let lines = history(seed * 104_729, 250);
        let tally = check(&lines).tally;
        let late = |line: &&Line| matches!(line.seen, Seen::Removed { .. });
        let figures = [
            tally.redelivered,
            tally.failed_attempts,
            tally.lost_attempts,
            tally.dead_letters,
            tally.unknown_stored,
            lines.iter().filter(late).count() as u64,
        ];
        sum.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
        assert!(tally.duplicates <= tally.duplicates_bound);
        assert_eq!((tally.missing, tally.out_of_order), (0, 0));
    }
    println!("redelivered, failed, lost, dead, unknown but stored, removed: {sum:?}");
    assert!(sum.iter().all(|figure| 50 <= *figure), "{sum:?}");
}

/// Most changes must be possible in most histories, or the test above tests nothing.
#[test]
fn changes_can_be_made() {
    const SEEDS: u64 = 50;
    let mut n_made = vec![0; MUTATIONS.len()];
    for seed in 0..SEEDS {
        let lines = history(seed * 7919 + 1, 250);
        for (n_made, (_, _, mutate)) in n_made.iter_mut().zip(MUTATIONS) {
            *n_made += u64::from(mutate(&mut lines.clone(), seed as usize));
        }
    }
    for (n_made, (name, _, _)) in n_made.into_iter().zip(MUTATIONS) {
        println!("{n_made:>3} of {SEEDS}  {name}");
        assert!(10 <= n_made, "{name} can be made in {n_made} of {SEEDS} histories");
    }
}

type Mutate = fn(&mut Vec<Line>, usize) -> bool;

const MUTATIONS: &[(&str, Invariant, Mutate)] = &[
    ("drop an acknowledged event from a node's log", Invariant::I1, drop_from_log),
    ("drop all handlings of an acknowledged event", Invariant::I1, drop_handlings),
    ("alter a payload on its way to a handler", Invariant::I2, alter),
    ("let a handler see an event that nobody sent", Invariant::I2, make_up),
    ("swap two offsets on a node", Invariant::I3, swap_offsets),
    ("tell a publisher another offset", Invariant::I4, tell_another_offset),
    ("swap the answers of two calls", Invariant::I4, swap_answers),
    ("deliver before it is in any log", Invariant::I7, deliver_unstored),
    ("begin before the key's last event ended", Invariant::I8, begin_early),
    ("raise a floor", Invariant::I9, raise_floor),
    ("settle before the handler ended", Invariant::I9, settle_early),
    ("list a dead letter twice", Invariant::I10, letter_twice),
    ("list a dead letter too early", Invariant::I10, letter_early),
    ("count an attempt too far", Invariant::I10, skip_attempt),
    ("settle twice", Invariant::I11, settle_twice),
    ("turn the last success into a failure", Invariant::I12, fail_last),
    ("handle what is settled once more", Invariant::I13, repeat),
    ("let a replica differ", Invariant::I14, differ),
    ("let a second node lead", Invariant::I15, lead_too),
    ("let a position go back", Invariant::I15, go_back),
    ("acknowledge before the disk", Invariant::I16, ack_early),
    ("leave a replica behind", Invariant::I17, stay_behind),
];

/// The line that `pick` names of those that fit.
fn pick_of(lines: &[Line], pick: usize, fits: impl Fn(&Seen) -> bool) -> Option<usize> {
    let fitting: Vec<_> = (0..lines.len()).filter(|at| fits(&lines[*at].seen)).collect();
    fitting.get(pick % fitting.len().max(1)).copied()
}

fn acknowledged(lines: &[Line]) -> Vec<(u64, u64)> {
    let mut calls = std::collections::BTreeMap::new();
    let mut acked = Vec::new();
    for line in lines {
        match &line.seen {
            Seen::Publish { op, events, .. } => {
                calls.insert(*op, events.clone());
            }
            Seen::Published { op, first } => {
                acked.extend(calls[op].iter().zip(*first..).map(|((event, _), at)| (*event, at)));
            }
            _ => {}
        }
    }
    acked
}

fn drop_from_log(lines: &mut Vec<Line>, pick: usize) -> bool {
    let acked = acknowledged(lines);
    let is_acked = |event: &u64| acked.iter().any(|(of_ack, _)| of_ack == event);
    let at =
        pick_of(lines, pick, |seen| matches!(seen, Seen::Read { event, .. } if is_acked(event)));
    at.map(|at| lines.remove(at)).is_some()
}

fn drop_handlings(lines: &mut Vec<Line>, pick: usize) -> bool {
    let acked = acknowledged(lines);
    let (_, dropped) = acked[pick % acked.len()];
    let is_about = |line: &Line| match line.seen {
        Seen::Started { group: 1, offset, .. }
        | Seen::Ended { group: 1, offset, .. }
        | Seen::DeadLetter { group: 1, offset, .. } => offset == dropped,
        _ => false,
    };
    lines.retain(|line| !is_about(line));
    true
}

fn alter(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Started { .. }));
    let Some(Seen::Started { is_whole, .. }) = at.map(|at| &mut lines[at].seen) else {
        return false;
    };
    *is_whole = false;
    true
}

fn make_up(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Started { .. }));
    let Some(Seen::Started { event, .. }) = at.map(|at| &mut lines[at].seen) else { return false };
    *event = 7;
    true
}

fn swap_offsets(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Read { .. }));
    let Some(at) = at.filter(|at| matches!(lines[at + 1].seen, Seen::Read { .. })) else {
        return false;
    };
    let event_of = |line: &Line| match line.seen {
        Seen::Read { event, .. } => event,
        _ => 0,
    };
    let events = [event_of(&lines[at + 1]), event_of(&lines[at])];
    for (line, swapped) in lines[at..].iter_mut().zip(events) {
        if let Seen::Read { event, .. } = &mut line.seen {
            *event = swapped;
        }
    }
    true
}

fn tell_another_offset(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Published { .. }));
    let Some(Seen::Published { first, .. }) = at.map(|at| &mut lines[at].seen) else {
        return false;
    };
    // The last one of all would name an offset that no log has: I1's.
    *first = first.saturating_sub(1);
    at.is_some_and(|at| !matches!(lines[at].seen, Seen::Published { first: 0, .. }))
}

fn swap_answers(lines: &mut Vec<Line>, pick: usize) -> bool {
    let is_answer = |seen: &Seen| matches!(seen, Seen::Published { .. });
    let (one, two) = (pick_of(lines, pick, is_answer), pick_of(lines, pick + 1, is_answer));
    let (Some(one), Some(two)) = (one, two) else { return false };
    let first_of = |line: &Line| match line.seen {
        Seen::Published { first, .. } => first,
        _ => 0,
    };
    let firsts = [first_of(&lines[one]), first_of(&lines[two])];
    for (at, swapped) in [(one, firsts[1]), (two, firsts[0])] {
        if let Seen::Published { first, .. } = &mut lines[at].seen {
            *first = swapped;
        }
    }
    firsts[0] != firsts[1]
}

fn deliver_unstored(lines: &mut Vec<Line>, pick: usize) -> bool {
    // A handler is given the event that belongs to another offset.
    let starts: Vec<_> = lines
        .iter()
        .filter_map(|line| match line.seen {
            Seen::Started { event, .. } => Some(event),
            _ => None,
        })
        .collect();
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Started { .. }));
    let Some(Seen::Started { event, .. }) = at.map(|at| &mut lines[at].seen) else { return false };
    let Some(other) = starts.iter().find(|other| *other != event) else { return false };
    *event = *other;
    true
}

fn begin_early(lines: &mut Vec<Line>, pick: usize) -> bool {
    // Of two first deliveries of a key, the later one moves before the end of the earlier one.
    let first_starts: Vec<_> = (0..lines.len())
        .filter_map(|at| match lines[at].seen {
            Seen::Started { group: 1, offset, key, attempt: 1, .. } => Some((at, offset, key)),
            _ => None,
        })
        .collect();
    let pairs: Vec<_> = first_starts
        .iter()
        .filter_map(|(at, offset, key)| {
            let later = first_starts
                .iter()
                .find(|(_, of_later, later_key)| later_key == key && offset < of_later)?;
            Some((*at, later.0))
        })
        .collect();
    let Some((earlier, later)) = pairs.get(pick % pairs.len().max(1)).copied() else {
        return false;
    };
    let line = lines.remove(later);
    lines.insert(earlier + 1, line);
    true
}

fn raise_floor(lines: &mut Vec<Line>, pick: usize) -> bool {
    let n_events =
        lines.iter().filter(|line| matches!(line.seen, Seen::Read { node: 1, .. })).count();
    let not_at_end =
        |seen: &Seen| matches!(seen, Seen::Floor { floor, .. } if *floor < n_events as u64 / 2);
    let at = pick_of(lines, pick, not_at_end);
    let Some(Seen::Floor { floor, .. }) = at.map(|at| &mut lines[at].seen) else { return false };
    *floor += 1;
    true
}

fn settle_early(lines: &mut Vec<Line>, pick: usize) -> bool {
    let fits = |seen: &Seen| matches!(seen, Seen::Settled { is_dead: false, .. });
    let Some(at) = pick_of(lines, pick, fits) else { return false };
    let Seen::Settled { group: of_line, first, .. } = lines[at].seen else { return false };
    let is_start = |line: &Line| matches!(line.seen, Seen::Started { group, offset, .. } if group == of_line && offset == first);
    let start = lines.iter().position(is_start).expect("what is settled had begun");
    let line = lines.remove(at);
    lines.insert(start + 1, line);
    true
}

fn letter_twice(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::DeadLetter { .. }));
    let Some(at) = at else { return false };
    lines.insert(at, lines[at].clone());
    true
}

fn letter_early(lines: &mut Vec<Line>, pick: usize) -> bool {
    let fits =
        |seen: &Seen| matches!(seen, Seen::DeadLetter { attempts: 2.., is_fatal: false, .. });
    let at = pick_of(lines, pick, fits);
    let Some(Seen::DeadLetter { attempts, .. }) = at.map(|at| &mut lines[at].seen) else {
        return false;
    };
    *attempts -= 1;
    // Several deaths over it would be a reason.
    let Some(Seen::DeadLetter { group: of_letter, offset: of_line, .. }) =
        at.map(|at| &lines[at].seen)
    else {
        return false;
    };
    let is_start = |line: &&Line| matches!(line.seen, Seen::Started { group, offset, .. } if (group, offset) == (*of_letter, *of_line));
    lines.iter().filter(is_start).count() < 6
}

fn skip_attempt(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Started { attempt: 1, .. }));
    let Some(Seen::Started { attempt, .. }) = at.map(|at| &mut lines[at].seen) else {
        return false;
    };
    *attempt = 3;
    true
}

fn settle_twice(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Settled { .. }));
    let Some(at) = at else { return false };
    lines.insert(at, lines[at].clone());
    true
}

fn fail_last(lines: &mut Vec<Line>, pick: usize) -> bool {
    let once = |of_line: u64, of_group: u32| {
        let is_end = |line: &&Line| matches!(line.seen, Seen::Ended { group, offset, .. } if group == of_group && offset == of_line);
        lines.iter().filter(is_end).count() == 1
    };
    let fits = |seen: &Seen| matches!(seen, Seen::Ended { group, offset, outcome: Outcome::Done, .. } if once(*offset, *group));
    let at = pick_of(lines, pick, fits);
    let Some(Seen::Ended { outcome, .. }) = at.map(|at| &mut lines[at].seen) else { return false };
    *outcome = Outcome::Again;
    true
}

fn repeat(lines: &mut Vec<Line>, pick: usize) -> bool {
    let Some(at) = pick_of(lines, pick, |seen| matches!(seen, Seen::Started { .. })) else {
        return false;
    };
    let line = lines[at].clone();
    let end = lines.iter().position(|line| line.seen == Seen::Healed).expect("all heals");
    lines.insert(end.max(at + 1), line);
    let Seen::Started { group: of_line, offset: of_start, .. } = lines[at].seen else {
        return false;
    };
    // Only what was settled by then surely has no cause to come again.
    lines[..end].iter().any(|line| {
        matches!(line.seen, Seen::Settled { group, first, .. } if group == of_line && first == of_start)
    })
}

fn differ(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Digest { node: 2, .. }));
    let Some(Seen::Digest { digest, .. }) = at.map(|at| &mut lines[at].seen) else { return false };
    *digest ^= 1;
    let Seen::Digest { index: of_line, .. } = lines[at.unwrap_or_default()].seen else {
        return false;
    };
    let is_same =
        |line: &&Line| matches!(line.seen, Seen::Digest { index, .. } if index == of_line);
    1 < lines.iter().filter(is_same).count()
}

fn lead_too(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Status { leads: false, .. }));
    let Some(Seen::Status { leads, term: of_line, .. }) = at.map(|at| &mut lines[at].seen) else {
        return false;
    };
    *leads = true;
    let of_line = *of_line;
    let leads = |line: &&Line| matches!(line.seen, Seen::Status { leads: true, term, .. } if term == of_line);
    1 < lines.iter().filter(leads).count()
}

fn go_back(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Status { .. }));
    let Some(at) = at else { return false };
    let mut line = lines[at].clone();
    let Seen::Status { commit, applied, .. } = &mut line.seen else { return false };
    (*commit, *applied) = (*commit - 1, *applied - 1);
    lines.insert(at + 1, line);
    true
}

fn ack_early(lines: &mut Vec<Line>, pick: usize) -> bool {
    let at = pick_of(lines, pick, |seen| matches!(seen, Seen::Published { .. }));
    let Some(at) = at else { return false };
    let Seen::Published { op: of_line, .. } = lines[at].seen else { return false };
    let is_call = |line: &Line| matches!(line.seen, Seen::Publish { op, .. } if op == of_line);
    let call = lines.iter().position(is_call).expect("an answer has its call");
    let line = lines.remove(at);
    lines.insert(call + 1, line);
    true
}

fn stay_behind(lines: &mut Vec<Line>, _: usize) -> bool {
    let is_floor =
        |line: &Line| matches!(line.seen, Seen::Floor { node: 3, group: 1, topic: TOPIC, .. });
    let Some(at) = lines.iter().rposition(is_floor) else { return false };
    let Seen::Floor { floor, .. } = &mut lines[at].seen else { return false };
    *floor -= 1;
    true
}
