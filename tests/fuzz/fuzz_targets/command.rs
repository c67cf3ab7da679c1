//! Runs the target `command`, see `src/command.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::command::run(bytes));
