//! What the disk in memory can be made to do: fates of a crash, failing calls, and who watches.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice};
use std::sync::{Arc, Mutex};

use super::{Call, Disk, Fate, Fault, File, Kept, MemoryDisk, Watch};

const PAGE: usize = 4096;

fn write(file: &dyn File, bytes: &[u8], at: u64) {
    file.write_at(&mut [IoSlice::new(bytes)], at).unwrap();
}

fn made(disk: &MemoryDisk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.create(path).unwrap();
    write(&*file, bytes, 0);
    file.sync().unwrap();
    file
}

fn fate(kept: Kept, seed: u64) -> Fate {
    Fate { bytes: kept, names: kept, seed }
}

/// Every mixture of old and new pages must come up, or the order of writes is not tested: three
/// pages in two files, unsynced, and many seeds.
#[test]
fn pages_are_kept_in_any_order_across_files() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = MemoryDisk::new();
        let a = made(&disk, "a", &[1; 2 * PAGE]);
        let b = made(&disk, "b", &[1; PAGE]);
        disk.sync_dir("").unwrap();
        write(&*a, &[2; 2 * PAGE], 0);
        write(&*b, &[2; PAGE], 0);
        disk.crash_as(fate(Kept::Some, seed));
        let (a, b) = (disk.bytes("a").unwrap(), disk.bytes("b").unwrap());
        for page in a.chunks(PAGE).chain([&b[..]]) {
            assert!(page.iter().all(|&byte| byte == page[0]), "a page is old or new");
        }
        seen.insert((a[0], a[PAGE], b[0]));
    }
    assert_eq!(seen.len(), 8);
}

/// A torn page is part old, part new: cut at any byte, or by sectors. The same seed tears alike.
#[test]
fn pages_are_torn_at_bytes_and_by_sectors() {
    let (mut cuts, mut n_by_sectors) = (BTreeSet::new(), 0);
    for seed in 0..400 {
        let torn = || {
            let disk = MemoryDisk::new();
            let file = made(&disk, "a", &[1; PAGE]);
            disk.sync_dir("").unwrap();
            write(&*file, &[2; PAGE], 0);
            disk.crash_as(fate(Kept::Torn, seed));
            disk.bytes("a").unwrap()
        };
        let bytes = torn();
        assert_eq!(bytes, torn(), "seed {seed}");
        let n_new = bytes.iter().take_while(|&&byte| byte == 2).count();
        if bytes[n_new..].iter().all(|&byte| byte == 1) {
            cuts.insert(n_new);
        } else {
            n_by_sectors += 1;
            assert!(bytes.chunks(512).all(|sector| sector.iter().all(|&b| b == sector[0])));
        }
    }
    assert!(cuts.len() > 50 && cuts.contains(&0) && cuts.contains(&PAGE), "{cuts:?}");
    assert!(n_by_sectors > 50, "{n_by_sectors}");
}

/// The write in whose middle the power goes leaves exactly so many of its bytes, also over several
/// parts; nothing succeeds after it until the crash, and then all does.
#[test]
fn last_write_is_torn_at_a_given_byte() {
    for torn in [0, 1, 2, 3, 5, 6, 13] {
        let disk = MemoryDisk::new();
        let file = made(&disk, "a", b"......");
        disk.sync_dir("").unwrap();
        disk.fail_after_torn(0, torn);
        let mut parts = [b"01", b"23", b"45"].map(|part| IoSlice::new(part));
        file.write_at(&mut parts, 0).unwrap_err();
        file.write_at(&mut [IoSlice::new(b"xxxxxx")], 0).unwrap_err();
        assert!(file.sync().is_err() && disk.create("b").is_err());
        disk.crash_as(Fate::ALL);
        let n_new = (torn % 7) as usize;
        let expected = ["012345", "......"].map(str::as_bytes);
        assert_eq!(disk.bytes("a").unwrap()[..n_new], expected[0][..n_new]);
        assert_eq!(disk.bytes("a").unwrap()[n_new..], expected[1][n_new..]);
        disk.create("b").unwrap();
    }
}

