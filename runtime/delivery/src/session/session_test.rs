//! The session's promises: one outcome each, in order, and the right one to blame.

use tidings_types::event::NewEvent;
use tidings_types::id::{ProducerId, Sequence};
use tidings_types::layout::records::{Records, RecordsBuilder};
use tidings_types::seam::{Rng, SplitMix};

use super::*;

fn delivery(offset: u64, key: &str) -> Delivery {
    let mut builder = RecordsBuilder::with_capacity(64);
    let key = key.as_bytes();
    let kind = "t.v1";
    builder.push(&NewEvent { id: "e", kind, key, time_ms: 0, headers: b"", payload: b"" });
    let topic = TopicId::new(1);
    let section = builder.finish(topic, ProducerId::NONE, Sequence::new(0));
    let event = Records::parse(section).unwrap().events().next().unwrap().unwrap();
    let (offset, lane_epoch) = (Offset::new(offset), LaneEpoch::ZERO);
    Delivery { topic, offset, lane_epoch, attempt: 1, event }
}

fn batch(keys: &[&str]) -> Vec<Delivery> {
    (0..).zip(keys).map(|(offset, key)| delivery(offset, key)).collect()
}

fn failed() -> Verdict {
    let (after, class) = (Duration::ZERO, FailureClass::Error);
    Verdict::Again { after, class, message: "as told".to_owned() }
}

fn told(report: &Report) -> Vec<(u64, Verdict)> {
    let outcomes = report.outcomes.iter();
    outcomes.map(|outcome| (outcome.offset.get(), outcome.verdict.clone())).collect()
}

const START: Duration = Duration::from_secs(9);

/// After a failure no later event of its key may start in the batch, and other keys must not
/// suffer. The next batch starts with a clean slate.
#[test]
fn failure_passes_over_its_own_key() {
    let mut session = Session::new();
    session.deliver(BatchId::new(1), batch(&["ann", "bob", "ann", "bob"]));
    session.deliver(BatchId::new(2), batch(&["ann"]));
    assert_eq!(session.start_next(START).unwrap().offset.get(), 0);
    session.finish(failed(), START);
    for offset in [1, 3] {
        assert_eq!(session.start_next(START).unwrap().offset.get(), offset);
        session.finish(Verdict::Done, START);
    }
    assert_eq!(session.start_next(START), None, "a batch ends with its report");
    let report = session.take_report(START).unwrap();
    assert!(report.is_last);
    let expected = [(0, failed()), (1, Verdict::Done), (2, Verdict::Unstarted), (3, Verdict::Done)];
    assert_eq!(told(&report), expected);
    assert!(session.start_next(START).is_some());
    session.finish(Verdict::Done, START);
    assert_eq!(session.take_report(START).unwrap().batch, BatchId::new(2));
    assert!(session.is_idle());
}

/// Outcomes must not wait for a slow event behind them for longer than REPORT_AFTER. We finish one
/// event, start another, and ask before and after.
#[test]
fn slow_batch_reports_on_the_way() {
    let mut session = Session::new();
    session.deliver(BatchId::new(1), batch(&["ann", "bob"]));
    assert_eq!(session.report_at(), None);
    session.start_next(START);
    session.finish(Verdict::Done, START);
    session.start_next(START);
    assert_eq!(session.take_report(START), None);
    let at = session.report_at().unwrap();
    assert_eq!(at, START + REPORT_AFTER);
    let report = session.take_report(at).unwrap();
    assert!(!report.is_last);
    assert_eq!(told(&report), [(0, Verdict::Done)]);
    assert_eq!(session.report_at(), None);
    session.finish(failed(), at);
    let report = session.take_report(at).unwrap();
    assert!(report.is_last);
    assert_eq!((told(&report), report.took), (vec![(1, failed())], REPORT_AFTER));
}

