//! Named faults, each done on purpose amid load: what must hold, holds.

use crate::fault::{Cut, Fault, Whom};
use crate::net::Noise;
use crate::plan::Plan;
use crate::run::run;
use crate::stats::Stats;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;

/// Runs it with several seeds; whatever the checker holds against a run must hold.
fn hold(n_stores: usize, plan: impl Fn(Plan) -> Plan, faults: &[(u64, Fault)]) -> Stats {
    let mut stats = Stats::default();
    for seed in 0..4 {
        let ran = run(plan(Plan::of(n_stores, seed, faults.to_vec())));
        assert_eq!(ran.violation, None, "seed {seed}");
        stats += ran.stats;
    }
    assert!(stats.acked > 400, "{stats:?}");
    stats
}

fn same(plan: Plan) -> Plan {
    plan
}

/// The leader is killed again and again while publishers wait for answers: nothing that was
/// acknowledged may be lost, and publishing must go on.
#[test]
fn f01_leader_is_killed() {
    let kills: Vec<_> = (1..8).map(|n| (n * SECOND, Fault::Kill(Whom::Leader, 200 * MS))).collect();
    let stats = hold(3, same, &kills);
    assert!(stats.kills >= 28 && stats.leaderships > 12, "{stats:?}");
}

/// With two of three up, the death of a follower must cost nobody an answer who publishes elsewhere.
#[test]
fn f02_follower_is_killed() {
    let kills: Vec<_> =
        (1..8).map(|n| (n * SECOND, Fault::Kill(Whom::Follower, 300 * MS))).collect();
    let stats = hold(3, same, &kills);
    assert!(stats.kills >= 28 && stats.refused == 0, "{stats:?}");
}

/// While a majority is down nothing may be acknowledged; when it is back, all goes on.
#[test]
fn f03_majority_is_killed() {
    let faults = [(3 * SECOND, Fault::Power(Whom::Majority, 3 * SECOND))];
    let stats = hold(3, same, &faults);
    assert!(stats.powercuts == 8, "{stats:?}");
}

/// All nodes are killed at once, fifty times, with one replica and with three: what was acknowledged
/// and what was settled must be known after each start.
#[test]
fn f04_all_are_killed_at_once() {
    let kills: Vec<_> =
        (1..=13).map(|n| (n * 500 * MS, Fault::Kill(Whom::All, 20 * MS * n))).collect();
    for n_stores in [1, 3] {
        // Each kill hits the service node too.
        let stats = hold(n_stores, same, &kills);
        assert_eq!(stats.kills, 4 * 13 * (n_stores as u64 + 1), "{stats:?}");
    }
}

/// A leader is stopped for 0.3, 2 and 5 s and goes on: it must acknowledge nothing that the others
/// do not have, and its workers must settle nothing that went elsewhere.
#[test]
fn f06_leader_is_paused() {
    let pause = |at, for_us| (at, Fault::Pause(Whom::Leader, for_us));
    let faults =
        [pause(SECOND, 300 * MS), pause(2 * SECOND, 2 * SECOND), pause(5 * SECOND, 5 * SECOND)];
    assert!(hold(3, same, &faults).pauses == 12);
}

/// A disk takes 5 s for one write, twice, under more load than fits a segment meanwhile: a process
/// must take no more than its bound, a leader hold no more than its own, and both go on afterwards.
#[test]
fn f21_slow_disk_under_load() {
    let slow = |at| (at * SECOND, Fault::Slow(Whom::Leader, 200 * MS, 5 * SECOND));
    for n_stores in [1, 3] {
        let much = |plan| Plan { n_calls: 1_000, ..plan };
        let stats = hold(n_stores, much, &[slow(1), slow(7)]);
        assert!(stats.unknown > 0 && stats.other_faults == 8, "{stats:?}");
    }
}

/// One node loses its power and what was not synced.
#[test]
fn f10_one_node_loses_power() {
    let faults: Vec<_> = (1..8).map(|n| (n * SECOND, Fault::Power(Whom::Any, 400 * MS))).collect();
    assert!(hold(3, same, &faults).powercuts >= 25);
}

/// All nodes lose their power at once.
#[test]
fn f11_all_nodes_lose_power() {
    for n_stores in [1, 3] {
        let faults = [1, 3, 5, 7].map(|n| (n * SECOND, Fault::Power(Whom::All, 300 * MS)));
        assert!(hold(n_stores, same, &faults).powercuts >= 32);
    }
}

/// Two are paused, a third one that has all that is new loses its power, the two go on and the other
/// two are paused: what three acknowledged must be with any majority.
#[test]
fn f12_pause_two_cut_one_pause_two() {
    let on = |at: u64, fault| (at * 100 * MS, fault);
    let faults = [
        on(20, Fault::Pause(Whom::Node(0), 1_500 * MS)),
        on(20, Fault::Pause(Whom::Node(1), 1_500 * MS)),
        on(33, Fault::Power(Whom::Node(2), 200 * MS)),
        on(35, Fault::Pause(Whom::Node(3), 3_000 * MS)),
        on(35, Fault::Pause(Whom::Node(4), 3_000 * MS)),
    ];
    let stats = hold(5, same, &faults);
    assert!(stats.pauses == 16 && stats.powercuts == 4, "{stats:?}");
}

