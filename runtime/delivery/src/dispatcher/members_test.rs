//! Members that sleep, lie, or crash, each alone.

use std::time::Duration;

use tidings_state::Standing;
use tidings_types::id::{GroupId, Incarnation, NodeId, TopicId, WorkerId};
use tidings_types::key::key_hash;
use tidings_types::layout::acks::FailureClass;
use tidings_types::layout::command::{Command, DeadReason};
use tidings_types::limits::{GROUP_WORKERS_MAX, MEMBER_SILENT_MAX};
use tidings_types::offset::{LaneEpoch, Offset};
use tidings_types::seam::{Rng, SplitMix};

use crate::dispatcher::driver_test::{NODE, World};
use crate::dispatcher::port::{Input, Output};
use crate::message::{
    BadMessage, KeptBatch, KeptEvent, Resume, Serving, SessionId, ToLeader, ToMember,
};
use crate::session::{BatchId, Outcome, Report, Verdict};

/// One of two members holds an event and has not begun with it.
fn one_event_at_one_of_two() -> (World, GroupId, TopicId, NodeId) {
    let mut world = World::with_nodes(7, 1, 2);
    world.fail_percent = 0;
    world.lead();
    world.heal();
    let (group, topic) = (world.groups[0], world.topics[0]);
    world.publish(topic, 1, 1);
    world.carry_all();
    let holder = world.holder(group, topic, Offset::ZERO).unwrap();
    (world, group, topic, holder)
}

/// F07: a member that sleeps past its lease in the middle of an event must be taken out, the event
/// come again elsewhere, and just one completion count. It wakes and ends what it had begun.
#[test]
fn f07_paused_member_past_its_lease_is_fenced() {
    let (mut world, group, topic, sleeper) = one_event_at_one_of_two();
    let worker = WorkerId::new(0);
    world.work_at(sleeper, group, worker);
    assert!(world.is_running(sleeper, group, topic, Offset::ZERO));
    world.processes.get_mut(&sleeper).unwrap().is_paused = true;
    let n_passes = MEMBER_SILENT_MAX.as_millis() as u64 / 10 + 20;
    for _ in 0..n_passes {
        world.pass(10);
        world.carry_all();
        world.run_commands();
    }
    let other = world.holder(group, topic, Offset::ZERO).unwrap();
    assert_ne!(other, sleeper, "it goes to the one who is awake");
    world.work_at(other, group, worker);
    world.work_at(other, group, worker);
    world.hear_at(other, group, worker);
    world.carry_all();
    assert_eq!(world.proposals.len(), 1);
    world.processes.get_mut(&sleeper).unwrap().is_paused = false;
    world.work_at(sleeper, group, worker);
    world.hear_at(sleeper, group, worker);
    world.carry_all();
    assert_eq!(world.proposals.len(), 1, "what the sleeper did counts too");
    world.apply_proposals(1);
    assert_eq!(world.state.standing(group, topic, Offset::ZERO), Standing::Acked);
    world.finish();
}

/// A copy of a member's join comes behind its removal, of which it has not heard. It holds an event
/// that another one has handled meanwhile, and the next leader knows of that only when the other
/// resumes: until then the first one must start nothing. It would hold its lease, being a member.
#[test]
fn late_join_does_not_bring_back_who_was_taken_out() {
    let (mut world, group, topic, away) = one_event_at_one_of_two();
    let worker = WorkerId::new(0);
    let incarnation = Incarnation::new(world.processes[&away].incarnation);
    world.break_link(away);
    world.leave(group, away);
    world.carry_all();
    let other = world.holder(group, topic, Offset::ZERO).unwrap();
    assert_ne!(other, away);
    world.work_at(other, group, worker);
    world.work_at(other, group, worker);
    assert!(!world.is_running(other, group, topic, Offset::ZERO), "it has handled it");
    world.command(Command::Join { group, node: away, incarnation });

    world.break_link(other);
    world.follow();
    world.lead();
    world.link(away);
    world.carry_all();
    world.pass(10);
    world.carry_all();
    world.work_at(away, group, worker);
    assert!(!world.is_running(away, group, topic, Offset::ZERO));
    world.heal();
    world.finish();
}

