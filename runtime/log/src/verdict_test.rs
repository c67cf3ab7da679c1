//! State of the disk and verdict: what is there, and what a start says and does about it.

use tidings_types::id::{ClusterId, NodeId};
use tidings_types::layout::frame::FrameHeader;
use tidings_types::limits::SEGMENT_HEADER_BYTES;
use tidings_types::offset::Position;

use crate::check::{Verdict, check};
use crate::checkpoint::{self, Checkpoint};
use crate::damage;
use crate::disk::{Call, Disk, Fault, MemoryDisk};
use crate::error::OpenError;
use crate::identity::Identity;
use crate::open::Opened;
use crate::options::Options;
use crate::segment::path;
use crate::support_test::{
    Model, SEGMENT, events, hard_state, identity, index, plain, replayed, start, start_with, term,
    write,
};

/// Body of an entry in these tests: a frame of 512 bytes.
const BODY: usize = 512 - 48;
const FRAME: u64 = 512;

/// Entries 1.. in batches of these sizes; gives the place of each batch.
fn log_of(disk: &MemoryDisk, batches: &[u64]) -> Vec<Position> {
    let Opened { mut log, mut writer, .. } = start(disk).unwrap();
    writer.prepare().unwrap();
    let mut next = 1;
    let mut places = Vec::new();
    for &n_entries in batches {
        places.push(writer.durable());
        let entries = (next..next + n_entries).map(|number| plain(number, 1, BODY)).collect();
        next += n_entries;
        write(&mut log, &mut writer, entries, None).unwrap();
    }
    places
}

fn upto(last: u64) -> Vec<(u64, u64)> {
    (1..=last).map(|number| (number, 1)).collect()
}

fn refused(disk: &MemoryDisk) -> OpenError {
    let before = disk.durable_copy();
    let error = start(disk).err().expect("it must be refused");
    assert!(!check(disk).verdict.is_sound());
    // A refused directory is not touched.
    for name in disk.list("log").unwrap() {
        let path = format!("log/{name}");
        assert_eq!(disk.bytes(&path), before.bytes(&path), "{path}");
    }
    error
}

fn first_segment() -> String {
    path(0)
}

#[test]
fn empty_directory_begins_and_goes_on() {
    let disk = MemoryDisk::new();
    assert_eq!(check(&disk).verdict, Verdict::Empty);
    let opened = start(&disk).unwrap();
    assert_eq!(opened.identity.incarnation.get(), 1);
    assert_eq!((opened.log.first_index(), opened.log.last_index()), (index(1), index(0)));
    drop(opened);
    let opened = start(&disk).unwrap();
    assert_eq!(opened.identity.incarnation.get(), 2);
    assert_eq!(replayed(opened), []);
}

/// Torn: of the last batch only a part reached the disk. We cut it at every byte, with zeros and
/// with garbage behind: the start must keep exactly the whole frames.
#[test]
fn f25_torn_batch_is_cut_at_the_first_frame_that_is_not_whole() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[3]);
    let Opened { mut log, mut writer, replay, .. } = start(&disk).unwrap();
    log.restore(replay.map(Result::unwrap).collect());
    let at = writer.durable().get();
    let frame = 64;
    write(&mut log, &mut writer, vec![plain(4, 1, 16), plain(5, 1, 16)], None).unwrap();
    for n_kept in 0..2 * frame {
        for filler in [0, 0xA5] {
            let torn = disk.durable_copy();
            let rest = vec![filler; (2 * frame - n_kept) as usize];
            torn.put(&first_segment(), at + n_kept, &rest);
            let n_whole = 3 + n_kept / frame;
            if n_kept % frame != 0 || filler != 0 {
                let cut = Position::new(at + n_kept / frame * frame);
                assert_eq!(check(&torn).verdict, Verdict::Torn { cut });
            }
            assert_eq!(replayed(start(&torn).unwrap()), upto(n_whole), "{n_kept} bytes");
            assert_eq!(check(&torn).verdict, Verdict::Sound);
        }
    }
}

