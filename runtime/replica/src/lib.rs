//! One Raft replica as a pure step from inputs to outputs.
//!
//! raft-rs (consensus, no I/O, no clock) over `tidings-log` and `tidings-state`. Whoever drives a
//! [`Replica`] writes, sends and tells the time; the simulator drives several in one thread. No
//! type of raft-rs leaves this crate.

// In reading order; each module uses only those above it.
mod options;

mod membership;

mod port;

mod cluster_clock;

mod wire;

mod snapshot_wire;

#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;

mod check;

mod storage;

mod elections;

mod first_election;

mod certainty;

mod ready;

mod sending;

mod receiving;

mod snapshots;

mod proposals;

mod answers;

mod checkpoints;

mod apply;

mod open;

mod status;

mod replica;

pub use membership::{Change, Step};
pub use open::{OpenError, Stored};
pub use options::{Options, Pace};
pub use port::{Damage, Input, Now, Output, Proposal, ProposeRefused};
pub use replica::Replica;
pub use status::{Role, Status};
