//! What is run on bytes that nobody made on purpose: one module a target, each with one `run`.
//!
//! A target panics when a promise is broken: a parser that panics, a value that does not come back
//! as it went in, two states that differ. `tests/fuzz.rs` runs the same targets for a moment within
//! `cargo test`; the binaries run them under libFuzzer.

pub mod command;

pub mod entry;

pub mod names;

pub mod http_event;

pub mod ndjson;

pub mod wire;

pub mod split;

pub mod apply;

pub mod node;

pub mod frame;

pub mod checkpoint;

pub mod index;

pub mod replica;
