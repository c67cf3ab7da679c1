//! Faults by the rows of the fault matrix.

use super::*;

/// Five or three nodes under load.
fn loaded_world(seed: u64, n_nodes: u32, voters: &[u32]) -> World {
    let mut world = World::new(seed, n_nodes, voters);
    world.run_for(3_000 * MS);
    let leader = world.leader().unwrap_or_else(|| panic!("seed {seed}: nobody leads"));
    world.step(leader, Input::Propose(vec![create_topic(Token::new(1))]));
    for idx in 0..3 {
        world.after(100 * MS, Happens::Publish(idx));
    }
    world.run_for(1_000 * MS);
    world
}

fn settle(world: &mut World) {
    world.cuts.clear();
    world.paused.clear();
    for idx in 0..world.nodes.len() {
        world.start(idx);
    }
    world.run_for(3_000 * MS);
    stop_publishing(world);
    world.run_for(2_000 * MS);
}

fn n_answered(world: &World) -> usize {
    world.clients.iter().map(|client| client.answered.len()).sum()
}

/// A leader that was stopped for a while and goes on must acknowledge nothing and be sure of
/// nothing: give it proposals at the very moment of its return.
#[test]
fn f06_resumed_leader_acknowledges_nothing() {
    for seed in seeds(10) {
        let mut world = loaded_world(seed, 3, &[1, 2, 3]);
        let old = world.leader().unwrap();
        world.paused.insert(old);
        world.run_for(3_000 * MS);
        let new = world.leader().unwrap();
        assert_ne!(new, old, "seed {seed}");
        world.paused.remove(&old);
        let now = world.now();
        assert!(!world.replica(old).leads_surely(now), "seed {seed}");
        world.step(old, Input::Propose(vec![command(Token::new(9_999), Command::Checkpoint)]));
        world.run_for(1_000 * MS);
        // Refused, or unknown and then not applied as its own.
        let told = world.outputs.iter().filter(|(idx, said)| *idx == old && said == "leads true");
        assert_eq!(told.count(), 1, "seed {seed}");
        assert_ne!(world.replica(old).status().role, Role::Leader);
        settle(&mut world);
        check(&world, &[0, 1, 2]);
    }
}

/// A leader that is cut off answers nobody, and the others go on.
#[test]
fn f13_minority_answers_nothing() {
    for seed in seeds(10) {
        let mut world = loaded_world(seed, 3, &[1, 2, 3]);
        let old = world.leader().unwrap();
        cut_off(&mut world, old);
        world.run_for(50 * MS);
        let n_said = world.outputs.len();
        for token in 0..50 {
            let proposal = command(Token::new(20_000 + token), Command::Checkpoint);
            world.step(old, Input::Propose(vec![proposal]));
            world.run_for(20 * MS);
            let now = world.now();
            assert!(token < 15 || !world.replica(old).leads_surely(now), "seed {seed}");
        }
        let said = &world.outputs[n_said..];
        let answered =
            said.iter().filter(|(idx, said)| *idx == old && said.starts_with("answered"));
        assert_eq!(answered.count(), 0, "seed {seed}");
        let before = n_answered(&world);
        world.run_for(2_000 * MS);
        assert!(before < n_answered(&world), "seed {seed}: the majority serves");
        settle(&mut world);
        check(&world, &[0, 1, 2]);
    }
}

/// A leader that hears nobody, or whom nobody hears, is replaced within three election times.
#[test]
fn f14_one_way_cut_is_survived() {
    for seed in seeds(10) {
        for hears in [true, false] {
            let mut world = loaded_world(seed, 3, &[1, 2, 3]);
            let old = world.leader().unwrap() as u32 + 1;
            for other in (1..=3).filter(|&it| it != old) {
                world.cuts.insert(if hears { (old, other) } else { (other, old) });
            }
            world.run_for(3_000 * MS);
            let before = n_answered(&world);
            world.run_for(1_000 * MS);
            assert!(before < n_answered(&world), "seed {seed}, hears {hears}: nobody serves");
            assert_ne!(world.leader(), Some(old as usize - 1), "seed {seed}, hears {hears}");
            settle(&mut world);
            check(&world, &[0, 1, 2]);
        }
    }
}

