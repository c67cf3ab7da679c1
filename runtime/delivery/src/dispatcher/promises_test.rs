//! The dispatcher's promises, under everything that can happen around it.

use tidings_types::id::{NodeId, WorkerId};
use tidings_types::layout::command::Command;
use tidings_types::seam::Rng;

use crate::dispatcher::driver_test::World;

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
    match world.rng.below(200) {
        0..100 => world.work(group, worker),
        100..125 => world.hear(group, worker),
        125..145 => {
            let n = 1 + world.rng.below(4) as usize;
            world.apply_proposals(n);
        }
        145..155 => {
            let n_events = 1 + world.rng.below(12);
            world.publish(topic, n_events, 9);
        }
        155..165 => world.answer_read(true),
        165..180 => {
            world.now_ms += world.rng.below(30);
            world.wake();
        }
        180..184 => {
            let n = world.proposals.len().max(1) as u64;
            let at = world.rng.below(n) as usize;
            world.lose(at);
        }
        184..188 => world.worker_up_if_down(group, worker),
        188 => world.vanish_if_up(group, worker),
        189 => world.drain(group),
        190..194 => world.serve(group),
        194..196 => redrive(world),
        196 if faults.leaders && world.is_leading => world.follow(),
        196..199 if !world.is_leading => world.lead(),
        197 => world.apply_late(),
        198 if faults.moves => world.join(group, NodeId::new(2), 1),
        199 if faults.moves => world.leave(group, NodeId::new(2)),
        _ => {}
    }
}

fn redrive(world: &mut World) {
    let group = world.groups[world.rng.below(2) as usize];
    let letters = world.state.dead_letters(group).map(|letter| (letter.topic, letter.offset));
    let letters: Vec<_> = letters.take(3).collect();
    world.command(Command::Redrive { group, letters });
}

fn run(seed: u64, n_steps: usize, faults: Faults) {
    let _seed = Seed(seed);
    let mut world = World::new(seed, N_WORKERS);
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
}

/// Every event must be settled exactly once, in order per key, while workers crash, events fail,
/// services drain and proposals get lost. We play it at random and check each batch.
#[test]
fn events_are_settled_once_and_in_order() {
    for seed in 0..60 {
        run(seed, 2_000, Faults { leaders: false, moves: false });
    }
}

/// A change of leader must neither lose nor repeat what a living worker has done. We end the
/// leadership at random; what was proposed is applied, applied late, or gone.
#[test]
fn changes_of_leader_lose_and_repeat_nothing() {
    for seed in 1_000..1_060 {
        run(seed, 2_000, Faults { leaders: true, moves: false });
    }
}

/// Lanes that another node takes and gives back must lose nothing either, though work whose
/// outcome came too late is repeated. We let a node join and leave that never does anything.
#[test]
fn moving_lanes_lose_nothing() {
    for seed in 2_000..2_060 {
        run(seed, 2_000, Faults { leaders: true, moves: true });
    }
}
