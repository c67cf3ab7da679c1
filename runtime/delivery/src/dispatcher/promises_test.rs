//! The dispatcher's promises, under everything that can happen around it.

use tidings_state::MailboxView;
use tidings_types::id::{GroupId, NodeId, TopicId, WorkerId};
use tidings_types::key::key_hash;
use tidings_types::layout::command::Command;
use tidings_types::offset::Offset;
use tidings_types::seam::Rng;

use crate::dispatcher::driver_test::{NODE, World};
use crate::dispatcher::{Pause, Story};

/// Says which seed to replay, if a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

const N_WORKERS: u32 = 3;

/// What happens beside the plain way of events.
#[derive(Clone, Copy)]
struct Faults {
    leaders: bool,
    moves: bool,
}

fn one_step(world: &mut World, faults: Faults) {
    let group = world.groups[world.rng.below(2) as usize];
    let worker = WorkerId::new(world.rng.below(N_WORKERS.into()) as u32);
    let topic = world.topics[world.rng.below(2) as usize];
    if faults.moves && world.chance(2) {
        match world.chance(50) {
            true => world.join(group, NodeId::new(2), 1),
            false => world.leave(group, NodeId::new(2)),
        }
    }
    if faults.moves && world.chance(20) {
        seek_back(world, group, topic);
    }
    match world.rng.below(200) {
        0..100 => world.work_at(NODE, group, worker),
        100..125 => world.hear_at(NODE, group, worker),
        125..145 => {
            let n = 1 + world.rng.below(4) as usize;
            world.apply_proposals(n);
        }
        145..155 => {
            let n_events = 1 + world.rng.below(12);
            world.publish(topic, n_events, 9);
        }
        155..163 => world.answer_read(true),
        163..165 => world.answer(),
        165..180 => {
            world.now_ms += world.rng.below(30);
            world.wake();
        }
        180..184 => {
            let n = world.proposals.len().max(1) as u64;
            let at = world.rng.below(n) as usize;
            world.lose(at);
        }
        184..188 => world.worker_up_if_down(NODE, group, worker),
        188 => world.vanish_if_up(NODE, group, worker),
        189 => world.drain(group),
        190..193 => world.serve(group),
        193 => retry_now(world),
        194 => redrive(world),
        195 if world.is_leading => redrive(world),
        196 if faults.leaders && world.is_leading => world.follow(),
        195 if !world.is_leading => world.settle_elsewhere(group, topic),
        196..199 if !world.is_leading => world.lead(),
        197 => {
            let is_paused = world.chance(40);
            world.command(Command::SetPaused { group, is_paused });
        }
        198 | 199 => world.apply_late(),
        _ => {}
    }
}

/// A person sends a group back, once nothing of it is on its way.
fn seek_back(world: &mut World, group: GroupId, topic: TopicId) {
    let observed = world.dispatcher.observe(group).unwrap_or_default();
    let is_busy = 0 < observed.n_out + observed.n_uncommitted;
    if !world.is_leading || is_busy || !world.proposals.is_empty() || !world.late.is_empty() {
        return;
    }
    world.n_sought += 1;
    let view = world.state.groups().find(|view| view.id == group).unwrap();
    let is_it = |mailbox: &&MailboxView| mailbox.topic == topic;
    let floor = view.mailboxes.iter().find(is_it).unwrap().floor;
    let to = Offset::new(world.rng.below(floor.get() + 1));
    world.has_moved = true;
    world.command(Command::Seek { group, topic, to });
}

fn redrive(world: &mut World) {
    let group = world.groups[world.rng.below(2) as usize];
    let letters = world.state.dead_letters(group).map(|letter| (letter.topic, letter.offset));
    let letters: Vec<_> = letters.take(3).collect();
    world.command(Command::Redrive { group, letters });
}

/// A person lets events go on before their back-off has ended.
fn retry_now(world: &mut World) {
    let group = world.groups[world.rng.below(2) as usize];
    let events = world.state.failing(group).map(|failing| (failing.topic, failing.offset));
    let events: Vec<_> = events.take(3).collect();
    world.command(Command::RetryNow { group, events });
}

