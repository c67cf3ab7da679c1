//! Runs the target `wire`, see `src/wire.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::wire::run(bytes));
