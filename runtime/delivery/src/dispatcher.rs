//! Brings committed events to workers and their outcomes back to the log.