fn run(seed: u64, n_steps: usize, faults: Faults) -> World {
    let _seed = Seed(seed);
    let mut world = World::new(seed, N_WORKERS);
    world.answers_are_slow = true;
    world.lead();
    for _ in 0..n_steps {
        one_step(&mut world, faults);
    }
    for group in world.groups.clone() {
        if faults.moves {
            world.leave(group, NodeId::new(2));
        }
    }
    world.finish();
    assert!(0 < world.n_delivered);
    world
}

/// Every event must be settled exactly once, in order per key, while workers crash, events fail,
/// services drain and proposals get lost. We play it at random and check each batch.
#[test]
fn events_are_settled_once_and_in_order() {
    for seed in 0..40 {
        run(seed, 2_000, Faults { leaders: false, moves: false });
    }
}

/// A change of leader must neither lose nor repeat what a living worker has done. We end the
/// leadership at random; what was proposed is applied, applied late, or gone.
#[test]
fn changes_of_leader_lose_and_repeat_nothing() {
    for seed in 1_000..1_040 {
        run(seed, 2_000, Faults { leaders: true, moves: false });
    }
}

/// Lanes that another node takes and gives back must lose nothing either, though work whose
/// outcome came too late is repeated. We let a node join and leave that never does anything.
#[test]
fn moving_lanes_lose_nothing() {
    let n_sought: usize = (2_000..2_040)
        .map(|seed| run(seed, 2_000, Faults { leaders: true, moves: true }).n_sought)
        .sum();
    assert!(100 < n_sought, "groups were sent back {n_sought} times only");
}

/// A wake that comes early, because clocks differ, must not be the last one. An event waits out its
/// back-off, and we wake before.
#[test]
fn early_wake_is_asked_for_again() {
    let mut world = World::new(7, 1);
    world.fail_percent = 0;
    world.poison = Some(key_hash(b"k-1", ""));
    world.lead();
    let topic = world.topics[0];
    world.publish(topic, 20, 1);
    let begin_ms = world.now_ms;
    for _ in 0..200 {
        world.run_without_log();
        world.apply_proposals(usize::MAX);
    }
    assert_eq!(world.now_ms, begin_ms);
    assert!(world.wake_early().is_some_and(|at_ms| begin_ms + 60_000 <= at_ms));
    world.finish();
}

fn offsets_handed(world: &World, group: GroupId, topic: TopicId) -> Vec<u64> {
    let of_group = world.handed.iter().filter(|seen| (seen.0, seen.1) == (group, topic));
    of_group.map(|seen| seen.2.get()).collect()
}

/// A world that leads, with one group whose every event ends in a turn.
fn one_emitting_group() -> (World, GroupId, TopicId, WorkerId) {
    let mut world = World::new(7, 1);
    world.fail_percent = 0;
    world.always_emits = true;
    world.lead();
    let (group, other, topic) = (world.groups[0], world.groups[1], world.topics[0]);
    world.drain(other);
    (world, group, topic, WorkerId::new(0))
}

/// What must happen to the turn of a lane that moved away and came back before it was applied.
#[derive(Clone, Copy, Debug)]
enum Way {
    LostThenMoved,
    MovedThenLost,
    /// The later event of the key comes back before the earlier one.
    LaterFirst,
}