/// A crash must blame what ran and nothing else. We die in the second of three events, with
/// another batch behind.
#[test]
fn crash_blames_what_ran() {
    let mut session = Session::new();
    session.deliver(BatchId::new(1), batch(&["ann", "bob", "eve"]));
    session.deliver(BatchId::new(2), batch(&["ann"]));
    session.start_next(START);
    session.finish(Verdict::Done, START);
    session.start_next(START);
    assert_eq!(session.running().unwrap().delivery.offset.get(), 1);
    let reports = session.crash(|_| failed(), START);
    let all: Vec<_> = reports.iter().map(told).collect();
    let first = vec![(0, Verdict::Done), (1, failed()), (2, Verdict::Unstarted)];
    assert_eq!(all, [first, vec![(0, Verdict::Unstarted)]]);
    assert!(reports.iter().all(|report| report.is_last));
    assert!(session.is_idle() && session.running().is_none());
}

/// A handler that takes several events at once may succeed with a later one of a key whose earlier
/// one failed: the later one must come again behind it.
#[test]
fn later_event_of_a_failed_key_counts_as_unstarted() {
    let mut session = Session::new();
    session.deliver(BatchId::new(1), batch(&["ann", "ann", "bob"]));
    while session.start_next(START).is_some() {}
    for verdict in [failed(), Verdict::Done, Verdict::Done] {
        session.finish(verdict, START);
    }
    let report = session.take_report(START).unwrap();
    let expected = [(0, failed()), (1, Verdict::Unstarted), (2, Verdict::Done)];
    assert_eq!(told(&report), expected);
}

/// A closed session must start nothing, and still give an outcome to each event.
#[test]
fn closed_session_hands_everything_back() {
    let mut session = Session::new();
    session.deliver(BatchId::new(1), batch(&["ann", "bob"]));
    session.start_next(START);
    session.close();
    session.finish(Verdict::Done, START);
    assert_eq!(session.start_next(START), None);
    let report = session.take_report(START).unwrap();
    assert_eq!(told(&report), [(0, Verdict::Done), (1, Verdict::Unstarted)]);
}

/// Whatever happens, each delivered event must get exactly one outcome, in the order of delivery,
/// and one batch must end before the next one is spoken of. We play at random.
#[test]
fn each_event_gets_one_outcome_in_order() {
    for seed in 0..200 {
        let mut rng = SplitMix::new(seed);
        let mut session = Session::new();
        let (mut n_delivered, mut n_batches, mut n_told, mut n_ended) = (0_u64, 0, 0_u64, 0);
        let mut reports = Vec::new();
        for step in 0..400 {
            let now = START + Duration::from_millis(3 * step);
            match rng.below(10) {
                0 => {
                    let n_events = 1 + rng.below(5);
                    let keys: Vec<_> = (0..n_events).map(|_| rng.below(3).to_string()).collect();
                    let events = (n_delivered..).zip(&keys);
                    let events = events.map(|(offset, key)| delivery(offset, key)).collect();
                    n_delivered += n_events;
                    n_batches += 1;
                    session.deliver(BatchId::new(n_batches), events);
                }
                1..5 => drop(session.start_next(now)),
                5..8 if session.running().is_some() => {
                    let verdict = if rng.below(3) == 0 { failed() } else { Verdict::Done };
                    session.finish(verdict, now);
                }
                8 if rng.below(20) == 0 => reports.extend(session.crash(|_| failed(), now)),
                _ => reports.extend(session.take_report(now)),
            }
        }
        reports.extend(session.crash(|_| failed(), START));
        for report in reports {
            assert_eq!(report.batch, BatchId::new(n_ended + 1), "seed {seed}");
            for outcome in &report.outcomes {
                assert_eq!(outcome.offset.get(), n_told, "seed {seed}");
                n_told += 1;
            }
            n_ended += u64::from(report.is_last);
        }
        assert_eq!((n_told, n_ended), (n_delivered, n_batches), "seed {seed}");
    }
}