/// Stale: the disk took the last frames of an unfinished batch and not its first. Those frames are
/// valid and their mark is not beyond the gap: cut. They must never come back, also when the log
/// has grown up to them and the power goes again.
#[test]
fn stale_frames_behind_a_gap_never_come_back() {
    let disk = MemoryDisk::new();
    let at = log_of(&disk, &[3])[0].get() + 3 * FRAME;
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    let entries = (4..20).map(|number| plain(number, 1, BODY)).collect();
    disk.fail_next_sync();
    write(&mut log, &mut writer, entries, None).unwrap_err();
    let gap = at / 4096;
    disk.crash_keeping(|_, page| page != gap);
    assert!(matches!(check(&disk).verdict, Verdict::Torn { .. }));

    let Opened { mut log, mut writer, replay, .. } = start(&disk).unwrap();
    assert_eq!(replay.count(), 3);
    // One entry that ends exactly where a stale frame began.
    let entry = plain(4, 2, BODY + 512 * 4);
    write(&mut log, &mut writer, vec![entry], None).unwrap();
    disk.crash();
    assert_eq!(replayed(start(&disk).unwrap()), [(1, 1), (2, 1), (3, 1), (4, 2)]);
}

/// Rot: a frame that was durable is not what was written. A later frame says so by its mark: refuse.
/// We flip a bit in every frame but those of the last batch.
#[test]
fn f26_damage_before_a_later_durable_mark_is_refused() {
    let disk = MemoryDisk::new();
    let places = log_of(&disk, &[1, 1, 2, 1]);
    let last = places[3];
    let bytes = disk.bytes(&first_segment()).unwrap();
    let mut at = SEGMENT_HEADER_BYTES;
    while at < last.get() {
        let rotten = disk.durable_copy();
        rotten.put(&first_segment(), at + 20, &[bytes[at as usize + 20] ^ 4]);
        match refused(&rotten) {
            OpenError::Damaged { segment: 0, position, .. } => assert_eq!(position.get(), at),
            other => panic!("{other}"),
        }
        let header = FrameHeader::peek(bytes[at as usize..].first_chunk().unwrap()).unwrap();
        at += FrameHeader::frame_bytes(header.body_bytes as usize) as u64;
    }
    assert_eq!(at, last.get());
}

/// The last batch has no later mark until the writer is idle: rot in it looks like a torn write, and
/// after the Mark it does not.
#[test]
fn idle_mark_tells_rot_in_the_last_batch_from_a_torn_write() {
    let disk = MemoryDisk::new();
    let at = log_of(&disk, &[3])[0].get() + 2 * FRAME;
    let rot = |disk: &MemoryDisk| disk.put(&first_segment(), at + 100, &[0xFF]);
    let unmarked = disk.durable_copy();
    rot(&unmarked);
    assert_eq!(replayed(start(&unmarked).unwrap()), upto(2));

    let Opened { mut writer, .. } = start(&disk).unwrap();
    assert!(writer.wants_mark());
    writer.idle_mark().unwrap();
    assert!(!writer.wants_mark());
    writer.idle_mark().unwrap();
    rot(&disk);
    assert!(matches!(refused(&disk), OpenError::Damaged { .. }));
}

/// Failed fsync: the process ends, the next one reads the frames from the page cache although the
/// disk does not have them. Before they count the start must have put them there: the power goes
/// right behind it.
#[test]
fn f22_frames_that_only_the_page_cache_has_are_written_again_before_they_count() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[3]);
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    disk.fail_next_sync();
    let entries = (4..30).map(|number| plain(number, 1, BODY)).collect();
    write(&mut log, &mut writer, entries, Some(hard_state(5, 0))).unwrap_err();
    let seen = start(&disk).unwrap();
    assert_eq!(seen.hard_state, hard_state(5, 0));
    assert_eq!(replayed(seen), upto(29));
    disk.crash();
    let seen = start(&disk).unwrap();
    assert_eq!(seen.hard_state, hard_state(5, 0));
    assert_eq!(replayed(seen), upto(29));
}

/// The other way round: zeros in the page cache, an old frame on the disk.
#[test]
fn space_behind_the_cut_is_zeroed_on_the_disk() {
    let disk = MemoryDisk::new();
    let at = log_of(&disk, &[3, 1])[1].get();
    let file = disk.open(&first_segment()).unwrap();
    file.write_at(&mut [std::io::IoSlice::new(&[0; FRAME as usize])], at).unwrap();
    disk.fail_next_sync();
    file.sync().unwrap_err();
    assert_eq!(replayed(start(&disk).unwrap()), upto(3));
    disk.crash();
    assert_eq!(replayed(start(&disk).unwrap()), upto(3));
}

