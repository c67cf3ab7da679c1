//! Frames of the log as a start finds them: behind a whole crc, and torn.
//!
//! ```text
//!   part   control u8   bit 0: these are raw bytes, else a frame with its crc:
//!          kind u8 · flags u8 · term u8 · index u16 · durable u32 · body
//! ```

use std::sync::OnceLock;

use tidings_log::MemoryDisk;
use tidings_types::id::ShardId;
use tidings_types::layout::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use tidings_types::limits::SEGMENT_HEADER_BYTES;
use tidings_types::offset::{LogIndex, Position, Term};

use super::node::{Node, SEGMENT, open_log};
use super::split::parts;

const FILE: &str = "log/0000000000000000.seg";

/// A start on these frames ends with a verdict; and what it took, the next start takes as well.
pub fn run(bytes: &[u8]) {
    header(bytes);
    let disk = with_frames(bytes);
    let Some(opened) = open_log(&disk, 1) else { return };
    let hard_state = opened.hard_state;
    let entries: Vec<_> = opened.replay.collect();
    let mut writer = opened.writer;
    if writer.close().is_err() {
        return;
    }
    let again = open_log(&disk, 1).expect("what opened once opens again");
    assert_eq!(again.hard_state, hard_state);
    let again: Vec<_> = again.replay.collect();
    assert_eq!(again.len(), entries.len());
    for (one, other) in entries.iter().flatten().zip(again.iter().flatten()) {
        assert_eq!(one, other);
    }
    if let Some(node) = Node::open(&disk, 1, &[1]) {
        node.read_all();
    }
}

/// A header that is read must be written again as it was, and only with the body's crc is it whole.
fn header(bytes: &[u8]) {
    let Some((header, body)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else { return };
    let Some(read) = FrameHeader::peek(header) else { return };
    let whole = FrameHeader { body_bytes: body.len() as u32, ..read };
    let written = whole.encode(7, body);
    assert_eq!(FrameHeader::peek(&written).map(|read| read.kind), Some(read.kind));
    assert!(FrameHeader::is_intact(&written, 7, body));
    assert!(!FrameHeader::is_intact(&written, 8, body), "the salt counts");
}

/// A directory whose only segment begins as written and goes on with frames of our own.
fn with_frames(bytes: &[u8]) -> MemoryDisk {
    static EMPTY: OnceLock<MemoryDisk> = OnceLock::new();
    let empty = EMPTY.get_or_init(|| {
        let disk = MemoryDisk::new();
        open_log(&disk, 1).expect("a fresh directory opens").writer.close().expect("no faults");
        disk
    });
    let disk = empty.durable_copy();
    let file = disk.bytes(FILE).expect("the first segment");
    let salt = u32::from_le_bytes(file[12..16].try_into().expect("four bytes"));
    let mut at = SEGMENT_HEADER_BYTES as usize;
    while let Some(frame) = FrameHeader::peek(file[at..][..FRAME_HEADER_BYTES].try_into().unwrap())
    {
        at += FrameHeader::frame_bytes(frame.body_bytes as usize);
    }
    for part in parts(bytes) {
        let frame = frame(part, salt, at as u64);
        if at + frame.len() > SEGMENT as usize {
            break;
        }
        disk.put(FILE, at as u64, &frame);
        at += frame.len().next_multiple_of(FRAME_ALIGN);
    }
    disk
}

fn frame(part: &[u8], salt: u32, at: u64) -> Vec<u8> {
    let Some((&[control, kind, flags, term, i0, i1, d0, d1, d2, d3], body)) =
        part.split_first_chunk()
    else {
        return part.to_vec();
    };
    if control & 1 == 1 {
        return part.to_vec();
    }
    let kinds = [
        FrameKind::Entry,
        FrameKind::HardState,
        FrameKind::Purge,
        FrameKind::Reset,
        FrameKind::Mark,
        FrameKind::Head,
    ];
    let durable = u64::from(u32::from_le_bytes([d0, d1, d2, d3]));
    let header = FrameHeader {
        kind: kinds[usize::from(kind) % kinds.len()],
        flags,
        shard: ShardId::default(),
        term: Term::new(u64::from(term)),
        index: LogIndex::new(u64::from(u16::from_le_bytes([i0, i1]))),
        // Mostly something that may be; the writer marks what came before.
        durable: Position::new(if control & 2 == 0 { durable % (at + 1) } else { durable }),
        body_bytes: body.len() as u32,
    };
    let mut bytes = header.encode(salt, body).to_vec();
    bytes.extend(body);
    bytes
}
