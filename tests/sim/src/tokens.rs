//! Who waits for the answer to a proposal of a process.

use std::collections::BTreeMap;

use tidings_types::id::{GroupId, Token};

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A publisher at the other end of a link, under its own token.
    Link(u64, Token),
    /// Whoever operates the cluster.
    Operator,
    /// This process, to join a group.
    Joins(GroupId),
    /// A process at the other end of a link, to join a group.
    LinkJoins(u64, GroupId),
    /// Nobody waits for the answer.
    Nobody,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    last: u64,
    askers: BTreeMap<Token, Asker>,
}

impl Tokens {
    /// A token that nobody else of this process has.
    pub(crate) fn give(&mut self, asker: Asker) -> Token {
        self.last += 1;
        let token = Token::new(self.last);
        self.askers.insert(token, asker);
        token
    }

    /// Who asked; told once.
    pub(crate) fn take(&mut self, token: Token) -> Option<Asker> {
        self.askers.remove(&token)
    }
}
