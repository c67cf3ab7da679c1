//! What every disk must do; the double runs the same suite.

use std::io::{ErrorKind, IoSlice};
use std::os::unix::fs::PermissionsExt;

use super::{Disk, MemoryDisk, RealDisk};

fn suite(disk: &dyn Disk) {
    assert_eq!(disk.open("log/none").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(disk.remove("log/none").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(disk.list("log").unwrap(), Vec::<String>::new());
    disk.make_dir("log/deep").unwrap();
    disk.make_dir("log/deep").unwrap();

    let file = disk.create("log/a").unwrap();
    // More parts than one call of the kernel takes, some of them empty, over a page's border.
    let parts: Vec<Vec<u8>> = (0..3000_u32).map(|n| vec![n as u8; (n % 4) as usize]).collect();
    let whole: Vec<u8> = parts.concat();
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    file.write_at(&mut slices, 5).unwrap();
    file.sync().unwrap();
    assert_eq!(file.len_bytes().unwrap(), 5 + whole.len() as u64);
    let mut read = vec![1; whole.len() + 99];
    assert_eq!(file.read_at(&mut read, 0).unwrap(), 5 + whole.len());
    assert_eq!(read[..5], [0; 5]);
    assert_eq!(read[5..5 + whole.len()], whole);
    assert_eq!(file.read_at(&mut read, 1 << 40).unwrap(), 0);
    let mut one = [0];
    assert_eq!(file.read_at(&mut one, 5 + 4100).unwrap(), 1);
    assert_eq!(one[0], whole[4100]);
    file.write_at(&mut [IoSlice::new(b"xy")], 4095).unwrap();
    let mut some = [0; 4];
    file.read_at(&mut some, 4094).unwrap();
    assert_eq!(some, [whole[4089], b'x', b'y', whole[4092]]);

    disk.create("log/b").unwrap();
    disk.rename("log/b", "log/a").unwrap();
    disk.sync_dir("log").unwrap();
    assert_eq!(disk.list("log").unwrap(), ["a"]);
    assert_eq!(disk.open("log/a").unwrap().len_bytes().unwrap(), 0);
    assert_eq!(file.len_bytes().unwrap(), 5 + whole.len() as u64, "who has it open keeps it");
    disk.remove("log/a").unwrap();
    assert_eq!(disk.list("log").unwrap(), Vec::<String>::new());
    assert!(disk.free_bytes().unwrap() > 0);
    assert_ne!(disk.stamp().salt, disk.stamp().salt);
}

#[test]
fn real_disk_passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    suite(&RealDisk::open(dir.path().join("made")).unwrap());
}

#[test]
fn memory_disk_passes_the_suite() {
    suite(&MemoryDisk::new());
}

/// The double must forget what the contract does not promise, or crash tests prove nothing.
#[test]
fn memory_disk_forgets_what_was_not_synced() {
    let disk = MemoryDisk::new();
    let file = disk.create("log/a").unwrap();
    file.write_at(&mut [IoSlice::new(b"one")], 0).unwrap();
    file.sync().unwrap();
    let unnamed = disk.clone();
    unnamed.crash();
    assert!(disk.open("log/a").is_err(), "the folder was not synced");

    let file = disk.create("log/a").unwrap();
    file.write_at(&mut [IoSlice::new(b"one")], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir("log").unwrap();
    file.write_at(&mut [IoSlice::new(b"two")], 0).unwrap();
    disk.rename("log/a", "log/b").unwrap();
    disk.crash();
    assert_eq!(disk.bytes("log/a").unwrap(), b"one");
    assert_eq!(disk.bytes("log/b"), None);

    // A failed sync: the bytes are readable, no later sync takes them, a crash forgets them.
    let file = disk.open("log/a").unwrap();
    file.write_at(&mut [IoSlice::new(b"two")], 0).unwrap();
    disk.fail_next_sync();
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(disk.bytes("log/a").unwrap(), b"two");
    assert_eq!(disk.durable_copy().bytes("log/a").unwrap(), b"one");
    disk.crash();
    assert_eq!(disk.bytes("log/a").unwrap(), b"one");
}

/// The folders that a node makes hold every event in clear, so they must be for their owner only. We
/// look at the modes of what a fresh disk made, one folder below another.
#[test]
fn real_disk_makes_folders_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("above/data");
    let disk = RealDisk::open(&root).unwrap();
    disk.make_dir("ckpt/0").unwrap();
    for made in ["", "ckpt", "ckpt/0"] {
        let mode = std::fs::metadata(root.join(made)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{made:?}");
    }
}
