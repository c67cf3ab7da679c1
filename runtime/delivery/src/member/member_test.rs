//! The member by itself: its lease, its sessions, and what it keeps.

use std::time::Duration;

use tidings_types::event::NewEvent;
use tidings_types::id::{GroupId, Incarnation, ProducerId, Sequence, TopicId, WorkerId};
use tidings_types::layout::records::{Records, RecordsBuilder};
use tidings_types::limits::{LEASE, PING_EVERY};
use tidings_types::offset::{LaneEpoch, Offset};

use crate::member::{Input, Member, Output};
use crate::message::{KeptBatch, Resume, SessionId, ToLeader, ToMember};
use crate::session::{BatchId, Delivery, Outcome, Report, Verdict};

const GROUP: GroupId = GroupId::new(1);
const ANN: WorkerId = WorkerId::new(0);
const START: Duration = Duration::from_secs(9);

fn delivery(offset: u64) -> Delivery {
    let mut builder = RecordsBuilder::with_capacity(0);
    let (id, kind, key) = ("e", "t.v1", &b"k"[..]);
    builder.push(&NewEvent { id, kind, key, time_ms: 0, headers: b"", payload: b"" });
    let records = builder.finish(TopicId::new(1), ProducerId::NONE, Sequence::new(0));
    let event = Records::parse(records).unwrap().events().next().unwrap().unwrap();
    let (topic, offset) = (TopicId::new(1), Offset::new(offset));
    Delivery { topic, offset, lane_epoch: LaneEpoch::new(1), attempt: 1, event }
}

fn report(batch: u64, offsets: &[u64], verdict: &Verdict, is_last: bool) -> Input {
    let outcome = |&offset: &u64| Outcome {
        topic: TopicId::new(1),
        offset: Offset::new(offset),
        lane_epoch: LaneEpoch::new(1),
        attempt: 1,
        verdict: verdict.clone(),
        took: Duration::ZERO,
    };
    let (batch, took) = (BatchId::new(batch), Duration::ZERO);
    let outcomes = offsets.iter().map(outcome).collect();
    Input::Report { group: GROUP, worker: ANN, report: Report { batch, outcomes, is_last, took } }
}

struct Played {
    member: Member,
    session: SessionId,
    life: u64,
}

impl Played {
    fn new() -> Self {
        let member = Member::new(Incarnation::new(3), 1);
        let mut played = Self { member, session: SessionId::default(), life: 0 };
        played.step(START, Input::LinkUp);
        played.step(START, Input::ServiceUp { group: GROUP, n_workers: 1 });
        for output in played.step(START, Input::WorkerUp { group: GROUP, worker: ANN }) {
            if let Output::Send { message: ToLeader::WorkerUp { life, .. }, .. } = output {
                played.life = life;
            }
        }
        played
    }

    fn step(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.member.step(now, input, &mut out);
        for output in &out {
            if let Output::Send { session, .. } = output {
                self.session = *session;
            }
        }
        out
    }

    fn hear(&mut self, now: Duration, message: ToMember) -> Vec<Output> {
        self.step(now, Input::FromLeader { session: self.session, message })
    }

    fn deliver(&mut self, batch: u64, offsets: &[u64]) -> usize {
        let message = ToMember::Deliver {
            group: GROUP,
            worker: ANN,
            life: self.life,
            batch: BatchId::new(batch),
            deliveries: offsets.iter().map(|&offset| delivery(offset)).collect(),
            redriven: Vec::new(),
        };
        self.hear(START, message).len()
    }

    fn resume(&mut self) -> Vec<KeptBatch> {
        let resumes =
            self.step(START, Input::LinkUp).into_iter().filter_map(|output| match output {
                Output::Send { message: ToLeader::Resume(Resume { batches, .. }), .. } => {
                    Some(batches)
                }
                _ => None,
            });
        resumes.flatten().collect()
    }
}

/// A worker must start nothing unless a ping that was sent less than a lease ago was answered. We
/// answer late, for another session, and from the future.
#[test]
fn lease_runs_from_when_the_ping_was_sent() {
    let mut played = Played::new();
    let member = |played: &Played, now| played.member.may_start(now);
    assert!(!member(&played, START));
    played.hear(START + LEASE / 2, ToMember::Pong { sent: START });
    assert!(member(&played, START + LEASE - Duration::from_millis(1)));
    assert!(!member(&played, START + LEASE));
    played.hear(START + LEASE, ToMember::Pong { sent: START + 2 * LEASE });
    assert!(!member(&played, START + LEASE), "an answer from the future counts");
    let old = played.session;
    let later = START + LEASE;
    played.step(later, Input::LinkUp);
    let message = ToMember::Pong { sent: later };
    played.step(later, Input::FromLeader { session: old, message });
    assert!(!member(&played, later), "an answer to an older session counts");
    let pings = played.step(later + PING_EVERY, Input::Wake);
    assert!(pings.iter().any(|output| {
        matches!(output, Output::Send { message: ToLeader::Ping { sent }, .. }
            if *sent == later + PING_EVERY)
    }));
    assert!(Member::alone(Incarnation::new(1)).may_start(later));
}

