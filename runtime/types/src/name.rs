//! Names of topics and groups: their grammar, checked once, at the edge.
//!
//! Names never become paths; on disk things are called by their number.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::NAME_BYTES_MAX;

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadName {
    /// It has no character, or too many.
    #[error("name has {n_bytes} bytes; it must have 1 to {NAME_BYTES_MAX}")]
    Length {
        /// What it has.
        n_bytes: usize,
    },
    /// It has a character outside the grammar.
    #[error("name has the character {found:?}; allowed are a-z, 0-9, '.', '_' and '-'")]
    Character {
        /// The first such character.
        found: char,
    },
    /// It has an empty token: it begins or ends with a dot, or has two in a row.
    #[error("name has an empty token between its dots")]
    EmptyToken,
}

fn check(name: &str) -> Result<(), BadName> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(BadName::Length { n_bytes: name.len() });
    }
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if let Some(found) = name.chars().find(|&c| !is_allowed(c)) {
        return Err(BadName::Character { found });
    }
    if name.split('.').any(str::is_empty) {
        return Err(BadName::EmptyToken);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the grammar `[a-z0-9._-]{1,128}`, dots between tokens.
            ///
            /// # Errors
            /// The first thing that is wrong with it.
            pub fn new(name: impl Into<String>) -> Result<Self, BadName> {
                let name = name.into();
                check(&name)?;
                Ok(Self(name))
            }

            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(name: String) -> Result<Self, BadName> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a topic, dot-separated: `users`, `orders.eu`.
    TopicName
);
name!(
    /// The name of a group: the durable identity of a service's subscription.
    GroupName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_grammar() {
        for good in ["users", "orders.eu", "a", "x-1_2.y"] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", "Users", "../x", "a b", "a..b", ".a", "a.", "ü", "a\0", long.as_str()] {
            assert!(TopicName::new(bad).is_err(), "{bad}");
        }
    }
}