/// Each change of a folder must be lost or kept for itself: a file made, one renamed over another,
/// one removed, which comes back.
#[test]
fn names_are_lost_or_kept_each_for_itself() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = MemoryDisk::new();
        made(&disk, "old", b"old");
        made(&disk, "gone", b"gone");
        made(&disk, "tmp", b"new");
        disk.sync_dir("").unwrap();
        made(&disk, "made", b"made");
        disk.rename("tmp", "old").unwrap();
        disk.remove("gone").unwrap();
        disk.crash_as(Fate { bytes: Kept::Nothing, names: Kept::Some, seed });
        assert_eq!(disk.bytes("tmp").is_some(), disk.bytes("old").unwrap() == b"old");
        let is_there = ["made", "tmp", "gone"].map(|name| disk.bytes(name).is_some());
        seen.insert(is_there);
    }
    assert_eq!(seen.len(), 8);

    // A folder's sync says nothing about another one's.
    let disk = MemoryDisk::new();
    made(&disk, "x/a", b"");
    made(&disk, "y/a", b"");
    disk.sync_dir("x").unwrap();
    disk.crash();
    assert_eq!((disk.list("x").unwrap().len(), disk.list("y").unwrap().len()), (1, 0));
}

/// A length is durable only with a sync; what stays is never longer than the bytes that stayed.
#[test]
fn growth_is_lost_or_kept_up_to_the_bytes_that_stay() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let disk = MemoryDisk::new();
        let file = made(&disk, "a", b"12345");
        disk.sync_dir("").unwrap();
        write(&*file, &[7; 2 * PAGE], 5);
        disk.crash_as(Fate { bytes: Kept::Some, names: Kept::Nothing, seed });
        let bytes = disk.bytes("a").unwrap();
        lengths.insert(bytes.len());
        assert_eq!(bytes[..5], *b"12345");
    }
    let expected = [5, PAGE, 2 * PAGE, 2 * PAGE + 5];
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), expected);
}

/// Calls fail as planned and no others: by kind, path, place and number.
#[test]
fn calls_fail_as_planned() {
    let disk = MemoryDisk::new();
    let file = made(&disk, "log/a", &[1; 3 * PAGE]);
    let other = made(&disk, "log/b", &[1; 3 * PAGE]);
    let mut one = [0];
    disk.plan(Fault::on(Call::Read).of("log/a").within(4096..4097).for_ever());
    assert!(file.read_at(&mut one, 4095).is_ok() && file.read_at(&mut one, 4097).is_ok());
    assert!(other.read_at(&mut one, 4096).is_ok());
    assert!(file.read_at(&mut one, 4096).is_err() && file.read_at(&mut [0; 3], 4094).is_err());
    disk.heal();
    assert!(file.read_at(&mut one, 4096).is_ok());

    disk.plan(Fault::on(Call::SyncDir).after(1).times(2));
    let results: Vec<bool> = (0..4).map(|_| disk.sync_dir("log").is_ok()).collect();
    assert_eq!(results, [true, false, false, true]);

    let full = ErrorKind::StorageFull;
    disk.plan(Fault::on(Call::Write).having_written(2).kind(full));
    let error = file.write_at(&mut [IoSlice::new(b"xyz")], 0).unwrap_err();
    assert_eq!(error.kind(), full);
    assert_eq!(disk.bytes("log/a").unwrap()[..4], *b"xy\x01\x01");

    for call in [Call::Create, Call::Rename, Call::Remove, Call::MakeDir] {
        disk.plan(Fault::on(call).of("log"));
    }
    assert!(disk.create("log/c").is_err() && disk.rename("log/a", "log/c").is_err());
    assert!(disk.remove("log/a").is_err() && disk.make_dir("log").is_err());
    assert!(disk.make_dir("log").is_ok() && disk.remove("log/a").is_ok());
}