/// A service whose join was answered while the process ends must be handed nothing. One is up when
/// the process drains, another one begins, the first one begins again, and a leader is found anew.
#[test]
fn services_that_begin_while_the_process_ends_are_handed_nothing() {
    let mut played = Played::new();
    let draining = |out: Vec<Output>| {
        let groups = out.into_iter().map(|output| match output {
            Output::Send { message: ToLeader::ServiceDraining { group }, .. } => group,
            other => panic!("{other:?}"),
        });
        groups.collect::<Vec<_>>()
    };
    assert_eq!(draining(played.step(START, Input::Drain)), [GROUP]);
    let late = GroupId::new(2);
    for group in [late, GROUP] {
        let began = played.step(START, Input::ServiceUp { group, n_workers: 1 });
        assert_eq!(draining(began), [group]);
    }
    let resumes = played.step(START, Input::LinkUp).into_iter().filter_map(|output| match output {
        Output::Send { message: ToLeader::Resume(resume), .. } => Some(resume.services),
        _ => None,
    });
    let services: Vec<_> = resumes.flatten().collect();
    assert!(services.len() == 2 && services.iter().all(|serving| serving.is_draining));
}

/// What is held and what is not confirmed must be named at each resume, and nothing else. We confirm
/// one of three outcomes, hold a fourth event, and let a worker die.
#[test]
fn outcomes_are_kept_until_they_are_confirmed() {
    let mut played = Played::new();
    assert_eq!(played.deliver(7, &[0, 1, 2, 3]), 1);
    played.step(START, report(7, &[0, 1], &Verdict::Done, false));
    played.step(START, report(7, &[2], &Verdict::Unstarted, false));
    let batches = vec![(BatchId::new(7), 0b1)];
    played.hear(START, ToMember::Confirmed { group: GROUP, batches });
    played.step(START, Input::LinkDown);
    for _ in 0..2 {
        let kept = played.resume();
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].n_events, kept[0].n_ended), (4, 3));
        let named: Vec<_> = kept[0].events.iter().map(|event| event.place).collect();
        assert_eq!(named, [1, 3], "the outcome that is open, and what is held");
        assert_eq!(kept[0].check(), Ok(()));
    }
    played.step(START, Input::WorkerDown { group: GROUP, worker: ANN });
    let kept = played.resume();
    assert_eq!((kept[0].n_events, kept[0].n_ended, kept[0].events.len()), (3, 3, 1));
    let batches = vec![(BatchId::new(7), u64::MAX)];
    played.hear(START, ToMember::Confirmed { group: GROUP, batches });
    assert!(played.member.is_idle());
}

/// What is handed to a life that is over, or in a session that is over, must reach nobody: the leader
/// takes it back when it hears of that. We restart the worker, then the link.
#[test]
fn batches_for_former_lives_reach_nobody() {
    let mut played = Played::new();
    played.step(START, Input::WorkerUp { group: GROUP, worker: ANN });
    assert_eq!(played.deliver(1, &[0]), 0);
    played.life += 1;
    let old = played.session;
    played.step(START, Input::LinkUp);
    played.session = old;
    assert_eq!(played.deliver(2, &[0]), 0);
    assert!(played.member.is_idle());
}

/// A member that was taken out must call back what has not started, tell nothing of what it held, and
/// ask to join again. What it is handed later is its own again.
#[test]
fn member_that_was_taken_out_disowns_what_it_holds() {
    let mut played = Played::new();
    played.deliver(1, &[0, 1]);
    played.step(START, report(1, &[0], &Verdict::Done, false));
    let out = played.hear(START, ToMember::Removed { group: GROUP, n_left: 1 });
    assert!(matches!(
        out[..],
        [Output::Recall { .. }, Output::Removed { group: GROUP, n_left: 1 }]
    ));
    assert_eq!(played.resume(), []);
    let out = played.step(START, report(1, &[1], &Verdict::Done, true));
    assert!(out.is_empty(), "what became of it is told to nobody");
    assert!(played.member.is_idle());
    assert_eq!(played.deliver(2, &[1]), 1);
    assert_eq!(played.step(START, report(2, &[1], &Verdict::Done, true)).len(), 1);
}

/// A resume and a report must be cut into messages that fit on a link, without losing a word. Each of
/// 40 events emits 20 KB.
#[test]
fn large_words_are_cut() {
    let mut played = Played::new();
    let offsets: Vec<u64> = (0..40).collect();
    played.deliver(1, &offsets);
    let emitted = Verdict::DoneEmitting(vec![vec![0; 20_000].into()]);
    let reports = played.step(START, report(1, &offsets, &emitted, true));
    assert!((4..8).contains(&reports.len()), "{}", reports.len());
    let n_outcomes = reports.iter().map(|output| match output {
        Output::Send { message: ToLeader::Report { report, .. }, .. } => report.outcomes.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(n_outcomes.sum::<usize>(), 40);
    let kept = played.resume();
    assert!((4..8).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.iter().map(|kept| kept.events.len()).sum::<usize>(), 40);
}