/// F37: attempts on an event that always fails must be counted over changes of leader, and its key go
/// on behind it in the end, while others never wait. We change the leader before each attempt.
#[test]
fn f37_poison_event_keeps_its_attempts_over_leaders() {
    let mut world = World::new(7, 1);
    world.fail_percent = 0;
    world.poison = Some(key_hash(b"bad", ""));
    world.lead();
    let (group, topic) = (world.groups[0], world.topics[0]);
    world.publish_keyed(topic, &["bad", "good", "bad"]);
    for n in 1..6_u32 {
        let until_ms = world.now_ms + 61_000;
        world.run(|world| {
            until_ms <= world.now_ms || {
                let standing = world.state.standing(group, topic, Offset::ZERO);
                matches!(standing, Standing::Waiting { attempts, .. } if n <= attempts)
            }
        });
        let standing = world.state.standing(group, topic, Offset::ZERO);
        assert!(matches!(standing, Standing::Waiting { attempts, .. } if attempts == n));
        world.run_without_log();
        world.apply_proposals(usize::MAX);
        assert_eq!(world.state.standing(group, topic, Offset::new(1)), Standing::Acked);
        world.follow();
        world.lead();
    }
    let behind = world.state.standing(group, topic, Offset::new(2));
    assert!(matches!(behind, Standing::Waiting { attempts: 0, .. }), "{behind:?}");
    world.deadly_percent = 100;
    let until_ms = world.now_ms + 120_000;
    world.run(|world| until_ms <= world.now_ms);
    assert_eq!(world.state.standing(group, topic, Offset::ZERO), Standing::Dead);
    assert_ne!(world.state.standing(group, topic, Offset::new(2)), behind, "its key goes on");
    world.finish();
}

/// F38: a panic must cost the event that ran and nothing else, with a full window queued behind it.
#[test]
fn f38_panic_with_many_queued_loses_nothing_else() {
    let mut world = World::new(7, 1);
    world.fail_percent = 0;
    world.lead();
    let (group, topic, worker) = (world.groups[0], world.topics[0], WorkerId::new(0));
    for _ in 0..20 {
        world.publish(topic, 100, 1_000);
    }
    // Its window opens while batches are quick.
    for _ in 0..600 {
        world.work_at(NODE, group, worker);
        world.hear_at(NODE, group, worker);
    }
    assert!(world.dispatcher.observe(group).is_some_and(|observed| 200 < observed.n_out));
    world.work_at(NODE, group, worker);
    world.crash_at(NODE, group, worker);
    let observed = world.dispatcher.observe(group).unwrap();
    assert_eq!(observed.n_out, 0);
    world.worker_up_if_down(NODE, group, worker);
    world.finish();
    assert!(world.n_failures_told() <= 1, "only what ran is charged");
}

/// A redriven event that died again and was redriven once more must run, even if a member still tells
/// what became of the first redrive, because nobody confirmed it.
#[test]
fn kept_outcome_is_of_one_redrive() {
    let mut world = World::with_nodes(7, 1, 1);
    world.fail_percent = 0;
    world.deadly_percent = 100;
    world.lead();
    world.heal();
    let (group, topic, worker) = (world.groups[0], world.topics[0], WorkerId::new(0));
    let handled = |world: &mut World| {
        world.carry_all();
        for _ in 0..4 {
            world.work_at(NODE, group, worker);
        }
        world.hear_at(NODE, group, worker);
        while world.carry_up(NODE) {}
        world.apply_proposals(usize::MAX);
    };
    let redrive = |world: &mut World| {
        let letters = vec![(topic, Offset::ZERO)];
        world.command(Command::Redrive { group, letters });
    };
    world.publish_keyed(topic, &["k"]);
    handled(&mut world);
    redrive(&mut world);
    handled(&mut world);
    assert_eq!(world.state.standing(group, topic, Offset::ZERO), Standing::Dead);
    // The confirmation goes with the link.
    world.break_link(NODE);
    redrive(&mut world);
    world.link(NODE);
    handled(&mut world);
    let runs = world.handed.iter().filter(|seen| (seen.0, seen.1) == (group, topic));
    assert_eq!(runs.count(), 3, "it runs once more");
    world.finish();
}

