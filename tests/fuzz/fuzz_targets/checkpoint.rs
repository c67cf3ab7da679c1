//! Runs the target `checkpoint`, see `src/checkpoint.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::checkpoint::run(bytes));
