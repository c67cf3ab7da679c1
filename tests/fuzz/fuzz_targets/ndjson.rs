//! Runs the target `ndjson`, see `src/ndjson.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::ndjson::run(bytes));