/// A group that is sent back must run again what is behind, in order, and no more; sent forth, it must
/// leave out what is before. What is at a worker meanwhile must not run beside itself.
#[test]
fn group_goes_on_where_it_is_sent() {
    let mut world = World::new(7, 1);
    world.fail_percent = 0;
    world.lead();
    let (group, topic, worker) = (world.groups[0], world.topics[0], WorkerId::new(0));
    world.drain(world.groups[1]);
    world.publish_keyed(topic, &["k"; 6]);
    world.run(|_| false);
    let seek = |world: &mut World, to: u64| {
        world.command(Command::Seek { group, topic, to: Offset::new(to) });
    };
    let began = |world: &mut World| -> Vec<u64> {
        let began = std::mem::take(&mut world.began).into_iter();
        began.filter(|seen| (seen.0, seen.1) == (group, topic)).map(|seen| seen.2.get()).collect()
    };
    assert_eq!(began(&mut world), [0, 1, 2, 3, 4, 5]);
    world.has_moved = true;
    seek(&mut world, 3);
    world.run(|_| false);
    assert_eq!(began(&mut world), [3, 4, 5]);

    world.publish_keyed(topic, &["k"; 3]);
    world.work_at(NODE, group, worker);
    assert_eq!(began(&mut world), [6], "it runs, and two are behind it");
    seek(&mut world, 8);
    world.run(|_| false);
    assert_eq!(began(&mut world), [8]);

    world.step(Input::Hold { group, is_held: true });
    world.publish_keyed(topic, &["k"]);
    world.run(|_| false);
    assert!(began(&mut world).is_empty() && world.dispatcher.is_quiet(group), "it is held");
    world.step(Input::Hold { group, is_held: false });
    world.work_at(NODE, group, worker);
    assert!(!world.dispatcher.is_quiet(group));
    world.step(Input::Hold { group, is_held: true });
    seek(&mut world, 7);
    world.run(|_| false);
    assert_eq!(began(&mut world), [9, 7, 8], "what ran meanwhile is done");
    world.finish();
}

struct Liar {
    world: World,
    n_sessions: u64,
}

impl Liar {
    fn new() -> Self {
        let mut world = World::new(7, 1);
        world.lead();
        let topic = world.topics[0];
        world.publish_keyed(topic, &["k"; 10]);
        Self { world, n_sessions: 1_000 }
    }

    /// Says it in a fresh session: why it was refused.
    fn say(&mut self, messages: Vec<ToLeader>) -> Option<BadMessage> {
        self.n_sessions += 1;
        let session = SessionId { incarnation: Incarnation::new(1), number: self.n_sessions };
        for message in messages {
            let mut out = Vec::new();
            let heard = Input::Heard { member: NODE, session, message };
            self.world.dispatcher.step(self.world.now(), heard, &mut out);
            let refused = out.into_iter().find_map(|output| match output {
                Output::Refused { why, .. } => Some(why),
                _ => None,
            });
            if refused.is_some() {
                return refused;
            }
        }
        None
    }
}

fn kept(group: GroupId, topic: TopicId, offset: u64, batch: u64) -> KeptBatch {
    let event = KeptEvent {
        place: 0,
        topic,
        offset: Offset::new(offset),
        key_hash: key_hash(b"k", ""),
        lane_epoch: LaneEpoch::new(1),
        attempt: 1,
        redrive: None,
        verdict: None,
    };
    let (worker, batch) = (WorkerId::new(0), BatchId::new(batch));
    KeptBatch { group, worker, batch, n_events: 1, n_ended: 0, events: vec![event] }
}

fn resume(group: GroupId, n_workers: usize, batches: Vec<KeptBatch>) -> ToLeader {
    let workers = (0..n_workers as u32).map(|n| (WorkerId::new(n), 1)).collect();
    let services = vec![Serving { group, is_draining: false, workers }];
    ToLeader::Resume(Resume {
        services,
        batches,
        newest_batch: BatchId::new(9),
        number: 0,
        is_last: true,
    })
}

