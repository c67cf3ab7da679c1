//! The talk with one member in this term: its session, and how far it has resumed.

use crate::message::{Resume, SessionId};

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// Its newest session; older ones are over.
    pub(super) session: SessionId,
    /// Parts of its resume so far.
    pub(super) parts: Vec<Resume>,
    /// How much they name.
    pub(super) n_words: usize,
}