/// Fills segments until the wanted one is written to.
fn log_over_segments(disk: &MemoryDisk, last_segment: u64) -> u64 {
    let Opened { mut log, mut writer, replay, .. } = start(disk).unwrap();
    log.restore(replay.map(Result::unwrap).collect());
    let mut next = log.last_index().get() + 1;
    while writer.durable().get() < last_segment * SEGMENT + SEGMENT_HEADER_BYTES + 3 * FRAME {
        writer.prepare().unwrap();
        write(&mut log, &mut writer, vec![plain(next, 1, BODY)], Some(hard_state(1, next)))
            .unwrap();
        next += 1;
    }
    next - 1
}

#[test]
fn prepared_segments_are_used_again() {
    let disk = MemoryDisk::new();
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    writer.prepare().unwrap();
    write(&mut log, &mut writer, vec![plain(1, 1, BODY)], None).unwrap();
    let names = disk.list("log").unwrap();
    assert_eq!(names.len(), 3);
    let before = disk.bytes(&path(2)).unwrap();

    let Opened { mut writer, .. } = start(&disk).unwrap();
    writer.prepare().unwrap();
    assert_eq!(disk.list("log").unwrap(), names);
    assert_eq!(disk.bytes(&path(2)).unwrap(), before);
    assert_eq!(log_over_segments(&disk, 2), replayed(start(&disk).unwrap()).len() as u64);
}

/// Half a preparation, as a crash leaves it, is no segment.
#[test]
fn unfinished_preparation_is_cleared_away() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[2]);
    disk.put("log/0000000000000003.seg.tmp", 0, &[0; 4096]);
    assert_eq!(replayed(start(&disk).unwrap()), upto(2));
    assert!(disk.bytes("log/0000000000000003.seg.tmp").is_none());
}

/// The first batch in a new segment is torn from its Head on: the log ends in the one before.
#[test]
fn torn_head_ends_the_log_in_the_segment_before() {
    let disk = MemoryDisk::new();
    let last = log_over_segments(&disk, 1);
    let n_before = {
        let bytes = disk.bytes(&path(1)).unwrap();
        let head = bytes[SEGMENT_HEADER_BYTES as usize..].first_chunk().unwrap();
        FrameHeader::peek(head).unwrap().index.get()
    };
    assert!(n_before < last);
    // All frames of the segment are one unfinished batch: marks at its beginning only.
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    writer.prepare().unwrap();
    let mut next = last + 1;
    while writer.durable().get() < 2 * SEGMENT - 4 * FRAME {
        write(&mut log, &mut writer, vec![plain(next, 1, BODY)], None).unwrap();
        next += 1;
    }
    let acked = next - 1;
    let entries: Vec<_> = (next..next + 20).map(|number| plain(number, 1, BODY)).collect();
    let at_crash = disk.durable_copy();
    write(&mut log, &mut writer, entries, None).unwrap();
    let written = disk.bytes(&path(2)).unwrap();
    let n_fitting = {
        let head = written[SEGMENT_HEADER_BYTES as usize..].first_chunk().unwrap();
        FrameHeader::peek(head).unwrap().index.get()
    };
    let first_frames = disk.bytes(&path(1)).unwrap();
    at_crash.put(&path(1), 0, &first_frames);
    at_crash.put(&path(2), 0, &written);
    at_crash.put(&path(2), SEGMENT_HEADER_BYTES + 8, &[0xEE; 40]);
    assert!(acked <= n_fitting);
    let opened = start(&at_crash).unwrap();
    assert_eq!(replayed(opened), upto(n_fitting));
    // And it goes on from there.
    assert!(log_over_segments_from(&at_crash, n_fitting + 1) > n_fitting);
}

fn log_over_segments_from(disk: &MemoryDisk, next: u64) -> u64 {
    let Opened { mut log, mut writer, replay, .. } = start(disk).unwrap();
    let entries: Vec<_> = replay.map(Result::unwrap).collect();
    log.restore(entries);
    for number in next..next + 300 {
        writer.prepare().unwrap();
        write(&mut log, &mut writer, vec![plain(number, 1, BODY)], None).unwrap();
    }
    let last = start(disk).unwrap().log.last_index().get();
    assert_eq!(last, next + 299);
    last
}

