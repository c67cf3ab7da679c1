//! The power goes at any moment: what was acknowledged stays, and nothing stays that never was.

use proptest::prelude::*;
use tidings_types::seam::{Rng, SplitMix};

use crate::check::check;
use crate::disk::MemoryDisk;
use crate::entry::{Entry, HardState};
use crate::error::WriteError;
use crate::open::Opened;
use crate::options::Options;
use crate::support_test::{Model, events, hard_state, index, plain, start_with, write};

/// Small, so that little work goes through many segments.
fn options() -> Options {
    Options::small(16 << 10)
}

/// What the log has acknowledged.
#[derive(Clone, Debug, Default)]
struct Acked {
    entries: Vec<Entry>,
    hard_state: HardState,
}

/// A life of a log with all that it does; ends at the first error.
fn live(disk: &MemoryDisk, acked: &mut Acked) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let opened = start_with(disk, options()).map_err(|error| text(&error))?;
    let Opened { mut log, mut writer, checkpoint, replay, hard_state: found, .. } = opened;
    let mut model = Model::of(checkpoint.as_ref());
    for entry in replay {
        model.apply(&mut log, &entry.map_err(|error| text(&error))?);
    }
    acked.hard_state = found;
    let mut step = || -> Result<(), WriteError> {
        for batch in 0..8 {
            let first = model.applied.get() + 1;
            let entries: Vec<Entry> =
                (first..first + 6).map(|number| events(number, &[(1, 6), (2, 4)])).collect();
            let state = hard_state(1, first + 5);
            write(&mut log, &mut writer, entries.clone(), Some(state))?;
            acked.entries.extend(entries.clone());
            acked.hard_state = state;
            entries.iter().for_each(|entry| model.apply(&mut log, entry));
            writer.idle_mark()?;
            writer.prepare()?;
            if batch % 3 == 2 {
                // A crash may come within; then there is no checkpoint, or a whole one.
                let written = model.checkpoint(disk, &mut log);
                let what = String::new();
                written.map_err(|source| WriteError::Io { what, source })?;
                let job = log.purge(index(model.applied.get() - 7));
                let done = writer.write(vec![job])?;
                log.persisted(&done);
                writer.prepare()?;
            }
        }
        Ok(())
    };
    step().map_err(|error| text(&error))
}

/// Starts after a crash and compares with what was acknowledged.
fn recover(disk: &MemoryDisk, acked: &Acked) {
    assert!(check(disk).verdict.is_sound(), "{}", check(disk).verdict);
    let opened = start_with(disk, options()).unwrap();
    let Opened { mut log, mut writer, checkpoint, replay, hard_state: found, .. } = opened;
    assert!(acked.hard_state.commit <= found.commit);
    let mut model = Model::of(checkpoint.as_ref());
    let mut last_acked = None;
    for entry in replay {
        let entry = entry.unwrap();
        if let Some(known) = acked.entries.iter().find(|known| known.index == entry.index) {
            assert_eq!(known, &entry);
        }
        last_acked = Some(entry.index);
        model.apply(&mut log, &entry);
    }
    let last = acked.entries.last().map_or(index(0), |entry| entry.index);
    assert!(last <= log.last_index(), "{last} was acknowledged, {last_acked:?} is there");
    writer.prepare().unwrap();
    // Purged events are gone; all others are where they were.
    let reader = log.reader();
    for (&topic, ids) in &model.ids {
        for (at, id) in ids.iter().enumerate() {
            let from = tidings_types::offset::Offset::new(at as u64);
            match reader.read_disk(topic, from, 1) {
                Ok(blocks) => {
                    let block = &blocks[0];
                    let skip = from.since(block.placed.first) as usize;
                    assert_eq!(block.records.events().nth(skip).unwrap().unwrap().id(), id);
                }
                Err(error) => {
                    assert!(matches!(error, crate::error::ReadError::Purged { .. }), "{error}");
                }
            }
        }
    }
}