/// A turn whose lane moved cannot count, so its event comes again, and the later event of its key
/// must not be first, whatever is noticed first. We lose the turn of one event while the next one
/// is out, and move their lane.
#[test]
fn recalled_turn_stays_in_front_of_its_key() {
    for way in [Way::LostThenMoved, Way::MovedThenLost, Way::LaterFirst] {
        let (mut world, group, topic, worker) = one_emitting_group();
        world.publish_keyed(topic, &["mover", "mover"]);
        assert_eq!(world.last_batch, [0], "a new worker is handed one event");
        world.work_and_hear(group, worker);
        assert_eq!(world.last_batch, [1]);
        world.work_only(group, worker);
        match way {
            Way::LostThenMoved => {
                world.lose(0);
                world.move_away_and_back(group);
                world.hear_at(NODE, group, worker);
            }
            Way::MovedThenLost => {
                world.move_away_and_back(group);
                world.lose(0);
                world.hear_at(NODE, group, worker);
            }
            Way::LaterFirst => {
                world.drain(group);
                world.move_away_and_back(group);
                world.hear_at(NODE, group, worker);
                world.lose(0);
                world.serve(group);
            }
        }
        world.finish();
        assert_eq!(offsets_handed(&world, group, topic), [0, 1, 0, 1], "{way:?}");
    }
}

/// The refusal of a turn that was recalled must not bring its event back once more: by then another
/// turn of it may be out. We move the lane while a turn is out, let the event be handled again, and
/// only then let the log refuse the first turn.
#[test]
fn refusal_of_a_recalled_turn_leaves_its_successor_alone() {
    let (mut world, group, topic, worker) = one_emitting_group();
    world.publish_keyed(topic, &["mover"]);
    world.work_and_hear(group, worker);
    world.move_away_and_back(group);
    world.work_and_hear(group, worker);
    world.apply_proposals(1);
    world.finish();
    assert_eq!(offsets_handed(&world, group, topic), [0, 0]);
}

/// The answer to a proposal speaks of the attempts that it told, not of a later one. An event that may
/// be tried again at once fails once more before the answer is heard: that failure must be counted
/// before the event runs a third time.
#[test]
fn answer_of_an_earlier_failure_leaves_a_later_one_alone() {
    let mut world = World::new(7, 1);
    world.fail_percent = 0;
    world.fails_at_once = true;
    world.answers_are_slow = true;
    world.lead();
    let (group, other, topic) = (world.groups[0], world.groups[1], world.topics[0]);
    world.drain(other);
    let worker = WorkerId::new(0);
    world.publish_keyed(topic, &["hasty"]);
    world.work_and_hear(group, worker);
    world.apply_proposals(1);
    world.work_and_hear(group, worker);
    world.answer();
    world.work_and_hear(group, worker);
    assert_eq!(
        offsets_handed(&world, group, topic),
        [0, 0],
        "the second failure is not in the log"
    );
    world.finish();
}

/// A probe that came back without a word must not be waited for: another one is handed out at once.
/// We let the breaker open, and the worker vanish with the probe.
#[test]
fn probe_that_comes_back_unstarted_gives_way_to_another() {
    let mut world = World::new(7, 1);
    world.fail_percent = 0;
    world.fails_at_once = true;
    world.lead();
    let (group, other, topic) = (world.groups[0], world.groups[1], world.topics[0]);
    world.drain(other);
    let worker = WorkerId::new(0);
    world.publish(topic, 300, 300);
    let is_open =
        |story: &Story| matches!(story, Story::Paused { why: Pause::BreakerOpen { .. }, .. });
    while !world.stories.iter().any(is_open) {
        world.work_and_hear(group, worker);
    }
    let n_before = world.handed.len();
    world.work_and_hear(group, worker);
    assert_eq!(world.handed.len(), n_before, "open: nothing goes out");
    world.now_ms += 1_000;
    world.wake();
    assert_eq!(world.handed.len(), n_before + 1, "the probe");
    world.vanish(NODE, group, worker);
    world.worker_up_if_down(NODE, group, worker);
    assert_eq!(world.handed.len(), n_before + 2, "another probe");
    world.finish();
}