/// The Head was durable, for a later frame's mark says so: rot.
#[test]
fn f26_rotten_head_is_refused() {
    let disk = MemoryDisk::new();
    log_over_segments(&disk, 1);
    disk.put(&path(1), SEGMENT_HEADER_BYTES + 60, &[0xEE]);
    match refused(&disk) {
        OpenError::Damaged { segment: 1, position, .. } => {
            assert_eq!(position.get(), SEGMENT + SEGMENT_HEADER_BYTES);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn f26_rotten_head_or_header_of_an_earlier_segment_is_refused() {
    for at in [20, SEGMENT_HEADER_BYTES + 60] {
        let disk = MemoryDisk::new();
        log_over_segments(&disk, 2);
        disk.put(&path(1), at, &[0xEE]);
        assert!(matches!(refused(&disk), OpenError::Damaged { segment: 1, .. }));
    }
}

/// Damage in an earlier segment is found when it is read, never skipped.
#[test]
fn f26_damage_in_an_earlier_segment_is_never_skipped() {
    let disk = MemoryDisk::new();
    log_over_segments(&disk, 2);
    disk.put(&path(1), SEGMENT_HEADER_BYTES + 5 * FRAME, &[0xEE; 9]);
    assert!(matches!(refused(&disk), OpenError::Damaged { segment: 1, .. }));
}

/// A process is killed at each step of writing a checkpoint, the next one finds it or not, and then
/// the power goes. What the start counted on must still be there: the log may be purged up to it.
#[test]
fn f05_what_a_start_finds_stays_over_a_power_cut() {
    let mut n_seen = 0;
    for n_changes in 0..8 {
        let disk = MemoryDisk::new();
        log_of(&disk, &[9]);
        let (membership, state, local) = (b"m".to_vec(), b"s".to_vec(), Vec::new());
        let checkpoint = Checkpoint { index: index(5), term: term(1), membership, state, local };
        disk.fail_after(n_changes);
        let is_whole = checkpoint::write(&disk, &checkpoint).is_ok();
        disk.end_process();
        let seen = start(&disk).unwrap().log.checkpoints().to_vec();
        assert!(!is_whole || seen == [index(5)]);
        n_seen += seen.len();
        disk.crash();
        assert_eq!(start(&disk).unwrap().log.checkpoints(), seen, "killed at change {n_changes}");
    }
    assert!(n_seen >= 2, "seen {n_seen} times");
}

/// A snapshot that is half written when a checkpoint of an older entry is must stay; what a crash
/// left of an older one must go.
#[test]
fn half_a_snapshot_outlives_a_checkpoint_of_an_older_entry() {
    let disk = MemoryDisk::new();
    let half = |number: u64| format!("ckpt/0/{number:016x}.snap.tmp");
    disk.make_dir("ckpt/0").unwrap();
    for number in [3, 9] {
        disk.put(&half(number), 0, b"half");
    }
    let (membership, state, local) = (b"m".to_vec(), b"s".to_vec(), Vec::new());
    let checkpoint = Checkpoint { index: index(5), term: term(2), membership, state, local };
    checkpoint::write(&disk, &checkpoint).unwrap();
    assert_eq!([3, 9].map(|number| disk.bytes(&half(number)).is_some()), [false, true]);
}

/// Reset: a snapshot was installed. Every earlier entry is gone, also one with a higher index.
#[test]
fn reset_forgets_all_earlier_entries() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[9]);
    let checkpoint = Checkpoint {
        index: index(5),
        term: term(2),
        membership: b"m".to_vec(),
        state: b"s".to_vec(),
        local: Vec::new(),
    };
    let without = disk.durable_copy();
    checkpoint::write_installed(&disk, &checkpoint).unwrap();
    // The power goes before the Reset: the snapshot never came.
    let before = disk.durable_copy();
    assert_eq!(replayed(start(&before).unwrap()), upto(9));
    for disk in [&disk, &without] {
        let Opened { mut log, mut writer, .. } = start(disk).unwrap();
        let reset = log.reset(index(5), term(2), 77);
        let append = log.append(vec![plain(6, 2, BODY)], Some(hard_state(2, 5)));
        let done = writer.write(vec![reset, append]).unwrap();
        log.persisted(&done);
        assert_eq!((log.first_index(), log.last_index()), (index(6), index(6)));
        assert_eq!(log.term(index(5)), Some(term(2)));
    }
    let opened = start(&disk).unwrap();
    assert_eq!(opened.purged, (index(5), term(2)));
    assert_eq!(opened.checkpoint.as_ref().map(|checkpoint| checkpoint.index), Some(index(5)));
    assert_eq!((opened.log.first_index(), opened.log.last_index()), (index(6), index(6)));
    assert_eq!(replayed(opened), [(6, 2)]);
    assert!(matches!(refused(&without), OpenError::MissingCheckpoint { .. }));
}

/// A snapshot may lie behind the end of the log that it replaces. The segments of before hold higher
/// indexes then, and until they are removed a start must neither want their index files nor show
/// their events. We crash right behind the Reset, before anything is removed.
#[test]
fn reset_behind_the_end_starts_again_after_a_crash() {
    let disk = MemoryDisk::new();
    let last = log_over_segments(&disk, 1);
    let Opened { mut log, mut writer, replay, .. } = start(&disk).unwrap();
    log.restore(replay.map(Result::unwrap).collect());
    let open = (last + 1..last + 150).map(|number| plain(number, 1, BODY)).collect();
    writer.prepare().unwrap();
    write(&mut log, &mut writer, open, None).unwrap();
    let (index, state) = (index(last + 1), b"s".to_vec());
    let (membership, local) = (Vec::new(), Vec::new());
    let snapshot = Checkpoint { index, term: term(2), membership, state, local };
    let digest = checkpoint::write_installed(&disk, &snapshot).unwrap();
    let reset = log.reset(index, term(2), digest);
    writer.write(vec![reset]).unwrap();
    disk.crash();
    let mut opened = start(&disk).unwrap();
    assert_eq!(opened.purged, (index, term(2)));
    assert_eq!(opened.checkpoint, Some(snapshot));
    opened.writer.prepare().unwrap();
    assert_eq!(disk.bytes(&path(1)), None, "what came before the Reset goes");
    assert_eq!(replayed(start(&disk).unwrap()), []);
}

/// The conflict rule, over a restart and over segments.
#[test]
fn entries_replace_those_behind_them() {
    let disk = MemoryDisk::new();
    let last = log_over_segments(&disk, 1);
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    // Nothing is applied, so the log may still replace everything.
    log.restore(start(&disk).unwrap().replay.map(Result::unwrap).collect());
    write(&mut log, &mut writer, vec![plain(last - 40, 2, BODY)], None).unwrap();
    assert_eq!(log.last_index(), index(last - 40));
    let mut expected = upto(last - 41);
    expected.push((last - 40, 2));
    // The hard state names a commit that the log does not reach: that is another test's matter.
    write(&mut log, &mut writer, Vec::new(), Some(hard_state(2, 0))).unwrap();
    let opened = start(&disk).unwrap();
    assert_eq!(opened.log.term(index(last - 40)), Some(term(2)));
    assert_eq!(opened.log.term(index(last - 41)), Some(term(1)));
    assert_eq!(opened.log.term(index(last - 39)), None);
    assert_eq!(replayed(opened), expected);
}

#[test]
fn foreign_segment_is_refused() {
    let (disk, other) = (MemoryDisk::new(), MemoryDisk::new());
    log_over_segments(&disk, 1);
    let stranger = Identity { node: NodeId::new(2), ..identity() };
    crate::open::open(std::sync::Arc::new(other.clone()), Options::small(SEGMENT), stranger)
        .map(drop)
        .unwrap();
    disk.put(&path(0), 0, &other.bytes(&path(0)).unwrap());
    assert!(matches!(refused(&disk), OpenError::Foreign { segment: 0, found } if found.get() == 2));
}

#[test]
fn segment_under_the_wrong_name_is_refused() {
    let disk = MemoryDisk::new();
    log_over_segments(&disk, 1);
    disk.put(&path(1), 0, &disk.bytes(&path(0)).unwrap());
    assert!(matches!(refused(&disk), OpenError::Foreign { segment: 1, .. }));
}

#[test]
fn f27_missing_or_short_segment_is_refused() {
    for lost in [0, 1, 2] {
        let disk = MemoryDisk::new();
        log_over_segments(&disk, 2);
        let short = disk.durable_copy();
        disk.lose(&path(lost));
        // Two are prepared behind, so that the loss of the last shows as a gap.
        assert!(matches!(refused(&disk), OpenError::MissingSegment { segment } if segment == lost));
        short.cut(&path(lost), SEGMENT - 8);
        assert!(
            matches!(refused(&short), OpenError::MissingSegment { segment } if segment == lost)
        );
    }
    let disk = MemoryDisk::new();
    log_over_segments(&disk, 1);
    for number in 0..4 {
        disk.lose(&path(number));
    }
    assert!(matches!(refused(&disk), OpenError::MissingSegment { .. }));
}

/// Row F27: the newest segment is gone, or zeroed from some frame on, and no later frame says so.
/// What the IDENTITY knows must tell: after the first acknowledgement in the segment, after a start,
/// and after a clean end.
#[test]
fn f27_lost_end_of_the_log_is_refused() {
    let lose_newest = |disk: &MemoryDisk, newest: u64| {
        let lost = disk.durable_copy();
        for number in newest..newest + 3 {
            lost.lose(&path(number));
        }
        assert!(matches!(refused(&lost), OpenError::EndLost { known_segment, .. }
            if known_segment == newest));
        let zeroed = disk.durable_copy();
        zeroed.put(&path(newest), SEGMENT_HEADER_BYTES, &vec![0; (SEGMENT / 2) as usize]);
        assert!(matches!(refused(&zeroed), OpenError::EndLost { .. }));
    };
    let disk = MemoryDisk::new();
    log_over_segments(&disk, 2);
    disk.crash();
    lose_newest(&disk, 2);

    // A crash may cost what was never acknowledged: a whole segment too, if it held nothing else.
    let Opened { mut log, mut writer, replay, .. } = start(&disk).unwrap();
    log.restore(replay.map(Result::unwrap).collect());
    let next = log.last_index().get() + 1;
    writer.prepare().unwrap();
    let entries = (next..next + 130).map(|number| plain(number, 1, BODY)).collect();
    let known = disk.durable_copy();
    write(&mut log, &mut writer, entries, None).unwrap();
    drop(start(&known).unwrap());

    // At a clean end the last frame counts too.
    writer.close().unwrap();
    let end = writer.durable();
    drop((log, writer));
    let newest = end.get() / SEGMENT;
    lose_newest(&disk, newest);
    let cut = disk.durable_copy();
    cut.put(&path(newest), end.get() % SEGMENT - 48, &[0; 48]);
    assert!(matches!(refused(&cut), OpenError::EndLost { known, .. } if known == end));
    drop(start(&disk).unwrap());
}

/// Row F27: a directory whose IDENTITY was written before there was a watermark goes on, and has one
/// from then on.
#[test]
fn f27_directory_without_a_watermark_goes_on() {
    let disk = MemoryDisk::new();
    log_over_segments(&disk, 1);
    let bytes = disk.bytes("IDENTITY").unwrap();
    let mut rest = bytes[8..40].to_vec();
    rest[0] = 1;
    let old = [&bytes[..4], &crc32c::crc32c(&rest).to_le_bytes(), &rest].concat();
    disk.put("IDENTITY", 0, &old);
    disk.cut("IDENTITY", 40);
    let n_entries = replayed(start(&disk).unwrap()).len();
    assert!(n_entries > 0);
    (1..4).for_each(|number| disk.lose(&path(number)));
    assert!(matches!(refused(&disk), OpenError::EndLost { segment: 0, known_segment: 1, .. }));
}

/// A checkpoint or a commit beyond the end: entries that were durable are gone.
#[test]
fn f27_log_that_ends_before_its_commit_is_refused() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[3]);
    let checkpoint = Checkpoint {
        index: index(4),
        term: term(1),
        membership: Vec::new(),
        state: Vec::new(),
        local: Vec::new(),
    };
    checkpoint::write(&disk, &checkpoint).unwrap();
    assert!(matches!(refused(&disk), OpenError::LogTooShort { .. }));

    let disk = MemoryDisk::new();
    let Opened { mut log, mut writer, .. } = start(&disk).unwrap();
    write(&mut log, &mut writer, Vec::new(), Some(hard_state(1, 4))).unwrap();
    assert!(matches!(refused(&disk), OpenError::LogTooShort { .. }));
}

