//! What two threads share: small, free of any runtime, each checked by a loom model.
//!
//! Built with `--cfg tidings_loom` the models run; `--cfg loom` would reach tokio too:
//!
//! ```text
//!   RUSTFLAGS="--cfg tidings_loom" cargo test -p tidings-types --release --lib sync -- --nocapture
//! ```
//!
//! The way of a publish: bytes are admitted by a [`ByteGate`], the event is encoded into its
//! topic's [`OpenBatch`], and its future waits on the batch's [`BatchCell`]. A [`Latch`] tells all
//! who wait that a node ends; a [`Watermark`] says how far the log is on the disk. On the other side
//! a worker has its [`Seat`].

mod primitives;

#[cfg(all(test, tidings_loom))]
mod model;

mod wakers;

mod batch_cell;

mod byte_gate;

mod open_batch;

mod latch;

mod watermark;

mod seat;

pub use batch_cell::{BatchCell, Waiting};
pub use byte_gate::{Acquire, ByteGate, Permit};
pub use latch::{Latch, LatchWait};
pub use open_batch::{Next, OpenBatch, Pushed, Sealed, section_bytes};
pub use seat::Seat;
pub use watermark::{Reached, Watermark};
