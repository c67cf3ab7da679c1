//! Events come back by their offset, from memory and from the disk, over restarts and purges.

use tidings_types::id::TopicId;
use tidings_types::offset::Offset;

use crate::block::{Space, TailRead};
use crate::disk::{Disk, MemoryDisk};
use crate::entry::Entry;
use crate::error::{OpenError, ReadError, WriteError};
use crate::log::Log;
use crate::open::Opened;
use crate::options::Options;
use crate::pace::{Go, Pace};
use crate::segment::path;
use crate::support_test::{
    Model, SEGMENT, events, hard_state, index, plain, start, start_with, term, write,
};
use crate::writer::Writer;

/// Writes and applies entries with events for two topics, over several segments.
fn publish(model: &mut Model, log: &mut Log, writer: &mut Writer, n_entries: u64) {
    for number in model.applied.get() + 1..=model.applied.get() + n_entries {
        let topics: &[_] = if number % 3 == 0 { &[(1, 2), (2, 1)] } else { &[(1, 5)] };
        let entry = events(number, topics);
        write(log, writer, vec![entry.clone()], Some(hard_state(1, number))).unwrap();
        model.apply(log, &entry);
        writer.prepare().unwrap();
    }
}

fn files(disk: &MemoryDisk, suffix: &str) -> Vec<String> {
    let names = disk.list("log").unwrap();
    names.into_iter().filter(|name| name.ends_with(suffix)).collect()
}

/// Every event must be found again: in the tail, on the disk, after a restart that replays all, and
/// after one from a checkpoint, whose local part knows the segments without an index file.
#[test]
fn events_come_back_from_memory_and_from_the_disk() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    publish(&mut model, &mut log, &mut writer, 400);
    assert!(files(&disk, ".idx").len() > 1);
    model.check(&log, false);
    model.check(&log, true);

    let (again, log, _) = Model::resume(&disk);
    assert_eq!(again.ids, model.ids);
    model.check(&log, false);

    let (mut model, mut log, mut writer) = Model::resume(&disk);
    model.checkpoint(&disk, &mut log).unwrap();
    publish(&mut model, &mut log, &mut writer, 7);
    let opened = start(&disk).unwrap();
    assert_eq!(opened.replay.count(), 7);
    let (again, log, _) = Model::resume(&disk);
    assert_eq!(again.ids, model.ids);
    model.check(&log, true);
}

/// The tail is bounded, and an entry that is not persisted and applied never leaves it.
#[test]
fn tail_keeps_what_is_not_applied_and_is_bounded() {
    let disk = MemoryDisk::new();
    let options = Options { tail_bytes_max: 4096, ..Options::small(SEGMENT) };
    let Opened { mut log, mut writer, .. } = start_with(&disk, options).unwrap();
    let mut model = Model::default();
    let entries: Vec<Entry> = (1..=40).map(|number| events(number, &[(1, 3)])).collect();
    write(&mut log, &mut writer, entries.clone(), None).unwrap();
    assert_eq!(log.entry(index(1)).as_ref(), entries.first());
    for entry in &entries {
        model.apply(&mut log, entry);
    }
    assert_eq!(log.entry(index(1)), None);
    assert_eq!(log.entry(index(40)).as_ref(), entries.last());
    assert_eq!(log.term(index(1)), Some(term(1)));
    let reader = log.reader();
    assert_eq!(reader.read_tail(TopicId::new(1), Offset::new(0), 99), TailRead::Miss);
    assert!(matches!(reader.read_tail(TopicId::new(1), Offset::new(118), 99), TailRead::Hit(_)));
    model.check(&log, false);

    // What was appended and not persisted stays, whatever its size.
    let job = log.append((41..=90).map(|number| plain(number, 1, 1000)).collect(), None);
    assert!(log.entry(index(41)).is_some());
    log.persisted(&writer.write(vec![job]).unwrap());
    assert!(log.entry(index(41)).is_some());
    log.applied(index(90));
    assert_eq!(log.entry(index(41)), None);
}

