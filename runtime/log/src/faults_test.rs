//! Rows of the fault matrix that are about one disk: what fails, and what must hold all the same.

use std::io::ErrorKind;

use tidings_types::id::TopicId;
use tidings_types::offset::Offset;

use crate::block::Space;
use crate::disk::{Call, Disk, Fate, Fault, Kept, MemoryDisk};
use crate::entry::Entry;
use crate::error::{OpenError, ReadError, WriteError};
use crate::open::Opened;
use crate::segment::path;
use crate::support_test::{Model, SEGMENT, events, index, plain, replayed, start, write};

/// Opens the log, goes on behind what it replays, and gives the next index.
fn go_on(disk: &MemoryDisk) -> (Opened, u64) {
    let mut opened = start(disk).unwrap();
    let entries: Vec<Entry> = opened.replay.by_ref().map(Result::unwrap).collect();
    opened.log.restore(entries);
    let next = opened.log.last_index().get() + 1;
    (opened, next)
}

/// Row F22: fdatasync fails, once or for ever. No batch in it or after it may be acknowledged, and a
/// start must give back all that was acknowledged before. We let each sync of a life be the one.
#[test]
fn f22_nothing_is_acknowledged_in_or_after_a_failed_sync() {
    for times in [1, u64::MAX] {
        for at in 0..12 {
            let disk = MemoryDisk::new();
            let (mut opened, _) = go_on(&disk);
            opened.writer.prepare().unwrap();
            disk.plan(Fault::on(Call::Sync).of(".seg").after(at).times(times));
            let mut acked = 0;
            let error = loop {
                let entry = plain(acked + 1, 1, 9_000);
                let Opened { log, writer, .. } = &mut opened;
                match write(log, writer, vec![entry], None) {
                    Ok(()) => acked += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, WriteError::Io { .. }), "{error}");
            drop(opened);
            disk.heal();
            disk.end_process();
            // The page cache still shows the batch; what the start takes over stays for good.
            let found = replayed(start(&disk).unwrap()).len() as u64;
            assert!((acked..=acked + 1).contains(&found), "{found} of {acked}");
            disk.crash();
            assert_eq!(replayed(start(&disk).unwrap()).len() as u64, found, "sync {at}");
        }
    }
}

/// Row F23: a write fails, having written nothing, a part, or all but a byte. It is not
/// acknowledged, and what is left of it is cut off or is whole.
#[test]
fn f23_failed_write_is_not_acknowledged() {
    for kept in [0, 1, 47, 48, 500, 1000, 1047] {
        let disk = MemoryDisk::new();
        let (Opened { mut log, mut writer, .. }, _) = go_on(&disk);
        write(&mut log, &mut writer, vec![plain(1, 1, 1000)], None).unwrap();
        disk.plan(Fault::on(Call::Write).having_written(kept));
        let failed = write(&mut log, &mut writer, vec![plain(2, 1, 1000)], None);
        assert!(matches!(failed, Err(WriteError::Io { .. })));
        disk.crash_as(Fate::ALL);
        assert_eq!(replayed(start(&disk).unwrap()), [(1, 1)], "{kept} bytes");
    }
}

/// Row F24: the disk is full, to the last byte. Writing goes on in prepared segments, across their
/// borders; the end of the last one is a typed error; and with room again all goes on.
#[test]
fn f24_writing_goes_on_while_prepared_segments_last() {
    let disk = MemoryDisk::new();
    let (Opened { mut log, mut writer, .. }, mut next) = go_on(&disk);
    writer.prepare().unwrap();
    disk.set_free_bytes(0);
    let error = loop {
        match write(&mut log, &mut writer, vec![plain(next, 1, 4_000)], None) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
        writer.prepare().unwrap();
    };
    assert!(matches!(error, WriteError::StorageFull), "{error}");
    assert_eq!(writer.space(), Space::LastSegment);
    assert!(writer.durable().get() > 2 * SEGMENT, "both prepared segments are used");
    drop((log, writer));
    disk.crash();
    disk.set_free_bytes(10 * SEGMENT);
    let (Opened { mut log, mut writer, .. }, found) = go_on(&disk);
    assert_eq!(found, next);
    writer.prepare().unwrap();
    assert_eq!(writer.space(), Space::Plenty);
    write(&mut log, &mut writer, vec![plain(next, 1, 4_000)], None).unwrap();
}

/// Row F24: what takes space beside the log, an index file and a checkpoint, fails without harm.
#[test]
fn f24_index_files_and_checkpoints_wait_for_room() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    let full = || ErrorKind::StorageFull;
    disk.plan(Fault::on(Call::Write).of(".idx").kind(full()).for_ever());
    disk.plan(Fault::on(Call::Write).of("ckpt").kind(full()).for_ever());
    for number in 1..=300 {
        let entry = events(number, &[(1, 4)]);
        write(&mut log, &mut writer, vec![entry.clone()], None).unwrap();
        model.apply(&mut log, &entry);
        writer.prepare().unwrap();
    }
    assert_eq!(model.checkpoint(&disk, &mut log).unwrap_err().kind(), full());
    let n_idx = |disk: &MemoryDisk| {
        disk.list("log").unwrap().iter().filter(|name| name.ends_with(".idx")).count()
    };
    assert_eq!(n_idx(&disk), 0);
    model.check(&log, true);
    disk.heal();
    writer.prepare().unwrap();
    model.checkpoint(&disk, &mut log).unwrap();
    assert!(n_idx(&disk) > 0);
    model.check(&log, true);
}

