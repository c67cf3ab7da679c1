//! The writer's thread, on a real directory and on one that fails.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::block::Space;
use crate::disk::{Disk, MemoryDisk, RealDisk};
use crate::error::OpenError;
use crate::open::{Opened, open};
use crate::options::Options;
use crate::support_test::{SEGMENT, hard_state, identity, index, plain, start, start_with};
use crate::thread::{WriterThread, spawn};

const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    Options::small(SEGMENT)
}

/// Jobs must be answered in order, each once all before it are on the disk, over many segments that
/// are prepared beside; and a start must find all of it.
#[test]
fn jobs_are_answered_in_order_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let Opened { mut log, writer, .. } = open(disk.clone(), options(), identity()).unwrap();
    let (sender, answers) = channel();
    let handle =
        WriterThread::spawn(writer, Box::new(move |done| sender.send(done).unwrap())).unwrap();
    let n_jobs = 2000;
    for number in 1..=n_jobs {
        handle.submit(log.append(vec![plain(number, 1, 400)], None));
    }
    let mut last = None;
    while last != Some(n_jobs - 1) {
        let done = answers.recv_timeout(PATIENCE).unwrap();
        assert!(last < Some(done.job), "{last:?} comes before {}", done.job);
        last = Some(done.job);
        log.persisted(&done);
        log.applied(index(done.job + 1));
    }
    assert_eq!(log.reader().space(), Space::Plenty);
    handle.stop();
    handle.stop();
    drop((log, disk));

    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let opened = open(disk, options(), identity()).unwrap();
    assert_eq!(opened.log.last_index(), index(n_jobs));
    assert_eq!(opened.replay.map(Result::unwrap).count() as u64, n_jobs);
}

/// An idle writer marks, so that rot in the last batch shows.
#[test]
fn idle_writer_marks_the_last_batch() {
    let disk = MemoryDisk::new();
    let Opened { mut log, writer, .. } = start(&disk).unwrap();
    let (sender, answers) = channel();
    let handle =
        WriterThread::spawn(writer, Box::new(move |done| sender.send(done).unwrap())).unwrap();
    handle.submit(log.append(vec![plain(1, 1, 400)], None));
    let done = answers.recv_timeout(PATIENCE).unwrap();
    handle.stop();
    let mark_at = usize::try_from(done.durable.get()).unwrap();
    let bytes = disk.bytes(&crate::segment::path(0)).unwrap();
    assert_eq!(bytes[mark_at..mark_at + 4], *b"TFRM");
    assert_eq!(bytes[mark_at + 12], 6);
}

/// A failed fdatasync ends everything at once: nothing is answered, nothing more is written.
#[test]
fn f22_failed_sync_is_fatal() {
    let disk = MemoryDisk::new();
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    writer.prepare().unwrap();
    let answered = Arc::new(Mutex::new(0));
    let count = answered.clone();
    let (fatal, errors) = channel();
    disk.fail_next_sync();
    let handle = spawn(
        writer,
        Box::new(move |_| *count.lock().unwrap() += 1),
        Box::new(move |error| fatal.send(error.to_string()).unwrap()),
    );
    let handle = handle.unwrap();
    handle.submit(log.append(vec![plain(1, 1, 400)], None));
    let error = errors.recv_timeout(PATIENCE).unwrap();
    assert_eq!(error, "fdatasync of segment 0 failed: planned sync error");
    let n_syncs = disk.n_syncs();
    handle.submit(log.append(vec![plain(2, 1, 400)], None));
    handle.stop();
    assert_eq!((*answered.lock().unwrap(), disk.n_syncs()), (0, n_syncs));
}

/// A full disk is tried again although writes never cease: acks and hard state still come in then.
/// There is room again, and we never leave the thread without a job for long.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test has a deadline")]
fn f24_room_is_noticed_while_writes_flow() {
    let disk = MemoryDisk::new();
    // Large enough for all that is written until then.
    let Opened { mut log, mut writer, .. } = start_with(&disk, Options::small(16 << 20)).unwrap();
    disk.set_free_bytes(0);
    writer.prepare().unwrap();
    disk.set_free_bytes(u64::MAX / 2);
    let reader = log.reader();
    assert_eq!(reader.space(), Space::LastSegment);
    let (sender, answers) = channel();
    let handle =
        WriterThread::spawn(writer, Box::new(move |done| sender.send(done).unwrap())).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut n_jobs = 0;
    while reader.space() != Space::Plenty {
        assert!(Instant::now() < deadline, "not noticed in {n_jobs} jobs");
        n_jobs += 1;
        handle.submit(log.append(Vec::new(), Some(hard_state(n_jobs, 0))));
        log.persisted(&answers.recv_timeout(PATIENCE).unwrap());
    }
    handle.stop();
}

#[test]
fn directory_is_held_by_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let held = RealDisk::open(dir.path()).unwrap();
    let pid = std::process::id().to_string();
    for second in [RealDisk::open(dir.path()), RealDisk::open_read_only(dir.path())] {
        assert!(matches!(second, Err(OpenError::InUse { pid: found }) if found == pid));
    }
    drop(held);
    let reading = RealDisk::open_read_only(dir.path()).unwrap();
    assert!(reading.create("x").is_err());
    assert!(reading.remove("LOCK").is_err());
}