/// A resume that cannot be must be refused with its reason. It comes from another process, so it must
/// be no panic; we tell every kind of lie.
#[test]
fn resumes_that_cannot_be_are_refused() {
    let mut liar = Liar::new();
    let (group, topic) = (liar.world.groups[0], liar.world.topics[0]);
    let truth = kept(group, topic, 0, 1);
    let mut lie = |n_workers, batches| liar.say(vec![resume(group, n_workers, batches)]);
    assert_eq!(lie(1, vec![truth.clone()]), None);
    let nowhere = GroupId::new(99);
    let no_group = BadMessage::NoSuchGroup { group: nowhere };
    assert_eq!(lie(1, vec![kept(nowhere, topic, 0, 1)]), Some(no_group));
    let is_no_event = |why| matches!(why, Some(BadMessage::NoSuchEvent { .. }));
    assert!(is_no_event(lie(1, vec![kept(group, topic, 10, 1)])));
    assert!(is_no_event(lie(1, vec![kept(group, TopicId::new(77), 0, 1)])));
    let no_worker = lie(0, vec![truth.clone()]);
    assert!(matches!(no_worker, Some(BadMessage::NoSuchWorker { .. })));
    let crowd = lie(GROUP_WORKERS_MAX + 1, vec![]);
    assert!(matches!(crowd, Some(BadMessage::TooManyWorkers { .. })));
    let twice = lie(1, vec![truth.clone(), kept(group, topic, 1, 2), truth.clone()]);
    assert!(matches!(twice, Some(BadMessage::BadBatch { .. })));
    assert_eq!(lie(1, vec![kept(group, topic, 0, 1 << 62)]), Some(BadMessage::TooManyBatches));
    let many = (1..300).map(|n| kept(group, topic, 0, n)).collect();
    assert_eq!(lie(1, many), Some(BadMessage::TooMuch));
    for change in [
        |kept: &mut KeptBatch| kept.n_events = 0,
        |kept: &mut KeptBatch| kept.n_events = 65,
        |kept: &mut KeptBatch| kept.n_ended = 2,
        |kept: &mut KeptBatch| kept.events.clear(),
        |kept: &mut KeptBatch| kept.events[0].place = 1,
        |kept: &mut KeptBatch| kept.events[0].attempt = 0,
        |kept: &mut KeptBatch| kept.events[0].verdict = Some(Verdict::Done),
    ] {
        let mut bad = truth.clone();
        change(&mut bad);
        assert!(matches!(lie(1, vec![bad]), Some(BadMessage::BadBatch { .. })));
    }
}

/// The first part of a resume reached a dispatcher that did not lead yet. The rest alone must not
/// count as all that the member has, or what it runs is handed to others: it is asked to begin anew.
#[test]
fn resume_without_its_first_part_is_asked_for_again() {
    let mut liar = Liar::new();
    let (group, topic) = (liar.world.groups[0], liar.world.topics[0]);
    let ToLeader::Resume(whole) = resume(group, 1, vec![kept(group, topic, 0, 1)]) else { return };
    let session = SessionId { incarnation: Incarnation::new(1), number: 5_000 };
    let mut hear = |part: Resume| {
        let (mut out, message) = (Vec::new(), ToLeader::Resume(part));
        let heard = Input::Heard { member: NODE, session, message };
        liar.world.dispatcher.step(liar.world.now(), heard, &mut out);
        let is_asked =
            |output: &Output| matches!(output, Output::Tell { message: ToMember::AskResume, .. });
        let says_it_has = |output: &Output| matches!(output, Output::Refused { .. });
        assert!(!out.iter().any(says_it_has), "{out:?}");
        out.iter().any(is_asked)
    };
    let rest = |number| Resume { number, services: Vec::new(), ..whole.clone() };
    assert!(hear(rest(1)), "part 0 is not there");
    assert!(!hear(Resume { is_last: false, ..rest(0) }));
    assert!(hear(rest(2)), "part 1 is not there");
    let first = Resume { is_last: false, batches: Vec::new(), ..whole.clone() };
    assert!(!hear(first));
    assert!(!hear(rest(1)), "both are there");
}