#[test]
fn f26_identity_is_checked() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[1]);
    let expect_cluster = Some(ClusterId::new([8; 16]));
    let options = Options { expect_cluster, ..Options::small(SEGMENT) };
    assert!(matches!(start_with(&disk, options), Err(OpenError::OtherCluster { .. })));

    let bytes = disk.bytes("IDENTITY").unwrap();
    let mut newer = bytes[8..].to_vec();
    newer[0] = 9;
    disk.put("IDENTITY", 8, &newer);
    disk.put("IDENTITY", 4, &crc32c::crc32c(&newer).to_le_bytes());
    assert!(matches!(refused(&disk), OpenError::OtherVersion { found: 9, .. }));

    disk.put("IDENTITY", 0, &bytes);
    disk.put("IDENTITY", 30, &[0xEE]);
    assert!(matches!(refused(&disk), OpenError::DamagedFile { .. }));
    disk.lose("IDENTITY");
    assert!(matches!(refused(&disk), OpenError::MissingFile { beside: "log", .. }));
}

/// F31: a node that lost what it had acknowledged says so once and ends. The log that is left is
/// whole, so without the mark the next start would vote again.
#[test]
fn f31_directory_that_is_marked_as_damaged_is_refused() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[9]);
    damage::mark(&disk, "n2 knows entry 12").unwrap();
    disk.crash();
    let said = refused(&disk).to_string();
    assert!(said.contains("n2 knows entry 12") && said.contains("replace it"), "{said}");
}