/// A read gives the asked-for event first and stops near the limit, also when that is tiny.
#[test]
fn reads_are_bounded_and_hold_the_wanted_event() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    publish(&mut model, &mut log, &mut writer, 20);
    let (topic, reader) = (TopicId::new(1), log.reader());
    let blocks = reader.read_disk(topic, Offset::new(7), 1).unwrap();
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks[0].placed.first, Offset::new(5));
    assert_eq!(reader.read_tail(topic, Offset::new(7), 1), TailRead::Hit(blocks));
    assert_eq!(reader.read_disk(topic, Offset::new(0), 1 << 20).unwrap().len(), 20);
    assert_eq!(reader.read_disk(TopicId::new(9), Offset::new(0), 99).unwrap(), []);
    assert_eq!(reader.durable(), writer.durable());
}

/// An index file whose crcs are whole and that does not go on where the segment before it ended, or
/// does not end where the next one begins, must be made anew, not believed. We shift its entries.
#[test]
fn index_file_beside_the_log_is_made_anew() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    publish(&mut model, &mut log, &mut writer, 300);
    let idx = files(&disk, ".idx");
    let path = format!("log/{}", idx.last().unwrap());
    let whole = disk.bytes(&path).unwrap();
    for shift in [1_u64, u64::MAX] {
        let mut shifted = whole.clone();
        // First index, highest index, and the only run's first.
        for at in [24, 32, 88] {
            let number = u64::from_le_bytes(whole[at..at + 8].try_into().unwrap());
            let number = number.wrapping_add(shift);
            shifted[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let n_topics = u32::from_le_bytes(whole[72..76].try_into().unwrap()) as usize;
        let crc = crc32c::crc32c(&shifted[8..88 + 16 + n_topics * 24]);
        shifted[4..8].copy_from_slice(&crc.to_le_bytes());
        disk.put(&path, 0, &shifted);
        let (again, log, _) = Model::resume(&disk);
        assert_eq!(again.ids, model.ids);
        model.check(&log, true);
    }
}

/// An index file that rotted is made anew: from an older checkpoint, or by replaying all.
#[test]
fn f26_damaged_index_file_is_made_anew() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    publish(&mut model, &mut log, &mut writer, 200);
    model.checkpoint(&disk, &mut log).unwrap();
    publish(&mut model, &mut log, &mut writer, 300);
    model.checkpoint(&disk, &mut log).unwrap();
    let idx = files(&disk, ".idx");
    let newest = format!("log/{}", idx.last().unwrap());
    let whole = disk.bytes(&newest).unwrap();

    disk.put(&newest, 30, &[0xEE]);
    let opened = start(&disk).unwrap();
    assert_eq!(opened.checkpoint.unwrap().index, index(200));
    let (again, log, mut writer) = Model::resume(&disk);
    assert_eq!(again.ids, model.ids);
    model.check(&log, true);
    writer.prepare().unwrap();
    assert_eq!(disk.bytes(&newest).unwrap(), whole);

    // Part b is looked at later; then the reader says so, and the next start makes it anew.
    disk.put(&newest, whole.len() as u64 - 9, &[0xEE]);
    let (_, log, _) = Model::resume(&disk);
    let reader = log.reader();
    let topic = TopicId::new(1);
    let failed =
        (0..2000).map(|at| reader.read_disk(topic, Offset::new(at), 1)).find_map(|read| read.err());
    assert!(matches!(failed, Some(ReadError::DamagedIndex { .. })));
    drop(log);
    let (_, log, _) = Model::resume(&disk);
    model.check(&log, true);

    let first = format!("log/{}", idx.first().unwrap());
    disk.lose(&first);
    let opened = start(&disk).unwrap();
    assert_eq!(opened.checkpoint, None);
    let (again, log, _) = Model::resume(&disk);
    assert_eq!(again.ids, model.ids);
    model.check(&log, true);
}

