//! Every byte that is written to a disk or sent over a wire, drawn; golden bytes pin each layout.
//!
//! All numbers are little-endian. Laid out by hand and not by a codec, because files outlive codecs.
//!
//! ```text
//!   frame     header 48 B │ entry data
//!   entry     header 16 B │ section │ section │ …
//!   section   kind u8 · flags u8 · 0 u16 · len u32 │ records, acks, turn or command
//!   records   header 40 B │ event │ event │ …
//! ```

mod take;

pub mod frame;

pub mod headers;

pub mod records;

pub mod acks;

pub mod turn;

pub mod command;

pub mod entry;

#[cfg(test)]
mod layout_test;

pub use take::{Malformed, Take};
