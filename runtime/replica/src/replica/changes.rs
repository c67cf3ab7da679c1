//! Changes of the membership: one at a time, and each is answered.

use tidings_types::effect::Answer;
use tidings_types::id::Token;
use tidings_types::offset::{LogIndex, Term};

use crate::membership::Change;
use crate::port::{Output, ProposeRefused};
use crate::replica::Replica;

impl Replica {
    pub(super) fn change(&mut self, token: Token, change: &Change, out: &mut Vec<Output>) {
        let is_sound = change.is_sound(self.node) && self.consensus.may_make_voters(change);
        let reason = if !self.leads {
            ProposeRefused::NotLeader
        } else if self.change_out.is_some() || !is_sound {
            ProposeRefused::ChangeNotNow
        } else if let Some((index, term)) = self.consensus.propose_change(change) {
            self.change_out = Some((index, term, token));
            return;
        } else {
            ProposeRefused::Busy
        };
        out.push(Output::Refused { token, reason });
    }

    /// The entry of a membership change was applied, or raft-rs put an empty one in its place.
    pub(super) fn settle_change(&mut self, place: (LogIndex, Term), is_done: bool) {
        let is_it = |&mut (index, term, _): &mut (LogIndex, Term, Token)| (index, term) == place;
        let Some((_, _, token)) = self.change_out.take_if(is_it) else { return };
        self.answers.push(if is_done {
            Output::Answered { token, answer: Ok(Answer::Done) }
        } else {
            Output::Refused { token, reason: ProposeRefused::ChangeNotNow }
        });
    }
}
