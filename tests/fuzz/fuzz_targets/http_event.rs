//! Runs the target `http_event`, see `src/http_event.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::http_event::run(bytes));
