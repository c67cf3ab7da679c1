//! What a caller may do after an error: the one question that every error answers.

/// The class of an error, for a caller who knows nothing of its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request always fails.
    Never,
    /// Nothing happened; the same request may succeed later.
    SameRequest,
    /// Nothing happened; read the current state and ask anew.
    AfterRefresh,
    /// It may have happened; repeating is safe where repeats are recognised.
    Unknown,
}

impl Retry {
    /// The word that error bodies carry.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::SameRequest => "same",
            Self::AfterRefresh => "after_refresh",
            Self::Unknown => "unknown",
        }
    }
}