/// The answer to what an earlier leader asked for is no answer to what this one asks for. A read is
/// out, we lead anew, which begins further in front, and the late answer comes first.
#[test]
fn read_of_an_earlier_leader_is_passed_over() {
    let mut world = World::new(7, 1);
    let topic = world.topics[0];
    (0..9).for_each(|_| world.publish(topic, 3, 9));
    world.lead();
    (0..2).for_each(|_| world.answer_read(false));
    let is_behind = |read: &(GroupId, TopicId, Offset)| read.1 == topic && Offset::ZERO < read.2;
    assert!(world.reads.iter().any(is_behind));
    world.follow();
    world.lead();
    while !world.reads.is_empty() {
        world.answer_read(false);
    }
    let failed = |story: &Story| matches!(story, Story::Paused { .. });
    assert!(!world.stories.iter().any(failed), "{:?}", world.stories);
    world.finish();
}

/// What happens to members, beside the plain way of events.
#[derive(Clone, Copy, Debug)]
struct Troubles {
    /// Members sleep, some longer than their lease, and are taken out.
    pauses: bool,
    /// Processes die and start anew.
    kills: bool,
}

fn one_step_of_many(world: &mut World, troubles: Troubles) {
    let nodes: Vec<_> = world.processes.keys().copied().collect();
    let node = nodes[world.rng.below(nodes.len() as u64) as usize];
    let group = world.groups[world.rng.below(2) as usize];
    let worker = WorkerId::new(world.rng.below(2) as u32);
    let topic = world.topics[world.rng.below(2) as usize];
    match world.rng.below(400) {
        0..130 => world.work_at(node, group, worker),
        130..160 => world.hear_at(node, group, worker),
        160..220 => drop(world.carry_up(node)),
        220..280 => drop(world.carry_down(node)),
        280..310 => {
            let n = 1 + world.rng.below(4) as usize;
            world.apply_proposals(n);
        }
        310..320 => {
            let n_events = 1 + world.rng.below(8);
            world.publish(topic, n_events, 9);
        }
        320..333 => world.answer_read(true),
        333..335 => world.answer(),
        335..360 => {
            let millis = world.rng.below(15);
            world.pass(millis);
        }
        360..364 => {
            let at = world.rng.below(world.proposals.len().max(1) as u64) as usize;
            world.lose(at);
        }
        364..368 => world.worker_up_if_down(node, group, worker),
        368 => world.vanish_if_up(node, group, worker),
        369..372 => world.break_link(node),
        372..384 => world.link(node),
        384..388 => world.run_commands(),
        388 if world.is_leading && world.chance(30) => world.follow(),
        388..393 if !world.is_leading => world.lead(),
        393 if troubles.pauses && world.chance(30) => {
            world.processes.get_mut(&node).unwrap().is_paused = true;
        }
        394 => world.processes.get_mut(&node).unwrap().is_paused = false,
        395 if troubles.kills && world.chance(20) => world.kill(node),
        396 => redrive(world),
        397 => retry_now(world),
        _ => {}
    }
}

fn run_many(seed: u64, n_steps: usize, troubles: Troubles) -> World {
    let _seed = Seed(seed);
    let mut world = World::with_nodes(seed, 2, 3);
    world.answers_are_slow = true;
    world.lead();
    for _ in 0..n_steps {
        one_step_of_many(&mut world, troubles);
    }
    world.finish();
    assert!(0 < world.n_delivered);
    world
}

/// Neither sessions that break nor changes of leader may lose, repeat or reorder what living members
/// do. Three members, whose words take their time, none of which is ever silent for long.
#[test]
fn living_members_lose_and_repeat_nothing() {
    for seed in 3_000..3_020 {
        let world = run_many(seed, 8_000, Troubles { pauses: false, kills: false });
        assert!(!world.has_moved, "nobody was taken out");
    }
}

/// Members that sleep past their lease are taken out and come again, and processes die: nothing may
/// be lost, and no event run at two members unless one of them was out with its lease run out.
#[test]
fn sleeping_and_dying_members_lose_nothing() {
    let mut n_moved = 0;
    for seed in 4_000..4_024 {
        let world = run_many(seed, 8_000, Troubles { pauses: true, kills: true });
        n_moved += usize::from(world.has_moved);
    }
    assert!(10 < n_moved, "in {n_moved} runs somebody was taken out");
}
