//! The node log on disk: frames, segments, one writer thread, recovery, tail and index.
//!
//! It is the Raft log and the event store in one: each event is written once, with one stream of
//! fdatasyncs. [`open::open`] judges the directory and gives three ends: the [`log::Log`] for the
//! replica (no I/O), the [`writer::Writer`] for the thread that owns the files, and from the log
//! any number of [`reader::Reader`]s.
//!
//! What knows nothing of what:
//! - Down to `segment` nothing knows of Raft's rules, only of bytes.
//! - [`log`] does no I/O; [`writer`] knows nothing of events; [`reader`] never scans frames.
//! - Nothing here knows of time, except that [`thread`] waits; every wait there has an end.

// In reading order; each module uses only those above it.
pub mod error;

pub mod disk;

pub mod options;

pub mod entry;

mod queue;

mod small_file;

pub mod identity;

pub mod damage;

pub mod checkpoint;

mod pace;

mod segment;

mod frames;

mod head;

mod contents;

mod section;

mod index_file;

mod event_index;

pub mod block;

mod event_tail;

mod shared;

pub mod reader;

mod by_index;

mod terms;

pub mod job;

pub mod log;

mod chore;

mod stream;

pub mod writer;

mod survey;

mod judge;

pub mod replay;

pub mod open;

pub mod thread;

pub mod check;

#[cfg(test)]
mod support_test;

#[cfg(test)]
mod verdict_test;

#[cfg(test)]
mod log_test;

#[cfg(test)]
mod crash_test;

#[cfg(test)]
mod thread_test;

#[cfg(test)]
mod faults_test;

pub use block::{Block, Space, TailRead};
pub use checkpoint::Checkpoint;
pub use disk::{Disk, MemoryDisk, RealDisk};
pub use entry::{Entry, HardState};
pub use error::{OpenError, ReadError, WriteError};
pub use identity::Identity;
pub use job::{Job, Persisted};
pub use log::Log;
pub use open::{Opened, open};
pub use options::Options;
pub use reader::Reader;
pub use replay::Replay;
pub use thread::{WriterHandle, WriterThread};
pub use writer::Writer;
