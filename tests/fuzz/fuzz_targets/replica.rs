//! Runs the target `replica`, see `src/replica.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::replica::run(bytes));
