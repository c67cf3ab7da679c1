//! A peer's Raft message.

use bytes::Bytes;
use tidings_replica::fuzz;

/// Any bytes are refused or are a message that comes back as itself.
pub fn run(bytes: &[u8]) {
    fuzz::wire(Bytes::copy_from_slice(bytes));
}
