//! For each invariant a small history that breaks it, and that no other invariant minds.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may panic and print"
)]

mod common;

use common::{GROUP, Story, TOPIC, WORKER};
use tidings_check::history::{Outcome, Seen};
use tidings_check::verdict::Judgement;
use tidings_check::violation::Invariant::{
    I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12, I13, I14, I15, I16, I17, I19,
};

fn read(of_node: u32, of_event: u64) -> impl Fn(&Seen) -> bool {
    move |seen| matches!(seen, Seen::Read { node, event, .. } if (*node, *event) == (of_node, of_event))
}

fn started(of_offset: u64) -> impl Fn(&Seen) -> bool {
    move |seen| matches!(seen, Seen::Started { offset, .. } if *offset == of_offset)
}

fn ended(of_offset: u64) -> impl Fn(&Seen) -> bool {
    move |seen| matches!(seen, Seen::Ended { offset, .. } if *offset == of_offset)
}

fn settled(of_offset: u64) -> impl Fn(&Seen) -> bool {
    move |seen| matches!(seen, Seen::Settled { first, .. } if *first == of_offset)
}

fn about(of_offset: u64) -> impl Fn(&Seen) -> bool {
    move |seen| started(of_offset)(seen) || ended(of_offset)(seen) || settled(of_offset)(seen)
}

fn published(of_op: u64) -> impl Fn(&Seen) -> bool {
    move |seen| matches!(seen, Seen::Published { op, .. } if *op == of_op)
}

fn publish(of_op: u64) -> impl Fn(&Seen) -> bool {
    move |seen| matches!(seen, Seen::Publish { op, .. } if *op == of_op)
}

/// The history that all others are bent from must be good, and everything in it be checked.
#[test]
fn the_healthy_one_is_valid() {
    let verdict = Story::healthy().verdict();
    assert!(verdict.is_valid(), "{verdict}");
    assert_eq!(verdict.exit_code(), 0);
    assert_eq!(verdict.not_checked, [], "{verdict}");
    let tally = verdict.tally;
    assert_eq!((tally.acknowledged, tally.delivered, tally.redelivered), (4, 4, 0));
    assert_eq!((tally.missing, tally.out_of_order), (0, 0));
    assert_eq!((tally.faults_installed, tally.faults_overlapped), (1, 1));
}

/// An acknowledged event must be in every log: node 3 has it not.
#[test]
fn i01_an_event_is_missing_on_one_node() {
    let story = Story::healthy().without(read(3, 102));
    story.breaks(&[I1]);
    let verdict = story.verdict();
    let witness = &verdict.violations[0].witness;
    assert_eq!((witness.event, witness.place), (Some(102), Some((TOPIC, 1))));
    let has_it = |of_node: u32| {
        let log = witness.logs.iter().find(|log| log.node == of_node).expect("a slice");
        log.events.contains(&(1, 102))
    };
    assert_eq!((has_it(1), has_it(2), has_it(3)), (true, true, false));
    assert_eq!((verdict.tally.missing, verdict.exit_code()), (1, 1));
}

/// An acknowledged event must be handled or be a dead letter: it was settled as one, and none is
/// listed.
#[test]
fn i01_a_dead_letter_is_lost() {
    let mut story = Story::begin(3);
    story.acked(101, 7);
    for attempt in 1..=3 {
        story.started(1, 0, attempt);
        story.ended(1, 0, if attempt < 3 { Outcome::Again } else { Outcome::Dead });
    }
    story.settled(0, 1, true);
    let mut listed = story.clone();
    listed.finish();
    listed = listed.before(|seen| *seen == Seen::End, {
        let (group, topic, offset, event, attempts) = (GROUP, TOPIC, 0, 101, 3);
        Seen::DeadLetter { group, topic, offset, event, attempts, is_fatal: false }
    });
    listed.breaks(&[]);
    story.finish();
    story.breaks(&[I1]);
}

/// A payload must be the one that was published: a handler got another.
#[test]
fn i02_a_payload_is_altered() {
    let alter = |seen: &mut Seen| {
        if let Seen::Started { is_whole, .. } = seen {
            *is_whole = false;
        }
    };
    Story::healthy().bend(started(1), alter).breaks(&[I2]);
}

/// A refused publish must leave nothing: it is in all logs, and handled.
#[test]
fn i02_what_was_refused_is_stored() {
    let refuse = |seen: &mut Seen| *seen = Seen::Refused { op: 102, error: "T0107".to_owned() };
    Story::healthy().bend(published(102), refuse).breaks(&[I2]);
}

