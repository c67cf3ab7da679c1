//! What a log may be told: sizes, and what to expect of the directory.

use tidings_types::id::ClusterId;
use tidings_types::limits::{
    DISK_FREE_BYTES_MIN, FIRST_SEGMENT_BYTES, FREE_BYTES_KEPT, RECOVERY_ZERO_BYTES, SEGMENT_BYTES,
    TAIL_BYTES_MAX,
};

/// How a log is kept. Tests make it small.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment file; a multiple of 4 KiB that holds the largest frame written.
    pub segment_bytes: u64,
    /// Size of the first segment of a fresh directory.
    pub first_segment_bytes: u64,
    /// Bytes of the newest entries that stay in memory.
    pub tail_bytes_max: usize,
    /// Bytes after the cut that recovery zeroes; no write is larger.
    pub zero_bytes: u64,
    /// With less free space the log does not open.
    pub free_bytes_min: u64,
    /// So much of the disk stays free when a segment is prepared.
    pub free_bytes_kept: u64,
    /// If given, a directory of another cluster is refused.
    pub expect_cluster: Option<ClusterId>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            first_segment_bytes: FIRST_SEGMENT_BYTES,
            tail_bytes_max: TAIL_BYTES_MAX,
            zero_bytes: RECOVERY_ZERO_BYTES,
            free_bytes_min: DISK_FREE_BYTES_MIN,
            free_bytes_kept: FREE_BYTES_KEPT,
            expect_cluster: None,
        }
    }
}

impl Options {
    /// Small segments, for tests and for nodes that live in memory.
    pub fn small(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            first_segment_bytes: segment_bytes,
            zero_bytes: RECOVERY_ZERO_BYTES.min(segment_bytes),
            free_bytes_min: 0,
            free_bytes_kept: 0,
            ..Self::default()
        }
    }
}