/// Row F26: a checkpoint that rotted gives way to an older one, and without one all is replayed; if
/// entries before it are purged, the start is refused. We flip a bit in one and then in both.
#[test]
fn f26_damaged_checkpoint_gives_way_or_is_refused() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    for _ in 0..2 {
        publish(&mut model, &mut log, &mut writer, 100);
        model.checkpoint(&disk, &mut log).unwrap();
    }
    let names = disk.list("ckpt/0").unwrap();
    let started_at = |disk: &MemoryDisk| start(disk).unwrap().checkpoint.map(|found| found.index);
    assert_eq!(started_at(&disk), Some(index(200)));
    for (name, left) in [(&names[1], Some(index(100))), (&names[0], None)] {
        assert!(disk.flip(&format!("ckpt/0/{name}"), 777));
        // A purge that counted on what is damaged would leave no way to start.
        let counted_on: Vec<_> = left.into_iter().collect();
        assert_eq!(start(&disk).unwrap().log.checkpoints(), counted_on);
        assert_eq!(started_at(&disk), left);
        assert_eq!(Model::resume(&disk).0.ids, model.ids);
    }
    let job = log.purge(index(100));
    writer.write(vec![job]).unwrap();
    assert!(matches!(start(&disk), Err(OpenError::MissingCheckpoint { .. })));
}

/// A purge takes whole segments, oldest first, and what must survive it is restated in the Heads.
#[test]
fn purge_takes_whole_segments_and_nothing_that_is_needed() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    publish(&mut model, &mut log, &mut writer, 300);
    model.checkpoint(&disk, &mut log).unwrap();
    publish(&mut model, &mut log, &mut writer, 5);
    let before = files(&disk, ".seg").len();
    let bytes_before = log.reader().log_bytes();
    let job = log.purge(index(300));
    let done = writer.write(vec![job]).unwrap();
    log.persisted(&done);
    assert_eq!(files(&disk, ".seg").len(), before, "files go in the background");
    writer.prepare().unwrap();
    assert!(files(&disk, ".seg").len() < before);
    assert!(files(&disk, ".seg").first().unwrap().as_str() > "0000000000000000.seg");
    assert!(log.reader().log_bytes() < bytes_before);
    assert_eq!((log.first_index(), log.purged()), (index(301), (index(300), term(1))));
    assert_eq!(log.term(index(299)), None);

    let reader = log.reader();
    match reader.read_disk(TopicId::new(1), Offset::new(0), 99) {
        Err(ReadError::Purged { start, .. }) => assert!(start > Offset::new(0)),
        other => panic!("{other:?}"),
    }
    let opened = start(&disk).unwrap();
    assert_eq!(opened.purged, (index(300), term(1)));
    assert_eq!(opened.hard_state, hard_state(1, 305));
    assert_eq!(opened.log.term(index(300)), Some(term(1)));
    assert_eq!(opened.replay.count(), 5);

    let lost = disk.durable_copy();
    for name in lost.list("ckpt/0").unwrap() {
        lost.lose(&format!("ckpt/0/{name}"));
    }
    assert!(matches!(start(&lost), Err(OpenError::MissingCheckpoint { .. })));
    // Segments that a crash kept from going go at the next start; a lost one is noticed.
    let first = files(&disk, ".seg").remove(0);
    publish(&mut model, &mut log, &mut writer, 200);
    disk.lose(&format!("log/{first}"));
    assert!(matches!(start(&disk), Err(OpenError::MissingSegment { .. })));
}

