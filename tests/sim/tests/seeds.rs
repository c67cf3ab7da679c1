//! Some seeds of each size, and the test of the simulator itself: a seed repeats a run.

use tidings_sim::{Plan, Stats, run};

fn run_all(n_nodes: usize, seeds: std::ops::Range<u64>) -> Stats {
    let mut stats = Stats::default();
    for seed in seeds {
        let ran = run(Plan::random(n_nodes, seed));
        assert_eq!(ran.violation, None, "{n_nodes} nodes, seed {seed}");
        stats += ran.stats;
    }
    stats
}

/// Whatever is done to one, three or five nodes, nothing that must hold may break; and the faults
/// must have left something to check.
#[test]
fn seeds_of_one_node_hold() {
    let stats = run_all(1, 1_000..1_050);
    assert!(stats.acked > 5_000 && stats.powercuts > 20 && stats.kills > 20, "{stats:?}");
}

/// As above.
#[test]
fn seeds_of_three_nodes_hold() {
    let stats = run_all(3, 2_000..2_025);
    assert!(stats.acked > 4_000 && stats.powercuts > 20 && stats.cuts > 10, "{stats:?}");
}

/// As above.
#[test]
fn seeds_of_five_nodes_hold() {
    let stats = run_all(5, 3_000..3_010);
    assert!(stats.acked > 1_500 && stats.powercuts > 5 && stats.cuts > 5, "{stats:?}");
}

/// A seed must repeat a run to the last byte of its trace and of its history, or a failure that was
/// found cannot be found again; and another seed must give another run.
#[test]
fn seed_repeats_a_run() {
    for n_nodes in [1, 3, 5] {
        let mut hashes = Vec::new();
        for seed in [7, 8, 9] {
            let once = run(Plan::random(n_nodes, seed).traced());
            let again = run(Plan::random(n_nodes, seed).traced());
            assert!(once.trace.len() > 10_000, "the trace tells what happened");
            assert!(once.trace == again.trace, "{n_nodes} nodes, seed {seed}: traces differ");
            assert!(once.history == again.history, "{n_nodes} nodes, seed {seed}");
            assert_eq!((once.hash, once.stats), (again.hash, again.stats));
            // Whether anybody looks must change nothing.
            assert_eq!(run(Plan::random(n_nodes, seed)).hash, once.hash);
            hashes.push(once.hash);
        }
        hashes.dedup();
        assert_eq!(hashes.len(), 3);
    }
}
