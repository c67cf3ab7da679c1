//! A checkpoint's file: of rot, which its digest shows, and of a peer, whose digest fits.

use tidings_log::Disk;
use xxhash_rust::xxh3::xxh3_64;

use super::node::{Node, directory};

/// A start with this file ends with a verdict. The first byte says whether the digest is mended.
pub fn run(bytes: &[u8]) {
    let Some((&control, bytes)) = bytes.split_first() else { return };
    let disk = directory();
    let names = disk.list("ckpt/0").expect("a disk without faults");
    let name = names.iter().find(|name| name.ends_with(".ckpt")).expect("it has one");
    let path = format!("ckpt/0/{name}");
    let whole = disk.bytes(&path).expect("it is there");
    let mut bytes = bytes.to_vec();
    if control & 1 == 0 && bytes.len() >= 64 {
        bytes[..8].copy_from_slice(&whole[..8]);
        let digest = xxh3_64(&bytes[16..]);
        bytes[8..16].copy_from_slice(&digest.to_le_bytes());
    }
    disk.cut(&path, 0);
    disk.put(&path, 0, &bytes);
    if let Some(node) = Node::open(&disk, 1, &[1]) {
        node.read_all();
    }
}