/// Two of five stopped, a third without power, the two on again and the other two stopped: no node
/// may make up for what another knows, so nothing is lost and nothing splits.
#[test]
fn f12_pauses_around_a_power_cut_split_nothing() {
    for seed in seeds(10) {
        let mut world = loaded_world(seed, 5, &[1, 2, 3, 4, 5]);
        world.paused.extend([0, 1]);
        world.run_for(1_500 * MS);
        world.crash(2);
        world.paused.clear();
        world.run_for(50 * MS);
        world.start(2);
        world.paused.extend([3, 4]);
        world.run_for(3_000 * MS);
        world.paused.clear();
        world.run_for(1_000 * MS);
        settle(&mut world);
        check(&world, &[0, 1, 2, 3, 4]);
    }
}

/// The membership changes while links break and nodes fall: the leader's peer goes, a voter is
/// replaced by a new node, and in the end no joint membership is left.
#[test]
fn f48_membership_changes_under_partition() {
    for seed in seeds(10) {
        let mut world = loaded_world(seed, 5, &[1, 2, 3]);
        assert_eq!(change(&mut world, 901, &[(Step::Learner, 4)]), Some(true), "seed {seed}");
        // A voter is replaced, and the leader is cut off while the change is under way.
        let old = world.leader().unwrap();
        let gone = (0..3).find(|&idx| idx != old).unwrap();
        let steps = vec![(Step::Voter, NodeId::new(4)), (Step::Gone, NodeId::new(gone as u32 + 1))];
        let token = Token::new(902);
        world.step(old, Input::Change { token, change: Change { steps } });
        let delay = world.below(30 * MS);
        world.run_for(delay);
        cut_off(&mut world, old);
        world.run_for(3_000 * MS);
        world.cuts.clear();
        world.run_for(2_000 * MS);
        // Whoever is to go may lead by now.
        for _ in 0..5 {
            if world.leader() == Some(gone) {
                world.step(gone, Input::Transfer { to: NodeId::new(old as u32 + 1) });
                world.run_for(1_000 * MS);
            }
        }
        // Whatever became of it, it can be asked for again, and comes to an end.
        let steps = [(Step::Voter, 4), (Step::Gone, gone as u32 + 1)];
        assert_eq!(change(&mut world, 903, &steps), Some(true), "seed {seed}");
        world.crash(gone);
        world.nodes[gone].disk = MemoryDisk::new();
        assert_eq!(change(&mut world, 904, &[(Step::Learner, 5)]), Some(true), "seed {seed}");
        // The one that leads goes: leadership is handed over first.
        let leader = world.leader().unwrap();
        let heir = (0..4).find(|&idx| idx != leader && idx != gone).unwrap();
        for _ in 0..5 {
            // An offer may be overtaken by a heartbeat; then it does not count.
            world.step(leader, Input::Transfer { to: NodeId::new(heir as u32 + 1) });
            world.run_for(1_000 * MS);
        }
        assert_eq!(world.leader(), Some(heir), "seed {seed}");
        let steps = [(Step::Voter, 5), (Step::Gone, leader as u32 + 1)];
        assert_eq!(change(&mut world, 905, &steps), Some(true), "seed {seed}");
        world.crash(leader);
        world.run_for(2_000 * MS);
        stop_publishing(&mut world);
        world.run_for(2_000 * MS);
        let left: Vec<usize> = (0..5).filter(|&idx| idx != leader && idx != gone).collect();
        check(&world, &left);
    }
}

/// A node whose directory was wiped is asked for its vote before any leader speaks to it. It must
/// find out, and vote for nobody: the one who asks lacks what only the wiped one held.
#[test]
fn f30_wiped_node_does_not_vote() {
    for seed in seeds(10) {
        for told in [vec![1, 2, 3], vec![], vec![1, 3]] {
            let mut world = loaded_world(seed, 3, &[1, 2, 3]);
            let leader = world.leader().unwrap();
            let (lags, wiped) = ((leader + 1) % 3, (leader + 2) % 3);
            cut_off(&mut world, lags);
            world.run_for(500 * MS);
            stop_publishing(&mut world);
            world.run_for(500 * MS);
            let n_before = n_answered(&world);
            assert!(n_before > 20, "seed {seed}");
            world.crash(leader);
            world.crash(wiped);
            world.nodes[wiped].disk = MemoryDisk::new();
            world.nodes[wiped].voters = told.clone();
            world.may_halt = true;
            world.cuts.clear();
            world.start(wiped);
            world.run_for(4_000 * MS);
            assert_eq!(world.leader(), None, "seed {seed}, {told:?}: a wiped node voted");
            // The one who holds everything comes back: nothing is lost, and the wiped one is known.
            world.start(leader);
            world.run_for(3_000 * MS);
            assert!(world.leader().is_some(), "seed {seed}, {told:?}");
            assert_eq!(world.damages.len(), 1, "seed {seed}, {told:?}");
            let damage = world.damages[0].1;
            assert!(matches!(damage, Damage::Wiped { .. }), "seed {seed}, {told:?}: {damage}");
            let mut others = vec![leader, lags];
            others.sort_unstable();
            check(&world, &others);
        }
    }
}

