//! What is wrong with a configuration: all of it at once, each with its place and its key.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;
use tidings_types::retry::Retry;

use crate::origin::Origin;

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// All that was found, at least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("{}: cannot be read: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{origin}: {reason}")]
    Syntax {
        /// The place.
        origin: Origin,
        /// What the parser said.
        reason: String,
    },
    /// There is no such setting.
    #[error("{origin}: {key} is not a setting; did you mean {nearest}?")]
    UnknownKey {
        /// The place.
        origin: Origin,
        /// What stands there.
        key: String,
        /// The setting with the nearest name.
        nearest: String,
    },
    /// The value does not fit its key.
    #[error("{origin}: {key}: {reason}")]
    BadValue {
        /// The place.
        origin: Origin,
        /// The setting.
        key: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
}

impl ConfigError {
    /// The stable code of a bad configuration.
    pub const CODE: &str = "T0501";

    /// The exit code of a process that was given a bad configuration.
    pub const EXIT: u8 = 78;

    /// The same configuration always fails.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, problem) in self.problems.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
