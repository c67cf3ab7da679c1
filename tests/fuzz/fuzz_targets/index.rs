//! Runs the target `index`, see `src/index.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::index::run(bytes));