/// An offset must hold one event: node 2 had said that it holds another one, which no log has now.
#[test]
fn i03_an_offset_changes_its_event() {
    let mut story = Story::begin(3);
    story.acked(101, 7);
    story.publish(150, 9);
    story.seen.push(Seen::Unknown { op: 150, error: "T0110".to_owned() });
    story.acked(102, 7);
    story.handled(1, 0);
    story.handled(1, 1);
    story.finish();
    story.breaks(&[]);
    let line = Seen::Placed { node: 2, topic: TOPIC, first: 1, events: vec![150] };
    story.before(published(199), line).breaks(&[I3]);
}

/// An acknowledged offset must hold that event: the publisher was told another one.
#[test]
fn i04_the_wrong_offset_is_told() {
    let mut story = Story::begin(3);
    story.publish(101, 7);
    story.publish(103, 8);
    for event in [101, 103] {
        story.stored(event);
    }
    for (op, first) in [(101, 1), (103, 0)] {
        story.seen.push(Seen::Published { op, first });
    }
    story.seen.iter_mut().for_each(|seen| {
        if let Seen::Publish { place, .. } = seen {
            *place = None;
        }
    });
    for offset in 0..2 {
        story.handled(1, offset);
    }
    story.finish();
    story.breaks(&[I4]);
}

/// A repeat must give the same offset.
#[test]
fn i04_a_repeat_is_told_another_offset() {
    let story = Story::healthy();
    story.clone().before(publish(199), Seen::Published { op: 102, first: 1 }).breaks(&[]);
    story.before(publish(199), Seen::Published { op: 102, first: 3 }).breaks(&[I4]);
}

/// What one publisher sent first must lie first: its second call came before its first one.
#[test]
fn i05_a_publisher_is_reordered() {
    let mut story = Story::begin(3);
    for (event, key) in [(101, 7), (103, 8)] {
        story.publish(event, key);
    }
    for event in [103, 101] {
        story.stored(event);
    }
    for (op, first) in [(103, 0), (101, 1)] {
        story.seen.push(Seen::Published { op, first });
    }
    for offset in 0..2 {
        story.handled(1, offset);
    }
    story.finish();
    story.breaks(&[I5]);
}

/// What was acknowledged first must lie first, whoever sent it: a later call got an earlier offset.
#[test]
fn i06_a_later_call_lies_first() {
    let mut story = Story::begin(3);
    story.publish(101, 7);
    for event in [103, 101] {
        story.stored(event);
    }
    story.seen.push(Seen::Published { op: 101, first: 1 });
    let events = vec![(103, 8)];
    story.seen.push(Seen::Publish { op: 103, publisher: 2, events, topic: TOPIC, place: Some(1) });
    story.seen.push(Seen::Published { op: 103, first: 0 });
    // It was in the logs before it was sent, too; that is mended here.
    let early = |seen: &Seen| {
        matches!(seen, Seen::Durable { event: 103, .. })
            || matches!(seen, Seen::Placed { events, .. } if *events == [103])
    };
    let moved: Vec<_> = story.seen.iter().filter(|seen| early(seen)).cloned().collect();
    story.seen.retain(|seen| !early(seen));
    let at = story.seen.len() - 1;
    story.seen.splice(at..at, moved);
    for offset in 0..2 {
        story.handled(1, offset);
    }
    story.finish();
    story.breaks(&[I6]);
}

/// A handler must see only what is in the log: a leader delivered what no majority took.
#[test]
fn i07_an_uncommitted_event_is_delivered() {
    let mut story = Story::begin(3);
    story.acked(101, 7);
    story.handled(1, 0);
    story.publish(150, 9);
    let (group, node, worker, topic, offset) = (GROUP, 1, 6, TOPIC, 1);
    let (event, key, is_whole, attempt, epoch) = (150, 9, true, 1, Some(1));
    story.seen.push(Seen::Started {
        group,
        node,
        worker,
        topic,
        offset,
        event,
        key,
        is_whole,
        attempt,
        epoch,
    });
    story.seen.push(Seen::WorkerGone { group, node, worker });
    story.seen.push(Seen::Unknown { op: 150, error: "T0110".to_owned() });
    story.acked(102, 7);
    story.handled(1, 1);
    story.finish();
    story.breaks(&[I7]);
}

/// A key's next event must wait for the one before it: it began while that one still ran. The
/// effects are in order all the same, so I12 does not mind.
#[test]
fn i08_the_next_event_does_not_wait() {
    let story = Story::healthy();
    let is_first = |seen: &Seen| ended(0)(seen) || settled(0)(seen);
    let first: Vec<_> = story.seen.iter().filter(|seen| is_first(seen)).cloned().collect();
    let mut story = story.without(is_first);
    let at = story.seen.iter().position(started(1)).expect("it is there");
    story.seen.splice(at + 1..=at, first);
    story.breaks(&[I8]);
    let verdict = story.verdict();
    assert_eq!(verdict.tally.out_of_order, 2, "too early, and two at a time");
    assert_eq!(verdict.violations[0].witness.event, Some(102));
}

