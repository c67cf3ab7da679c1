//! Ids, events, layouts, limits and seams that every other crate of tidings shares.
//!
//! The ground floor: no actor, no runtime, no clock, no I/O. What is written to a disk or sent over
//! a wire has its bytes laid out in [`layout`]; what two threads share stands in [`sync`].

// In reading order; each module uses only those above it.
pub mod limits;

pub mod bugs;

pub mod id;

pub mod offset;

pub mod name;

pub mod retry;

pub mod seam;

pub mod codec;

pub mod key;

pub mod event;

pub mod layout;

pub mod effect;

pub mod sync;