/// A full disk is no error while there is a prepared segment, and is told step by step.
#[test]
fn f24_full_disk_is_told_before_it_hurts() {
    let disk = MemoryDisk::new();
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    writer.prepare().unwrap();
    disk.set_free_bytes(SEGMENT / 2);
    let reader = log.reader();
    assert_eq!(reader.space(), Space::Plenty);
    let mut seen = vec![Space::Plenty];
    let mut number = 0;
    let error = loop {
        number += 1;
        let entries = vec![plain(number, 1, 4000)];
        if let Err(error) = write(&mut log, &mut writer, entries, None) {
            break error;
        }
        writer.prepare().unwrap();
        if seen.last() != Some(&reader.space()) {
            seen.push(reader.space());
        }
    };
    assert!(matches!(error, WriteError::StorageFull));
    assert_eq!(seen, [Space::Plenty, Space::NoPublish, Space::LastSegment]);
    assert!(disk.bytes(&format!("{}.tmp", path(3))).is_none());

    // Room again: the next start and the next chores bring it back.
    disk.set_free_bytes(10 * SEGMENT);
    let Opened { mut writer, log, .. } = start(&disk).unwrap();
    writer.prepare().unwrap();
    assert_eq!(writer.space(), Space::Plenty);
    assert_eq!(log.last_index(), index(number - 1));
}

#[test]
fn room_that_comes_back_ends_the_shortage() {
    let disk = MemoryDisk::new();
    let Opened { mut writer, .. } = start(&disk).unwrap();
    disk.set_free_bytes(SEGMENT / 2);
    writer.prepare().unwrap();
    assert_eq!(writer.space(), Space::LastSegment);
    disk.set_free_bytes(10 * SEGMENT);
    writer.prepare().unwrap();
    assert_eq!(writer.space(), Space::Plenty);
}

/// A shortage ends once all wanted segments are there and not before, whatever is tried and written
/// meanwhile; as long as it lasts a fill is in a hurry. We give the room back bit by bit.
#[test]
fn shortage_ends_only_with_all_segments_prepared() {
    let disk = MemoryDisk::new();
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    let mut number = 0;
    let mut space_after_try = |writer: &mut Writer| {
        let mut seen = Vec::new();
        writer.try_again();
        for _ in 0..2 {
            number += 1;
            write(&mut log, writer, vec![plain(number, 1, 9)], None).unwrap();
            seen.push(writer.space());
            for chore in writer.chores() {
                let shared = writer.shared().clone();
                let pace = Pace::beside(&shared.gauge);
                let is_urgent = pace.go(0, 100).unwrap() == Go::On;
                assert_eq!(is_urgent, writer.space() != Space::Plenty);
                writer.done(chore.run(&shared, &pace).unwrap());
            }
            seen.push(writer.space());
        }
        seen
    };
    let (last, none, plenty) = (Space::LastSegment, Space::NoPublish, Space::Plenty);
    disk.set_free_bytes(SEGMENT / 2);
    assert_eq!(space_after_try(&mut writer), [plenty, last, last, last]);
    assert!(writer.has_to_wait());
    assert_eq!(space_after_try(&mut writer), [last; 4]);
    disk.set_free_bytes(SEGMENT + SEGMENT / 2);
    assert_eq!(space_after_try(&mut writer), [last, none, none, none]);
    assert_eq!(space_after_try(&mut writer), [none; 4]);
    disk.set_free_bytes(SEGMENT + SEGMENT / 2);
    assert_eq!(space_after_try(&mut writer), [none, plenty, plenty, plenty]);
    assert!(!writer.has_to_wait());
}

/// A try that must fail must not take what is left of the disk. We let every change fail meanwhile.
#[test]
fn segment_is_not_begun_without_room_for_it() {
    let disk = MemoryDisk::new();
    let options = Options { free_bytes_kept: 1000, ..Options::small(SEGMENT) };
    let Opened { mut writer, .. } = start_with(&disk, options).unwrap();
    disk.set_free_bytes(SEGMENT + 999);
    disk.fail_after(0);
    writer.prepare().unwrap();
    assert_eq!(writer.space(), Space::LastSegment);
    assert_eq!(disk.free_bytes().unwrap(), SEGMENT + 999);
    disk.fail_after(u64::MAX);
    disk.set_free_bytes(SEGMENT + 1000);
    writer.prepare().unwrap();
    assert_eq!(writer.space(), Space::NoPublish);
    assert_eq!(disk.free_bytes().unwrap(), 1000);
}