/// A handler that ran when its member was taken out may run on beside its successor; one that only
/// begins then may not.
#[test]
fn i08_only_a_handler_that_ran_is_excused() {
    let mut story = Story::begin(3);
    for event in [101, 102] {
        story.acked(event, 7);
    }
    let removed = Seen::Removed { group: GROUP, node: 1 };
    let mut excused = story.clone();
    for (story, is_excused) in [(&mut excused, true), (&mut story, false)] {
        if !is_excused {
            story.seen.push(removed.clone());
        }
        story.started(1, 0, 1);
        if is_excused {
            story.seen.push(removed.clone());
        }
        story.started(2, 0, 1);
        story.ended(2, 0, Outcome::Done);
        story.settled(0, 1, false);
        story.handled(2, 1);
        story.ended(1, 0, Outcome::Done);
        story.finish();
    }
    excused.breaks(&[]);
    // That it came twice has no cause either, and its number came again.
    story.breaks(&[I8, I10, I13]);
}

/// A floor must pass only what is settled: it passed an event on which the handler still ran.
#[test]
fn i09_the_floor_passes_a_running_event() {
    let (node, group, topic, floor) = (1, GROUP, TOPIC, 2);
    let line = Seen::Floor { node, group, topic, floor };
    Story::healthy().before(ended(1), line).breaks(&[I9]);
}

/// A floor must not go back while a node runs.
#[test]
fn i09_the_floor_goes_back() {
    let (node, group, topic) = (1, GROUP, TOPIC);
    let floor = |floor| Seen::Floor { node, group, topic, floor };
    let story = Story::healthy().before(publish(199), floor(3));
    story.clone().before(publish(199), floor(2)).breaks(&[I9]);
    // Over a restart a node may have to learn it again.
    let story = story.before(publish(199), Seen::Down { node, in_flight: 0 });
    let story = story.before(publish(199), Seen::Up { node });
    story.before(publish(199), floor(2)).breaks(&[]);
}

/// Attempts must be counted: the second one calls itself the third.
#[test]
fn i10_an_attempt_is_skipped() {
    let mut story = Story::begin(3);
    story.acked(101, 7);
    story.started(1, 0, 1);
    story.ended(1, 0, Outcome::Again);
    story.started(1, 0, 3);
    story.ended(1, 0, Outcome::Done);
    story.settled(0, 1, false);
    story.finish();
    story.breaks(&[I10]);
}

/// An event must be given up once, and not before its attempts are used up.
#[test]
fn i10_an_event_is_given_up_too_early_or_twice() {
    for (attempts, n_letters, expected) in [(3, 1, None), (2, 1, Some(I10)), (3, 2, Some(I10))] {
        let mut story = Story::begin(3);
        story.acked(101, 7);
        for attempt in 1..=attempts {
            story.started(1, 0, attempt);
            story.ended(1, 0, Outcome::Again);
        }
        story.settled(0, 1, true);
        for _ in 0..n_letters {
            story.letter(0, attempts);
        }
        story.finish();
        story.breaks(expected.as_slice());
    }
}

/// One outcome must be accepted for an event: two were.
#[test]
fn i11_an_event_is_settled_twice() {
    let (group, topic, first, n_events, is_dead) = (GROUP, TOPIC, 1, 1, false);
    let line = Seen::Settled { group, topic, first, n_events, is_dead };
    Story::healthy().before(publish(199), line).breaks(&[I11]);
}

/// What a member reports after it was taken out must be refused: it was accepted while its
/// successor had not finished.
#[test]
fn i11_a_member_that_was_taken_out_settles() {
    let mut story = Story::begin(3);
    story.acked(101, 7);
    story.started(1, 0, 1);
    story.seen.push(Seen::Removed { group: GROUP, node: 1 });
    story.started(2, 0, 1);
    story.ended(1, 0, Outcome::Done);
    story.settled(0, 1, false);
    story.ended(2, 0, Outcome::Again);
    story.finish();
    story.breaks(&[I11]);
}

/// What is stored must have its effect, acknowledged or not: nobody handled it.
#[test]
fn i12_a_stored_event_has_no_effect() {
    let unknown = |seen: &mut Seen| *seen = Seen::Unknown { op: 103, error: "T0110".to_owned() };
    let floors = |seen: &Seen| matches!(seen, Seen::Floor { .. });
    let story = Story::healthy().bend(published(103), unknown);
    story.breaks(&[]);
    // With floors told, I9 and I17 would mind as well.
    story.without(about(2)).without(floors).breaks(&[I12]);
}

