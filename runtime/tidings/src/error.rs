//! What can keep a node from starting or from ending well.

use std::fmt;
use std::io;

use thiserror::Error;
use tidings_config::error::ConfigError;
use tidings_types::retry::Retry;

use crate::service::PlanError;

/// What `main` returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// See the module's description.
#[derive(Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A service's plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The node could not start.
    #[error(transparent)]
    Start(#[from] tidings_node::node::StartError),
    /// HTTP could not listen.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Http(#[from] tidings_gateway::serve::BindError),
    /// The process cannot be told when to end.
    #[error("signals cannot be listened for: {0}")]
    Signals(#[source] io::Error),
}

impl Error {
    /// What the caller may do: correct what it says, and start again. Nothing that was acknowledged
    /// is lost.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Config(_) | Self::Plan(_) => Retry::Never,
            _ => Retry::AfterRefresh,
        }
    }
}

/// Shown as for people, because this is what the end of `main` prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
