//! What two threads share: small, free of any runtime, each checked by a loom model.
//!
//! Built with `--cfg tidings_loom` the models run; `--cfg loom` would reach tokio too.
