//! Newcomers that need what is purged.

use super::*;

/// Many topics with long names, so that a snapshot takes many parts.
fn grow_state(world: &mut World) {
    for number in 0..60 {
        let name = TopicName::new(format!("{number:0120}")).unwrap();
        let leader = world.leader().unwrap();
        let create = command(Token::new(5_000 + number), Command::CreateTopic { name });
        world.step(leader, Input::Propose(vec![create]));
        world.run_for(20 * MS);
    }
}

/// A leader makes a checkpoint, purges up to it, and goes on.
fn purge(world: &mut World) {
    for command_of in [|_| Command::Checkpoint, |index| Command::Purge { index }] {
        world.run_for(200 * MS);
        let leader = world.leader().unwrap();
        let index = world.newest_checkpoint;
        let proposal = command(Token::new(7_000), command_of(index));
        world.step(leader, Input::Propose(vec![proposal]));
        world.run_for(200 * MS);
    }
}

/// Three nodes under load that purge, and a fourth that is there and not added.
fn purged_world(seed: u64) -> World {
    let mut world = World::new(seed, 4, &[1, 2, 3]);
    world.run_for(2_000 * MS);
    let leader = world.leader().unwrap();
    world.step(leader, Input::Propose(vec![create_topic(Token::new(1))]));
    world.run_for(100 * MS);
    grow_state(&mut world);
    for idx in 0..3 {
        world.after(0, Happens::Publish(idx));
    }
    world.run_for(1_000 * MS);
    purge(&mut world);
    world
}

/// A newcomer behind the purge gets a snapshot and ends with what everyone has, while publishers go
/// on and the leader purges again and again.
#[test]
fn newcomer_comes_in_by_a_snapshot_under_load_and_purge() {
    let (mut n_restored, mut n_parts) = (0, 0);
    for seed in seeds(5) {
        let mut world = purged_world(seed);
        world.purges = true;
        assert_eq!(change(&mut world, 901, &[(Step::Learner, 4)]), Some(true), "seed {seed}");
        world.run_for(3_000 * MS);
        assert_eq!(change(&mut world, 902, &[(Step::Voter, 4)]), Some(true), "seed {seed}");
        stop_publishing(&mut world);
        world.run_for(3_000 * MS);
        check(&world, &[0, 1, 2, 3]);
        assert!(world.n_restored > 0, "seed {seed}");
        n_restored += world.n_restored;
        n_parts += world.n_parts;
        // It starts again from what it was given.
        world.crash(3);
        world.start(3);
        world.run_for(2_000 * MS);
        check(&world, &[0, 1, 2, 3]);
    }
    println!("newcomers: {n_restored} snapshots in {n_parts} messages");
    assert!(n_parts > 20 * n_restored, "{n_parts} messages for {n_restored} snapshots");
}

/// Half a snapshot is no snapshot: the install is broken at each step, by a crash, a write that
/// fails or a bad part, on a network that loses, doubles and reorders; the newcomer still ends with
/// what everyone has.
#[test]
fn f49_half_a_snapshot_is_no_snapshot() {
    let mut n_restored = 0;
    for seed in seeds(2) {
        for disturb in ALL {
            let mut world = purged_world(seed);
            world.purges = seed % 2 == 1;
            world.disturb = Some((3, disturb));
            world.is_calm = disturb == Disturb::BadPart;
            let added = change(&mut world, 901, &[(Step::Learner, 4)]);
            assert_eq!(added, Some(true), "seed {seed}, {disturb:?}");
            world.run_for(8_000 * MS);
            world.is_calm = true;
            world.run_for(3_000 * MS);
            assert_eq!(world.disturb, None, "seed {seed}");
            stop_publishing(&mut world);
            world.run_for(2_000 * MS);
            check(&world, &[0, 1, 2, 3]);
            n_restored += world.n_restored;
        }
    }
    println!("{n_restored} snapshots taken");
}

const ALL: [Disturb; 7] = [
    Disturb::BeforeWrite,
    Disturb::WriteFails,
    Disturb::BeforeInstalled,
    Disturb::BeforeReset,
    Disturb::BehindReset,
    Disturb::BeforePersisted,
    Disturb::BadPart,
];

