//! What readers get, and what they are told about the disk.

use tidings_types::effect::Placed;
use tidings_types::layout::records::Records;

/// Consecutive events of one topic, as they were published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where they stand.
    pub placed: Placed,
    /// The events.
    pub records: Records,
}

/// What [`Reader::read_tail`](crate::reader::Reader::read_tail) found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailRead {
    /// Blocks in order; the first one holds the wanted event.
    Hit(Vec<Block>),
    /// They are on the disk only.
    Miss,
    /// There is nothing at the wanted offset or after it.
    End,
}

/// How much room the disk has for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Space {
    /// All is well.
    Plenty,
    /// Two segments ahead cannot be had: what is prepared is kept for acks, turns, dead letters,
    /// purges and hard state.
    NoPublish,
    /// No segment is ahead of the one that is written: delivery pauses too.
    LastSegment,
}
