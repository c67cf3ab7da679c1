//! Peers' messages into a living replica.
//!
//! ```text
//!   part   control u8   bit 0: from node 3, else 2     bit 1: as it is, else with sender, receiver
//!                       bit 2: a tick first            and shard as the link knows them
//!          message
//! ```

use tidings_log::MemoryDisk;
use tidings_replica::Input;
use tidings_types::id::NodeId;

use super::node::Node;
use super::split::parts;

/// Messages to one replica.
const MESSAGES_MAX: usize = 48;

/// Whatever two peers send, the replica answers, drops it, or stands still; and what it wrote, it
/// can start from.
pub fn run(bytes: &[u8]) {
    let disk = MemoryDisk::new();
    let mut node = Node::open(&disk, 1, &[1, 2, 3]).expect("a fresh directory opens");
    for part in parts(bytes).into_iter().take(MESSAGES_MAX) {
        let Some((&control, message)) = part.split_first() else { continue };
        let from = if control & 1 == 0 { 2 } else { 3 };
        if control & 4 == 4 {
            node.tick();
        }
        let mut message = message.to_vec();
        if control & 2 == 0 && message.len() >= 16 {
            message[4..8].copy_from_slice(&u32::to_le_bytes(from));
            message[8..12].copy_from_slice(&u32::to_le_bytes(1));
            message[12..16].fill(0);
        }
        node.step(Input::Message { from: NodeId::new(from), bytes: message.into() });
    }
    node.read_all();
    let applied = node.state().applied();
    drop(node);
    disk.crash();
    let node = Node::open(&disk, 1, &[1, 2, 3]).expect("what was written durably opens");
    // What was applied was known to be committed; how far, is stored lazily.
    assert!(node.state().applied() <= applied);
}