/// A leader that is cut off keeps entries that nobody else has. The others go on and purge, so it
/// comes back by a snapshot: none of its own entries may come back with it, whatever step of the
/// install it crashes at.
#[test]
fn f49_entries_behind_a_reset_do_not_come_back() {
    let mut n_restored = 0;
    for seed in seeds(2) {
        for disturb in ALL {
            let mut world = purged_world(seed);
            let old = world.leader().unwrap();
            cut_off(&mut world, old);
            // They are in its log, and in no other.
            for token in 0..20 {
                let name = TopicName::new(format!("lost-{token}")).unwrap();
                let create = command(Token::new(8_000 + token), Command::CreateTopic { name });
                world.step(old, Input::Propose(vec![create]));
                world.run_for(5 * MS);
            }
            world.run_for(4_000 * MS);
            assert_ne!(world.leader(), Some(old), "seed {seed}");
            purge(&mut world);
            purge(&mut world);
            world.disturb = Some((old, disturb));
            world.cuts.clear();
            world.run_for(5_000 * MS);
            assert_eq!(world.disturb, None, "seed {seed}: {disturb:?}");
            stop_publishing(&mut world);
            world.run_for(2_000 * MS);
            check(&world, &[0, 1, 2]);
            let lost = |name: &str| name.starts_with("lost-");
            let mut topics = world.replica(old).state().topics();
            assert!(!topics.any(|topic| lost(topic.name.as_ref())), "seed {seed}");
            n_restored += world.n_restored;
        }
    }
    println!("{n_restored} snapshots taken");
}

/// A part of a snapshot that comes late or twice must change nothing: say all of them again to
/// everyone, in another order.
#[test]
fn stale_snapshot_changes_nothing() {
    for seed in seeds(3) {
        let mut world = purged_world(seed);
        assert_eq!(change(&mut world, 901, &[(Step::Learner, 4)]), Some(true));
        world.run_for(2_000 * MS);
        stop_publishing(&mut world);
        world.run_for(1_000 * MS);
        check(&world, &[0, 1, 2, 3]);
        let (n_restored, applied) = (world.n_restored, world.replica(3).state().applied());
        let parts = std::mem::take(&mut world.parts);
        assert!(parts.len() > 20, "seed {seed}");
        for (from, to, bytes) in parts.iter().rev().chain(&parts) {
            let idx = to.get() as usize - 1;
            world.step(idx, Input::Message { from: NodeId::new(*from), bytes: bytes.clone() });
        }
        world.run_for(2_000 * MS);
        assert_eq!((world.n_restored, world.replica(3).state().applied()), (n_restored, applied));
        check(&world, &[0, 1, 2, 3]);
    }
}

/// A follower has the entry of the snapshot already, but neither did its answer reach the leader nor
/// the commit it: it must go on from there, or it never hears of anything again.
#[test]
fn f49_snapshot_of_an_entry_that_is_there_commits_it() {
    for seed in seeds(5) {
        let mut world = World::new(seed, 3, &[1, 2, 3]);
        world.is_calm = true;
        world.run_for(2_000 * MS);
        let leader = world.leader().unwrap();
        let (behind, third) = ((leader + 1) % 3, (leader + 2) % 3);
        let last = |world: &World, idx: usize| world.replica(idx).status().last_index;
        world.step(leader, Input::Propose(vec![create_topic(Token::new(1))]));
        world.run_for(500 * MS);
        // Without the third one nothing commits, so the follower hears of no commit.
        cut_off(&mut world, third);
        let checkpoint = command(Token::new(2), Command::Checkpoint);
        world.step(leader, Input::Propose(vec![checkpoint]));
        let index = last(&world, leader);
        for _ in 0..100 {
            if last(&world, behind) == index {
                break;
            }
            world.run_for(MS / 10);
        }
        assert_eq!(last(&world, behind), index, "seed {seed}");
        world.cuts.clear();
        cut_off(&mut world, behind);
        world.run_for(1_000 * MS);
        assert_eq!(world.newest_checkpoint, index, "seed {seed}");
        let purge = command(Token::new(3), Command::Purge { index });
        world.step(leader, Input::Propose(vec![purge]));
        world.run_for(1_000 * MS);
        assert_eq!(world.leader(), Some(leader), "seed {seed}");
        assert!(world.replica(behind).status().commit < index, "seed {seed}");
        world.cuts.clear();
        world.run_for(3_000 * MS);
        check(&world, &[0, 1, 2]);
        assert!(index < world.replica(behind).status().commit, "seed {seed}");
        assert_eq!(world.n_restored, 0, "seed {seed}: it needs no snapshot");
    }
}