/// An event must not come again without a cause: it had succeeded, and nobody died.
#[test]
fn i13_an_event_comes_again_for_nothing() {
    let again = |is_settled: bool, cause: Option<Seen>| {
        let mut story = Story::begin(3);
        story.acked(101, 7);
        story.started(1, 0, 1);
        story.ended(1, 0, Outcome::Done);
        if is_settled {
            story.settled(0, 1, false);
        }
        story.seen.extend(cause);
        story.started(2, 0, 1);
        story.ended(2, 0, Outcome::Done);
        if !is_settled {
            story.settled(0, 1, false);
        }
        story.finish();
        story
    };
    let gone = Seen::WorkerGone { group: GROUP, node: 1, worker: WORKER };
    again(false, Some(gone.clone())).breaks(&[]);
    // That the number comes again is I10's.
    again(false, None).breaks(&[I10, I13]);
    again(true, Some(gone)).breaks(&[I13]);
}

/// Replicas must agree: node 2 has another state after the same entry.
#[test]
fn i14_replicas_differ() {
    let digest = |seen: &Seen| matches!(seen, Seen::Digest { node: 2, .. });
    let differ = |seen: &mut Seen| *seen = Seen::Digest { node: 2, index: 40, digest: 0xbeef };
    Story::healthy().bend(digest, differ).breaks(&[I14]);
}

fn status(node: u32, term: u64, leads: bool, at: u64) -> Seen {
    Seen::Status { node, term, leads, commit: at, applied: at, last: at }
}

/// A term must have one leader.
#[test]
fn i15_a_term_has_two_leaders() {
    let story = Story::healthy().before(publish(102), status(1, 1, true, 3));
    story.before(publish(103), status(2, 1, true, 3)).breaks(&[I15]);
}

/// A position must not go back while a node runs, and a term in which it led not even over a
/// restart.
#[test]
fn i15_a_node_forgets() {
    let story = Story::healthy().before(publish(102), status(1, 2, true, 9));
    story.clone().before(publish(103), status(1, 2, true, 8)).breaks(&[I15]);
    let story = story.before(publish(103), Seen::Down { node: 1, in_flight: 0 });
    let story = story.before(publish(103), Seen::Up { node: 1 });
    story.clone().before(publish(103), status(1, 2, false, 8)).breaks(&[]);
    story.before(publish(103), status(1, 1, false, 8)).breaks(&[I15]);
}

/// An acknowledgement must come after a majority's disks: of one the sync came later.
#[test]
fn i16_the_ack_comes_before_the_disk() {
    let durable = |seen: &Seen| matches!(seen, Seen::Durable { node: 2, event: 102 });
    let story = Story::healthy().without(durable);
    story.before(publish(103), Seen::Durable { node: 2, event: 102 }).breaks(&[I16]);
}

/// After the faults all must be whole again: here nobody leads, there publishing fails, and there a
/// replica stays behind.
#[test]
fn i17_the_system_stays_broken() {
    let of_node = |of_node: u32| move |seen: &Seen| matches!(seen, Seen::Status { node, .. } if *node == of_node);
    let story = Story::healthy();
    story.clone().bend(of_node(1), |seen| *seen = status(1, 2, false, 40)).breaks(&[I17]);
    story.clone().bend(of_node(3), |seen| *seen = status(3, 2, false, 39)).breaks(&[I17]);
    let unknown = |seen: &mut Seen| *seen = Seen::Unknown { op: 199, error: "T0110".to_owned() };
    story.bend(published(199), unknown).breaks(&[I17]);
}

/// A node must not break by itself.
#[test]
fn i19_a_node_panics() {
    let line = Seen::Panicked { node: 2, message: "a lane is lent once".to_owned() };
    Story::healthy().before(publish(103), line).breaks(&[I19]);
}

/// Too little must never pass for a success: nothing hurt the system, hardly anything was published,
/// or the history ends in the middle.
#[test]
fn i20_too_little_was_seen() {
    let fault = |seen: &Seen| matches!(seen, Seen::Fault { .. });
    let run = |seen: &Seen| matches!(seen, Seen::Run(_));
    let want_more = |seen: &mut Seen| {
        if let Seen::Run(run) = seen {
            run.acknowledged_min = 5;
        }
    };
    let story = Story::healthy();
    let stories = [
        story.clone().without(fault),
        story.clone().without(run),
        story.clone().without(|seen| *seen == Seen::End),
        story.bend(run, want_more),
    ];
    for story in stories {
        let verdict = story.verdict();
        assert_eq!(verdict.judgement, Judgement::Unknown, "{verdict}");
        assert_eq!((verdict.exit_code(), verdict.doubts.len()), (2, 1), "{verdict}");
    }
    assert_eq!(tidings_check::verdict::check(&[]).judgement, Judgement::Unknown);
}
