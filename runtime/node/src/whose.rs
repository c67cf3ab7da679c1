//! Whose proposal a token belongs to: the top two bits of its number say it.
//!
//! ```text
//!   00  a command of the PubSub actor, counted
//!   01  the dispatcher's, by the number that its core gave
//!   1x  a batch of this process's producer, by the token that its core gave
//! ```
//!
//! So neither actor needs a table to find out what an answer is about.

use tidings_delivery::publisher::is_proposal;
use tidings_types::id::Token;

const DISPATCHER: u64 = 1 << 62;

/// The token of a dispatcher's proposal.
pub(crate) fn dispatcher(number: Token) -> Token {
    assert!(number.get() < DISPATCHER, "no process proposes so much");
    Token::new(DISPATCHER | number.get())
}

/// The number that the dispatcher's core gave, if the token is its.
pub(crate) fn dispatched(token: Token) -> Option<Token> {
    let is_its = !is_proposal(token) && token.get() & DISPATCHER != 0;
    is_its.then(|| Token::new(token.get() & !DISPATCHER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_tell_their_owner() {
        let (command, batch) = (Token::new(7), Token::new(1 << 63 | 1 << 62));
        assert_eq!((dispatched(command), dispatched(batch)), (None, None));
        assert!(is_proposal(batch) && !is_proposal(command));
        let ours = dispatcher(command);
        assert_eq!(dispatched(ours), Some(command));
        assert!(!is_proposal(ours));
    }
}