/// The leader is cut off: it must acknowledge nothing, and the others must go on without it.
#[test]
fn f13_leader_is_cut_off() {
    let faults = [1, 4].map(|n| (n * SECOND, Fault::Cut(Cut::Alone(Whom::Leader), 2 * SECOND)));
    let stats = hold(3, same, &faults);
    assert!(stats.cuts == 8 && stats.leaderships >= 12, "{stats:?}");
}

/// A leader that is not heard, or hears nothing, must give way.
#[test]
fn f14_leader_is_deaf_or_mute() {
    let faults = [
        (SECOND, Fault::Cut(Cut::Deaf(Whom::Leader), 2 * SECOND)),
        (4 * SECOND, Fault::Cut(Cut::Mute(Whom::Leader), 2 * SECOND)),
    ];
    let stats = hold(3, same, &faults);
    assert!(stats.leaderships >= 12, "{stats:?}");
}

/// Leader and another do not hear each other while a third hears both: they must not take the
/// leadership from each other for ever.
#[test]
fn f15_bridge() {
    let faults = [1, 4].map(|n| (n * SECOND, Fault::Cut(Cut::Bridge, 2_500 * MS)));
    let stats = hold(3, same, &faults);
    assert!(stats.leaderships <= 4 * (1 + 3 * 2), "{stats:?}");
}

/// A link comes and goes several times a second.
#[test]
fn f16_flapping() {
    let faults = [1, 3, 5].map(|n| (n * SECOND, Fault::Flap(Cut::Alone(Whom::Any), 250 * MS)));
    assert!(hold(3, same, &faults).cuts >= 40);
}

/// Messages between replicas come twice, late, in another order, or not at all.
#[test]
fn f20_doubled_late_and_lost_messages() {
    let noise = Noise { drop_percent: 8, double_percent: 20, late_percent: 20, late_us: 500 * MS };
    hold(3, |plan| Plan { noise, ..plan }, &[]);
}

/// A disk is lost; a fresh node under a fresh id takes its place while publishing goes on.
#[test]
fn f30_lost_disk_is_replaced() {
    for whom in [Whom::Leader, Whom::Follower] {
        let stats = hold(3, same, &[(2 * SECOND, Fault::Replace(whom))]);
        assert!(stats.changes >= 8, "{stats:?}");
    }
}

/// A follower comes back with an old copy of its disk, or with an empty one, under its old id: it
/// must say so and take no part, or what it acknowledged could be outvoted. A fresh one replaces it.
#[test]
fn f31_rolled_back_disk_takes_no_part() {
    let back = (5 * SECOND, Fault::RollBack(Whom::Follower, 300 * MS));
    let copied = [(2 * SECOND, Fault::Copy(Whom::All)), back];
    // As a member it may repeat events before it is found out: its incarnations come again, too. So
    // only the node without a replica serves.
    let served_elsewhere = |plan: Plan| {
        let serving = plan.groups.iter().map(|_| vec![3]).collect();
        Plan { serving, ..plan }
    };
    for faults in [&copied[..], &[back]] {
        let stats = hold(3, served_elsewhere, faults);
        assert_eq!(stats.damages, 4, "{stats:?}");
        assert!(stats.changes >= 8, "{stats:?}");
    }
}

/// Wall clocks jump by an hour in both directions: nothing may come early, late or twice.
#[test]
fn f34_wall_clocks_jump() {
    let jump = |at: u64, ms| (at * SECOND, Fault::Jump(Whom::Any, ms));
    let faults = [jump(1, 3_600_000), jump(2, -3_600_000), jump(3, -3_600_000), jump(4, 500)];
    assert!(hold(3, same, &faults).other_faults == 16);
}

/// Voters come, go and are replaced under load, while the network is cut.
#[test]
fn f48_membership_changes_under_load() {
    let faults = [
        (SECOND, Fault::Grow),
        (2 * SECOND, Fault::Cut(Cut::Alone(Whom::Leader), SECOND)),
        (4 * SECOND, Fault::Replace(Whom::Follower)),
        (5 * SECOND, Fault::Cut(Cut::Bridge, SECOND)),
        (7 * SECOND, Fault::Shrink(Whom::Follower)),
    ];
    let stats = hold(3, same, &faults);
    assert!(stats.changes >= 16 && stats.cuts == 8, "{stats:?}");
}

/// A newcomer gets a snapshot while the leader purges, and crashes in the middle of it.
#[test]
fn f49_snapshot_is_installed_amid_purges_and_crashes() {
    let mut faults = vec![(3 * SECOND, Fault::Replace(Whom::Follower))];
    // The newcomer is the last of all nodes: three replicas and a service come before it.
    faults
        .extend((1..12).map(|n| (3 * SECOND + n * 60 * MS, Fault::Power(Whom::Node(4), 30 * MS))));
    let often = |plan| Plan { tidy_every_us: 300 * MS, ..plan };
    let stats = hold(3, often, &faults);
    assert!(stats.installs >= 3 && stats.checkpoints > 20, "{stats:?}");
}