/// What does not fit is written as far as it does, and room that is given back can be used.
#[test]
fn room_ends_where_it_is_said_to() {
    let disk = MemoryDisk::new();
    disk.set_free_bytes(10);
    let file = disk.create("a").unwrap();
    write(&*file, b"1234567", 0);
    write(&*file, b"abc", 0);
    let error = file.write_at(&mut [IoSlice::new(b"89abcdef")], 7).unwrap_err();
    assert_eq!((error.kind(), disk.free_bytes().unwrap()), (ErrorKind::StorageFull, 0));
    assert_eq!(disk.bytes("a").unwrap(), b"abc456789a");
    disk.remove("a").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 10);
    made(&disk, "b", b"1234");
    disk.crash();
    assert_eq!(disk.free_bytes().unwrap(), 10, "what is lost takes no room");
}

#[test]
fn read_only_disk_refuses_every_change() {
    let disk = MemoryDisk::new();
    let file = made(&disk, "a", b"1");
    disk.set_read_only(true);
    let kind = |result: std::io::Result<()>| result.unwrap_err().kind();
    let read_only = ErrorKind::ReadOnlyFilesystem;
    assert_eq!(kind(file.write_at(&mut [IoSlice::new(b"2")], 0)), read_only);
    assert_eq!(kind(file.sync()), read_only);
    assert_eq!(kind(disk.remove("a")), read_only);
    assert_eq!(kind(disk.create("b").map(drop)), read_only);
    assert_eq!(file.read_at(&mut [0], 0).unwrap(), 1);
    disk.heal();
    disk.remove("a").unwrap();
}

/// A process that died must not reach into the life of the next one.
#[test]
fn handles_end_with_their_process() {
    let disk = MemoryDisk::new();
    let file = made(&disk, "a", b"1");
    write(&*file, b"2", 0);
    disk.end_process();
    assert!(file.sync().is_err() && file.read_at(&mut [0], 0).is_err());
    assert!(file.write_at(&mut [IoSlice::new(b"3")], 0).is_err());
    assert_eq!(disk.bytes("a").unwrap(), b"2", "the kernel still has it");
}

#[test]
fn bit_is_flipped_where_it_is_said_to() {
    let disk = MemoryDisk::new();
    made(&disk, "a", &[0; 3]);
    assert!(disk.flip("a", 17) && !disk.flip("a", 24) && !disk.flip("b", 0));
    assert_eq!(disk.bytes("a").unwrap(), [0, 0, 2]);
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Watch for Notes {
    fn wrote(&self, path: &str, at: u64, bytes: &[u8]) {
        self.note(format!("{path} {at} {}", str::from_utf8(bytes).unwrap()));
    }

    fn synced(&self, path: &str) {
        self.note(format!("{path} synced"));
    }

    fn sync_failed(&self, path: &str) {
        self.note(format!("{path} failed"));
    }

    fn crashed(&self) {
        self.note("crashed".to_owned());
    }
}

/// Who watches must know what is durable without asking anybody: each part with its place, under
/// the name that the file has by then, and no word of a write that failed.
#[test]
fn watch_is_told_what_is_written_and_what_is_durable() {
    let (disk, notes) = (MemoryDisk::new(), Arc::new(Notes::default()));
    disk.watch(notes.clone());
    let file = disk.create("tmp").unwrap();
    file.write_at(&mut [IoSlice::new(b"ab"), IoSlice::new(b"c")], 5).unwrap();
    disk.rename("tmp", "a").unwrap();
    file.sync().unwrap();
    assert_eq!(notes.take(), ["tmp 5 ab", "tmp 7 c", "a synced"]);
    write(&*file, b"d", 0);
    disk.fail_next_sync();
    file.sync().unwrap_err();
    disk.fail_next_write();
    file.write_at(&mut [IoSlice::new(b"e")], 0).unwrap_err();
    disk.fail_after_torn(0, 1);
    file.write_at(&mut [IoSlice::new(b"f")], 0).unwrap_err();
    file.sync().unwrap_err();
    disk.crash();
    assert_eq!(notes.take(), ["a 0 d", "a failed", "crashed"]);
}