/// We let the disk refuse from the n-th change on, for each n of two lives, and then the power goes.
/// Of what was not synced nothing stays, or a random part.
#[test]
fn f05_crash_at_every_change_loses_nothing_acknowledged() {
    let mut rng = SplitMix::new(1);
    for n_changes in 0.. {
        let disk = MemoryDisk::new();
        let mut acked = Acked::default();
        disk.fail_after(n_changes);
        let is_over = live(&disk, &mut acked).and_then(|()| live(&disk, &mut acked)).is_ok();
        let keeps_some = n_changes % 2 == 0;
        disk.crash_keeping(|_, _| keeps_some && rng.below(2) == 0);
        println!("{n_changes} changes");
        recover(&disk, &acked);
        if is_over {
            assert!(n_changes > 150, "only {n_changes} changes were tried");
            return;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many entries, replacing so many, each of so many bytes.
    Append {
        n: u64,
        back: u64,
        bytes: usize,
    },
    Mark,
    Prepare,
    /// The next batch fails in its sync, and the process starts again.
    FailSync {
        n: u64,
        bytes: usize,
    },
    /// The power goes; pages are kept by this seed.
    Crash {
        seed: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_u64..6, 0_u64..4, 1_usize..3000)
            .prop_map(|(n, back, bytes)| Step::Append { n, back, bytes }),
        1 => Just(Step::Mark),
        1 => Just(Step::Prepare),
        1 => (1_u64..6, 1_usize..3000).prop_map(|(n, bytes)| Step::FailSync { n, bytes }),
        2 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The log against a plain list. What was acknowledged must be there after each start, in its
    /// newest form; of an unfinished batch a prefix may be there too, and nothing else.
    #[test]
    fn log_is_what_was_acknowledged(steps in steps()) {
        let disk = MemoryDisk::new();
        let mut opened = start_with(&disk, options()).unwrap();
        let mut acked: Vec<Entry> = Vec::new();
        let mut unfinished: Vec<Entry> = Vec::new();
        let mut of_term = 1;
        for step in steps {
            let next = acked.len() as u64 + 1;
            match step {
                Step::Append { n, back, bytes } => {
                    of_term += u64::from(back > 0);
                    let first = next.saturating_sub(back).max(1);
                    let entries: Vec<Entry> =
                        (first..first + n).map(|number| plain(number, of_term, bytes)).collect();
                    acked.truncate(first as usize - 1);
                    acked.extend(entries.clone());
                    let Opened { log, writer, .. } = &mut opened;
                    write(log, writer, entries, Some(hard_state(of_term, 0))).unwrap();
                    unfinished.clear();
                    continue;
                }
                Step::Mark => {
                    opened.writer.idle_mark().unwrap();
                    continue;
                }
                Step::Prepare => {
                    opened.writer.prepare().unwrap();
                    continue;
                }
                Step::FailSync { n, bytes } => {
                    of_term += 1;
                    let entries = (next..next + n).map(|number| plain(number, of_term, bytes));
                    unfinished = entries.collect();
                    opened.writer.prepare().unwrap();
                    disk.fail_next_sync();
                    let Opened { log, writer, .. } = &mut opened;
                    write(log, writer, unfinished.clone(), None).unwrap_err();
                }
                Step::Crash { seed } => {
                    let mut rng = SplitMix::new(seed);
                    disk.crash_keeping(|_, _| rng.below(2) == 0);
                }
            }
            drop(opened);
            opened = start_with(&disk, options()).unwrap();
            let found: Vec<Entry> = opened.replay.by_ref().map(Result::unwrap).collect();
            prop_assert!(acked.len() <= found.len());
            prop_assert_eq!(&found[..acked.len()], &acked[..]);
            prop_assert_eq!(&found[acked.len()..], &unfinished[..found.len() - acked.len()]);
            // The start has made it durable, so from here on it must stay.
            acked = found.clone();
            unfinished.clear();
            opened.log.restore(found);
        }
    }
}