/// F31 with F24: a full disk must not make it forget. There is no room for a byte.
#[test]
fn f31_damage_is_marked_on_a_full_disk_too() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[9]);
    disk.set_free_bytes(0);
    damage::mark(&disk, "n2 knows entry 12").unwrap();
    disk.crash();
    disk.set_free_bytes(1 << 30);
    let said = refused(&disk).to_string();
    assert!(said.contains("lost entries") && said.contains("replace it"), "{said}");
}

/// F31: it is killed before the mark is durable, and the next start finds it and refuses: from then
/// on the mark must be durable.
#[test]
fn f31_mark_that_was_found_is_durable() {
    let disk = MemoryDisk::new();
    log_of(&disk, &[9]);
    disk.plan(Fault::on(Call::SyncDir).of("").times(2));
    damage::mark(&disk, "n2 knows entry 12").unwrap_err();
    disk.end_process();
    refused(&disk);
    disk.crash();
    refused(&disk);
}

/// Only an empty directory is a new one. A node that began beside a lost log's checkpoint would
/// acknowledge events and be refused at its next start. We lose all but the checkpoint.
#[test]
fn f27_checkpoint_without_identity_is_refused() {
    let disk = MemoryDisk::new();
    let (mut model, mut log, mut writer) = Model::resume(&disk);
    write(&mut log, &mut writer, vec![events(1, &[(1, 1)])], None).unwrap();
    model.apply(&mut log, &events(1, &[(1, 1)]));
    model.checkpoint(&disk, &mut log).unwrap();
    for name in disk.list("log").unwrap() {
        disk.lose(&format!("log/{name}"));
    }
    disk.lose("IDENTITY");
    assert!(matches!(refused(&disk), OpenError::MissingFile { beside: "ckpt/0", .. }));
    assert!(disk.bytes("IDENTITY").is_none());
    for name in disk.list("ckpt/0").unwrap() {
        disk.lose(&format!("ckpt/0/{name}"));
    }
    start(&disk).unwrap();
}

#[test]
fn too_little_space_is_refused() {
    let disk = MemoryDisk::new();
    disk.set_free_bytes(1000);
    let error = start_with(&disk, Options::default()).err();
    assert!(matches!(error, Some(OpenError::NotEnoughSpace { free: 1000, .. })));
    assert_eq!(disk.list("").unwrap(), Vec::<String>::new());
}
