//! Whether and when a crashed worker is started again.
