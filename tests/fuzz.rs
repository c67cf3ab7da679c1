//! The fuzz targets within `cargo test`: on their seeds, on those changed a little, on any bytes.
//!
//! The targets themselves are the ones of `tests/fuzz`, which run for longer under libFuzzer. Here
//! each runs for a moment, so that a target never rots and a promise that breaks plainly is seen.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic is what is looked for")]

#[path = "fuzz/src/lib.rs"]
#[expect(dead_code, reason = "the program that writes the seeds uses the rest")]
#[expect(unreachable_pub, reason = "under libFuzzer it is a crate")]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, proptest};

/// What a fuzzer does to an input, in one step.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Drop(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    let edge = prop::sample::select(vec![0_u8, 1, 2, 0x7f, 0x80, 0xfe, 0xff]);
    let bytes = prop::collection::vec(any::<u8>(), 1..9);
    proptest::prelude::prop_oneof![
        3 => (at(), edge).prop_map(|(at, byte)| Change::Set(at, byte)),
        3 => (at(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => at().prop_map(Change::Cut),
        1 => at().prop_map(Change::Drop),
        1 => (at(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let n_bytes = bytes.len();
        match change {
            _ if n_bytes == 0 => return bytes,
            Change::Set(at, byte) => bytes[at.index(n_bytes)] = *byte,
            Change::Flip(at, bit) => bytes[at.index(n_bytes)] ^= 1 << bit,
            Change::Cut(at) => bytes.truncate(at.index(n_bytes)),
            Change::Drop(at) => drop(bytes.remove(at.index(n_bytes))),
            Change::Insert(at, more) => {
                let at = at.index(n_bytes);
                drop(bytes.splice(at..at, more.iter().copied()));
            }
        }
    }
    bytes
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).expect("each target has seeds");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn input(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let changed = (prop::sample::select(seeds(target)), prop::collection::vec(change(), 1..6))
        .prop_map(|(seed, changes)| changed(seed, &changes));
    proptest::prelude::prop_oneof![
        6 => changed,
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => Just(Vec::new()),
    ]
}

macro_rules! twins {
    ($($target:ident $n_cases:literal),* $(,)?) => {$(
        #[test]
        fn $target() {
            for seed in seeds(stringify!($target)) {
                targets::$target::run(&seed);
            }
            let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases($n_cases) };
            proptest!(config, |(bytes in input(stringify!($target)))| {
                targets::$target::run(&bytes);
            });
        }
    )*};
}

twins!(
    http_event 500,
    ndjson 500,
    wire 500,
    names 500,
    entry 500,
    command 500,
    apply 200,
    replica 100,
    frame 100,
    checkpoint 100,
    index 100,
);
