//! Whether and when a failed event is tried again.
