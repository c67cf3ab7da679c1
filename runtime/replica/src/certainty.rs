//! Whether a leader can be sure that nobody else leads by now.
//!
//! Every heartbeat carries the moment it was sent; its answer carries it back. While a majority
//! answered one that was sent a moment ago, no other leader can have been elected since: those who
//! heard of a leader do not vote for another before an election's shortest time. The one way around
//! that is a leader that hands over: it is not sure before whom it asked has heard of it since, and
//! then does not take up an offer that is older.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::eraftpb::ConfState;

/// An answer to a heartbeat that was sent longer ago proves nothing; times the pace.
pub(crate) const CERTAIN_FOR: Duration = Duration::from_millis(250);
/// No message is under way for so long: links end after less silence.
const OFFER_LASTS: Duration = Duration::from_secs(10);

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Certainty {
    term: u64,
    /// When the newest heartbeat that it answered was sent.
    answered: BTreeMap<u64, Duration>,
    /// To whom leadership was offered last, and when.
    offered: Option<(u64, Duration)>,
}

impl Certainty {
    fn enter(&mut self, term: u64) {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
    }

    /// A peer answered a heartbeat of this term.
    pub(crate) fn answered(&mut self, term: u64, from: u64, sent: Duration) {
        self.enter(term);
        let newest = self.answered.entry(from).or_default();
        *newest = sent.max(*newest);
    }

    /// Whether a peer answered a heartbeat that was sent a moment ago.
    pub(crate) fn is_near(
        &self,
        term: u64,
        peer: u64,
        now: Duration,
        certain_for: Duration,
    ) -> bool {
        let answered = self.answered.get(&peer).filter(|_| self.term == term);
        answered.is_some_and(|&sent| now.saturating_sub(sent) < certain_for)
    }

    /// Leadership was offered.
    pub(crate) fn offered(&mut self, term: u64, to: u64, now: Duration) {
        self.enter(term);
        self.offered = Some((to, now));
    }

    /// Whether the leader of this term is sure.
    pub(crate) fn is_sure(
        &self,
        (node, term): (u64, u64),
        conf: &ConfState,
        now: Duration,
        certain_for: Duration,
    ) -> bool {
        let is_recent = |sent: Duration| sent <= now && now - sent < certain_for;
        let has_answered = |&voter: &u64| {
            let answered = self.answered.get(&voter).copied();
            voter == node || self.term == term && answered.is_some_and(is_recent)
        };
        let is_majority = |voters: &[u64]| {
            voters.is_empty()
                || voters.len() / 2 < voters.iter().filter(|it| has_answered(it)).count()
        };
        is_majority(&conf.voters)
            && is_majority(&conf.voters_outgoing)
            && !self.is_offer_open(term, now)
    }

    fn is_offer_open(&self, term: u64, now: Duration) -> bool {
        let Some((to, at)) = self.offered.filter(|_| self.term == term) else { return false };
        let has_passed_it = self.answered.get(&to).is_some_and(|&sent| at < sent);
        !has_passed_it && now.saturating_sub(at) < OFFER_LASTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(voters: &[u64], voters_outgoing: &[u64]) -> ConfState {
        ConfState {
            voters: voters.to_vec(),
            voters_outgoing: voters_outgoing.to_vec(),
            ..ConfState::default()
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// It counts when the heartbeat was sent, not when its answer came, and of both halves of a
    /// joint membership.
    #[test]
    fn majority_must_have_answered_just_now() {
        let sure = |certainty: &Certainty, conf: &ConfState, now| {
            certainty.is_sure((1, 5), conf, at(now), CERTAIN_FOR)
        };
        let three = conf(&[1, 2, 3], &[]);
        let mut certainty = Certainty::default();
        assert!(sure(&certainty, &conf(&[1], &[]), 0), "a lone voter");
        assert!(!sure(&certainty, &three, 0));
        certainty.answered(5, 2, at(1_000));
        certainty.answered(5, 2, at(900));
        assert!(sure(&certainty, &three, 1_249));
        assert!(!sure(&certainty, &three, 1_250));
        assert!(!sure(&certainty, &three, 999), "sent after now");
        assert!(!sure(&certainty, &conf(&[1, 2, 3], &[3, 4, 5]), 1_100));
        assert!(!certainty.is_sure((1, 6), &three, at(1_100), CERTAIN_FOR), "another term");
        certainty.answered(6, 3, at(1_100));
        assert!(!sure(&certainty, &three, 1_100));
    }

    /// An offer that is under way may make another leader at any time.
    #[test]
    fn offer_ends_certainty_until_it_is_passed() {
        let three = conf(&[1, 2, 3], &[]);
        let mut certainty = Certainty::default();
        let sure =
            |certainty: &Certainty, now| certainty.is_sure((1, 5), &three, at(now), CERTAIN_FOR);
        certainty.offered(5, 2, at(1_000));
        certainty.answered(5, 3, at(1_100));
        assert!(!sure(&certainty, 1_100));
        certainty.answered(5, 2, at(1_000));
        assert!(!sure(&certainty, 1_100));
        certainty.answered(5, 2, at(1_001));
        assert!(sure(&certainty, 1_100));
        certainty.offered(5, 3, at(2_000));
        certainty.answered(5, 2, at(11_999));
        assert!(!sure(&certainty, 11_999));
        assert!(sure(&certainty, 12_000), "it is lost by now");
    }
}