/// A node whose disk went back to an earlier day must be told by whoever led when it acknowledged
/// more, be it that one's heartbeat or its request for a vote.
#[test]
fn f31_rolled_back_node_is_told() {
    for seed in seeds(10) {
        for asks_first in [true, false] {
            let mut world = loaded_world(seed, 3, &[1, 2, 3]);
            let leader = world.leader().unwrap();
            let back = (leader + 1) % 3;
            let before = world.nodes[back].disk.durable_copy();
            world.run_for(1_000 * MS);
            world.crash(back);
            world.nodes[back].disk = before;
            world.may_halt = true;
            if asks_first {
                // It led, and must be elected again before it may send a heartbeat.
                let other = 3 - leader - back;
                world.crash(other);
                world.run_for(2_000 * MS);
                assert_eq!(world.leader(), None, "seed {seed}");
                world.start(back);
                world.run_for(3_000 * MS);
                assert_eq!(world.leader(), None, "seed {seed}: it voted");
                world.start(other);
            } else {
                world.start(back);
            }
            world.run_for(3_000 * MS);
            stop_publishing(&mut world);
            world.run_for(1_000 * MS);
            assert_eq!(world.damages.len(), 1, "seed {seed}, asks first: {asks_first}");
            let damage = world.damages[0].1;
            assert!(matches!(damage, Damage::TailLost { .. }), "seed {seed}: {damage}");
            let mut others = vec![leader, 3 - leader - back];
            others.sort_unstable();
            check(&world, &others);
        }
    }
}

/// Leadership goes where it is asked to go, with nobody sure in between, and a transfer to a node
/// that is down leaves the leader able to serve.
#[test]
fn transfer_hands_leadership_over() {
    for seed in seeds(10) {
        let mut world = loaded_world(seed, 3, &[1, 2, 3]);
        let old = world.leader().unwrap();
        let heir = (old + 1) % 3;
        let now = world.now();
        assert!(world.replica(old).leads_surely(now), "seed {seed}");
        world.step(old, Input::Transfer { to: NodeId::new(heir as u32 + 1) });
        assert!(!world.replica(old).leads_surely(now), "seed {seed}");
        for _ in 0..5 {
            world.run_for(600 * MS);
            // An offer may be overtaken by a heartbeat; then it does not count.
            world.step(old, Input::Transfer { to: NodeId::new(heir as u32 + 1) });
        }
        assert_eq!(world.leader(), Some(heir), "seed {seed}");
        world.run_for(400 * MS);
        let now = world.now();
        assert!(world.replica(heir).leads_surely(now), "seed {seed}");
        world.crash(old);
        world.run_for(500 * MS);
        world.step(heir, Input::Transfer { to: NodeId::new(old as u32 + 1) });
        world.run_for(3_000 * MS);
        let (before, now) = (n_answered(&world), world.now());
        assert_eq!(world.leader(), Some(heir), "seed {seed}");
        assert!(world.replica(heir).leads_surely(now), "seed {seed}: nothing was offered");
        world.run_for(1_000 * MS);
        assert!(before < n_answered(&world), "seed {seed}");
        settle(&mut world);
        check(&world, &[0, 1, 2]);
    }
}

/// Two leaders must never both be sure, whatever the network and crashes do; and a leader on a calm
/// network must be. The first is held against every step of every world here.
#[test]
fn leader_is_sure_on_a_calm_network() {
    let mut world = loaded_world(3, 3, &[1, 2, 3]);
    let (before, mut n_sure) = (world.n_sure, 0);
    for _ in 0..100 {
        world.run_for(37 * MS);
        n_sure += world.sure().count();
    }
    assert_eq!(n_sure, 100);
    assert!(before < world.n_sure);
}
