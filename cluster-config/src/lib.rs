//! Typed, validated configuration: defaults, file, environment, flags.
//!
//! ```text
//!   defaults < file (TOML) < TIDINGS_* < flags  ──▶ one typed [`config::Config`], checked as a whole
//! ```
//!
//! Each value remembers where it came from, and each error names that place, the key, and the
//! nearest key that exists. [`key::KEYS`] is the one list of what can be set: files, variables,
//! flags, `reference.toml` and `tidings config show` all read it.
//!
//! This is the only crate that reads environment variables.

// In reading order; each module uses only those above it.
pub mod quantity;

pub mod config;

pub mod key;

pub mod origin;

pub mod error;

mod source;

mod validate;

pub mod load;

pub use load::load;
