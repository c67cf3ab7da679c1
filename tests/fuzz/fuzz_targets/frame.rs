//! Runs the target `frame`, see `src/frame.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::frame::run(bytes));