/// A report on other events than those that are out must be refused, not believed.
#[test]
fn reports_on_other_events_are_refused() {
    let mut liar = Liar::new();
    let (group, topic) = (liar.world.groups[0], liar.world.topics[0]);
    let outcome = |topic: TopicId, offset| Outcome {
        topic,
        offset: Offset::new(offset),
        lane_epoch: LaneEpoch::new(1),
        attempt: 1,
        verdict: Verdict::Done,
        took: Duration::ZERO,
    };
    let mut tell = |outcomes, is_last| {
        let (worker, took) = (WorkerId::new(0), Duration::ZERO);
        let report = Report { batch: BatchId::new(1), outcomes, is_last, took };
        let resume = resume(group, 1, vec![kept(group, topic, 0, 1)]);
        liar.say(vec![resume, ToLeader::Report { group, worker, report }])
    };
    let refused = Some(BadMessage::OtherBatch { batch: BatchId::new(1) });
    assert_eq!(tell(vec![outcome(topic, 1)], true), refused);
    assert_eq!(tell(vec![outcome(topic, 0), outcome(topic, 0)], true), refused);
    assert_eq!(tell(vec![], true), refused);
    assert_eq!(tell(vec![outcome(topic, 0)], true), None);
}

/// Whatever a member says, in whatever order, must never be a panic. We send words at random over
/// few names, so that many of them nearly fit.
#[test]
fn random_words_are_no_panic() {
    for seed in 0..200 {
        let mut liar = Liar::new();
        let mut rng = SplitMix::new(seed);
        let (groups, topics) = (liar.world.groups.clone(), liar.world.topics.clone());
        for _ in 0..60 {
            let mut pick = |n: u64| rng.below(n);
            let group = groups[pick(2) as usize];
            let worker = WorkerId::new(pick(2) as u32);
            let mut words = Vec::new();
            for _ in 0..pick(3) {
                let mut batch = kept(group, topics[pick(2) as usize], pick(10), 1 + pick(4));
                batch.worker = worker;
                batch.events[0].key_hash ^= pick(2) << 56;
                batch.events[0].attempt = 1 + pick(2) as u32;
                batch.events[0].redrive = (pick(8) == 0).then(|| pick(3));
                if pick(2) == 0 {
                    batch.n_ended = 1;
                    batch.events[0].verdict = Some(verdict(pick(5)));
                }
                words.push(batch);
            }
            let mut messages = vec![resume(group, 2, words)];
            for _ in 0..pick(6) {
                let batch = BatchId::new(1 + pick(4));
                let outcomes = vec![Outcome {
                    topic: topics[pick(2) as usize],
                    offset: Offset::new(pick(10)),
                    lane_epoch: LaneEpoch::new(1),
                    attempt: 1,
                    verdict: verdict(pick(5)),
                    took: Duration::ZERO,
                }];
                let report =
                    Report { batch, outcomes, is_last: pick(2) == 0, took: Duration::ZERO };
                messages.push(match pick(5) {
                    0 => ToLeader::WorkerUp { group, worker, life: pick(3) },
                    1 => ToLeader::WorkerDown { group, worker, life: pick(3) },
                    2 => ToLeader::ServiceDraining { group },
                    _ => ToLeader::Report { group, worker, report },
                });
            }
            let _ = liar.say(messages);
        }
    }
}

fn verdict(n: u64) -> Verdict {
    let message = "played".to_owned();
    match n {
        0 => Verdict::Done,
        1 => Verdict::DoneEmitting(vec![vec![1, 2, 3].into()]),
        2 => Verdict::Dead { reason: DeadReason::Fatal, message },
        3 => Verdict::Unstarted,
        _ => {
            Verdict::Again { after: Duration::from_millis(5), class: FailureClass::Error, message }
        }
    }
}
