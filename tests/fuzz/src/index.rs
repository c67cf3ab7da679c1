//! A segment's index file: of rot, which its crcs show, and one whose crcs fit.

use super::node::{Node, directory};

/// The oldest segment that has a file.
pub const FILE: &str = "log/0000000000000000.idx";
const HEADER_BYTES: usize = 88;

/// A start with this file ends with a verdict, and no read panics, nor gives what was not written.
/// The first byte says whether the crcs are mended.
pub fn run(bytes: &[u8]) {
    let Some((&control, bytes)) = bytes.split_first() else { return };
    let disk = directory();
    let whole = disk.bytes(FILE).expect("a closed segment has one");
    let mut bytes = bytes.to_vec();
    if control & 1 == 0 && bytes.len() >= HEADER_BYTES {
        mend(&mut bytes, &whole);
    }
    disk.cut(FILE, 0);
    disk.put(FILE, 0, &bytes);
    if let Some(node) = Node::open(&disk, 1, &[1]) {
        node.read_all();
    }
}

fn mend(bytes: &mut [u8], whole: &[u8]) {
    // Magic, format, salt and number tie the file to its segment.
    bytes[..4].copy_from_slice(&whole[..4]);
    bytes[8..24].copy_from_slice(&whole[8..24]);
    let count = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let a_bytes = HEADER_BYTES + count(68) * 16 + count(72) * 24;
    let a_bytes = a_bytes.min(bytes.len());
    let crc = crc32c::crc32c(&bytes[a_bytes..]);
    bytes[80..84].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[8..a_bytes]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}