/// Row F28: names that no folder sync made durable are lost, each for itself, while the bytes of all
/// files stay. Nothing acknowledged may stand in such a file.
#[test]
fn f28_names_without_a_folder_sync_are_lost_without_harm() {
    for seed in 0..40 {
        let disk = MemoryDisk::new();
        let (mut model, mut log, mut writer) = Model::resume(&disk);
        for number in 1..=120 + seed * 7 {
            let entry = events(number, &[(1, 4)]);
            write(&mut log, &mut writer, vec![entry.clone()], None).unwrap();
            model.apply(&mut log, &entry);
            writer.prepare().unwrap();
            if number % 100 == 0 {
                model.checkpoint(&disk, &mut log).unwrap();
                let job = log.purge(index(number - 60));
                log.persisted(&writer.write(vec![job]).unwrap());
            }
        }
        let names = if seed % 2 == 0 { Kept::Nothing } else { Kept::Some };
        disk.crash_as(Fate { bytes: Kept::All, names, seed });
        let (again, _, _) = Model::resume(&disk);
        assert_eq!(again.ids, model.ids, "seed {seed}");
    }
}

/// Row F29: an old segment cannot be read. The error says so, nothing is skipped, and once it can be
/// read again the same events come. Offsets on other segments are not touched.
#[test]
fn f29_unreadable_segment_is_a_typed_error_and_nothing_is_skipped() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    for number in 1..=600 {
        let entry = events(number, &[(1, 4)]);
        write(&mut log, &mut writer, vec![entry.clone()], None).unwrap();
        model.apply(&mut log, &entry);
        writer.prepare().unwrap();
    }
    assert!(writer.durable().get() > 2 * SEGMENT);
    let (reader, topic) = (log.reader(), TopicId::new(1));
    disk.plan(Fault::on(Call::Read).of(&path(1)).within(8_192..20_000).for_ever());
    let (mut n_read, mut n_failed) = (0, 0);
    for offset in 0..2400 {
        match reader.read_disk(topic, Offset::new(offset), 1) {
            Ok(blocks) => {
                n_read += 1;
                assert!(blocks[0].placed.first <= Offset::new(offset));
                assert!(Offset::new(offset) < blocks[0].placed.first.plus(4));
            }
            Err(error) => {
                n_failed += 1;
                assert!(matches!(error, ReadError::Io { .. }), "{error}");
            }
        }
    }
    assert!(n_failed > 10 && n_read > 1000, "{n_failed} failed, {n_read} read");
    let of_peer = (1..=600).map(|number| reader.read_entries(index(number), 1));
    let n_failed = of_peer.filter(|read| matches!(read, Err(ReadError::Io { .. }))).count();
    assert!(n_failed > 0);
    // A start that has to replay it says so, and is as good as new once it can be read.
    assert!(matches!(start(&disk), Err(OpenError::Io { .. })));
    disk.heal();
    let mut opened = start(&disk).unwrap();
    disk.plan(Fault::on(Call::Read).of(&path(1)).for_ever());
    assert!(matches!(opened.replay.find_map(Result::err), Some(ReadError::Io { .. })));
    assert!(opened.replay.next().is_none(), "nothing comes behind it");
    disk.heal();
    model.check(&log, true);
    assert_eq!(Model::resume(&disk).0.ids, model.ids);
}

/// Row F29: the last segment, the IDENTITY or a checkpoint cannot be read at the start. It is no
/// verdict on the directory: the next start may succeed, and nothing was changed.
#[test]
fn f29_unreadable_file_at_the_start_is_told() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    write(&mut log, &mut writer, vec![events(1, &[(1, 4)])], None).unwrap();
    model.apply(&mut log, &events(1, &[(1, 4)]));
    model.checkpoint(&disk, &mut log).unwrap();
    for path in ["IDENTITY", ".seg", "ckpt"] {
        disk.plan(Fault::on(Call::Read).of(path).for_ever());
        let n_changes = disk.n_changes();
        let error = start(&disk).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        assert_eq!(disk.n_changes(), n_changes);
        disk.heal();
    }
    assert_eq!(Model::resume(&disk).0.ids, model.ids);
}

/// Row F33: the file system is read-only from a moment on. Nothing more is acknowledged, reads go
/// on, a start says what fails, and all is there once it can be written again.
#[test]
fn f33_read_only_file_system_ends_writing_and_loses_nothing() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    for number in 1..=9 {
        let entry = events(number, &[(1, 4)]);
        write(&mut log, &mut writer, vec![entry.clone()], None).unwrap();
        model.apply(&mut log, &entry);
    }
    disk.set_read_only(true);
    let error = write(&mut log, &mut writer, vec![events(10, &[(1, 4)])], None).unwrap_err();
    assert!(error.to_string().contains("writing to segment 0"), "{error}");
    assert!(model.checkpoint(&disk, &mut log).is_err());
    model.check(&log, true);
    assert!(matches!(start(&disk), Err(OpenError::Io { .. })));
    disk.heal();
    assert_eq!(Model::resume(&disk).0.ids, model.ids);
}
