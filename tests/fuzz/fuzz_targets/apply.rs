//! Runs the target `apply`, see `src/apply.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::apply::run(bytes));
