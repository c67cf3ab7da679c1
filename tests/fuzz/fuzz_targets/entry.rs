//! Runs the target `entry`, see `src/entry.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::entry::run(bytes));