/// All jobs of a batch share one fdatasync.
#[test]
fn batch_takes_one_sync() {
    let disk = MemoryDisk::new();
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    writer.prepare().unwrap();
    let before = disk.n_syncs();
    let jobs = (1..=20).map(|number| log.append(vec![plain(number, 1, 100)], None)).collect();
    let done = writer.write(jobs).unwrap();
    assert_eq!((done.job, disk.n_syncs()), (19, before + 1));
    log.persisted(&done);
    writer.idle_mark().unwrap();
    assert_eq!(disk.n_syncs(), before + 1);
}

/// What is replaced before it is persisted must not get the old one's place.
#[test]
fn late_word_of_a_replaced_entry_changes_nothing() {
    let disk = MemoryDisk::new();
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    let old = log.append(vec![events(1, &[(1, 1)])], None);
    let entry = Entry { term: term(2), ..events(1, &[(1, 4)]) };
    let new = log.append(vec![entry.clone()], None);
    log.persisted(&writer.write(vec![old]).unwrap());
    log.persisted(&writer.write(vec![new]).unwrap());
    let mut model = Model::default();
    model.apply(&mut log, &entry);
    model.check(&log, true);
    assert_eq!(log.entry(index(1)), Some(entry));
}

#[test]
#[should_panic(expected = "applied already")]
fn applied_entry_is_never_replaced() {
    let disk = MemoryDisk::new();
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    write(&mut log, &mut writer, vec![plain(1, 1, 9)], None).unwrap();
    log.applied(index(1));
    log.append(vec![plain(1, 2, 9)], None);
}

#[test]
#[should_panic(expected = "leaves a gap")]
fn gap_is_never_appended() {
    let Opened { mut log, .. } = start(&MemoryDisk::new()).unwrap();
    log.append(vec![plain(2, 1, 9)], None);
}

#[test]
fn bytes_since_the_checkpoint_begin_anew_with_it() {
    let disk = MemoryDisk::new();
    let Opened { mut log, .. } = start_with(&disk, Options::small(SEGMENT)).unwrap();
    log.append((1..=3).map(|number| plain(number, 1, 600 << 10)).collect(), None);
    assert!(log.bytes_since_checkpoint() >= 1800 << 10);
    log.checkpointed(index(2));
    assert_eq!(log.bytes_since_checkpoint(), (600 << 10) + 48);
    log.checkpointed(index(3));
    assert_eq!(log.bytes_since_checkpoint(), 0);
}

/// Term, vote, commit and purge must survive when every segment is gone that had a frame of them:
/// only the Heads restate them.
#[test]
fn heads_carry_what_earlier_segments_said() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    write(&mut log, &mut writer, vec![events(1, &[(1, 1)])], Some(hard_state(7, 1))).unwrap();
    model.apply(&mut log, &events(1, &[(1, 1)]));
    let fill = |model: &mut Model, log: &mut Log, writer: &mut Writer| {
        for number in model.applied.get() + 1..=model.applied.get() + 400 {
            let entry = events(number, &[(1, 5)]);
            write(log, writer, vec![entry.clone()], None).unwrap();
            model.apply(log, &entry);
            writer.prepare().unwrap();
        }
    };
    fill(&mut model, &mut log, &mut writer);
    model.checkpoint(&disk, &mut log).unwrap();
    let purged = model.applied;
    let job = log.purge(purged);
    log.persisted(&writer.write(vec![job]).unwrap());
    fill(&mut model, &mut log, &mut writer);
    // The segment with the Purge frame goes too: its entries lie below a second purge.
    model.checkpoint(&disk, &mut log).unwrap();
    let job = log.purge(index(purged.get() + 300));
    log.persisted(&writer.write(vec![job]).unwrap());
    fill(&mut model, &mut log, &mut writer);
    assert!(files(&disk, ".seg").first().unwrap().as_str() > "0000000000000003.seg");
    disk.crash();
    let opened = start(&disk).unwrap();
    assert_eq!(opened.hard_state, hard_state(7, 1));
    assert_eq!(opened.purged, (index(purged.get() + 300), term(1)));
}
