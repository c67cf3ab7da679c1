//! The tidings command.
