//! Runs the target `names`, see `src/names.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::names::run(bytes));
