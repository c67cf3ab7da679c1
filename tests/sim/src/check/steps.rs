//! A replica never goes back while it runs, and a restart takes nothing from it that was durable.

use std::collections::BTreeMap;

use tidings_replica::Status;
use tidings_types::id::NodeId;
use tidings_types::offset::Term;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    known: BTreeMap<NodeId, Known>,
}

#[derive(Debug)]
struct Known {
    start: u32,
    last: Status,
    /// The newest term that its disk holds.
    durable: Term,
}

impl Steps {
    /// Where a replica stands, in this start of its node, and whether its disk holds all of it.
    pub(crate) fn stands(
        &mut self,
        node: NodeId,
        start: u32,
        status: &Status,
        is_durable: bool,
    ) -> Result<(), String> {
        let fresh = || Known { start, last: *status, durable: Term::default() };
        let known = self.known.entry(node).or_insert_with(fresh);
        if status.term < known.durable {
            return Err(format!("{node} forgot term {}: {status:?}", known.durable));
        }
        if is_durable {
            known.durable = status.term;
        }
        let (is_same_start, before) = (known.start == start, known.last);
        (known.start, known.last) = (start, *status);
        let is_ordered = status.applied <= status.commit && status.commit <= status.last_index;
        // What was committed is known again only after a while.
        let goes_on = !is_same_start
            || (before.term <= status.term
                && before.commit <= status.commit
                && before.applied <= status.applied);
        if is_ordered && goes_on {
            return Ok(());
        }
        Err(format!("{node} went back: {before:?} and then {status:?}"))
    }
}

#[cfg(test)]
mod tests {
    use tidings_replica::Role;
    use tidings_types::offset::LogIndex;

    use super::*;

    fn status(term: u64, commit: u64) -> Status {
        Status {
            role: Role::Follower,
            leader: None,
            term: Term::new(term),
            commit: LogIndex::new(commit),
            applied: LogIndex::new(commit),
            last_index: LogIndex::new(9),
        }
    }

    /// A step back must be found, but for what a restart may forget.
    #[test]
    fn steps_back_are_found() {
        let node = NodeId::new(1);
        let mut steps = Steps::default();
        assert_eq!(steps.stands(node, 1, &status(3, 5), true), Ok(()));
        assert_eq!(steps.stands(node, 1, &status(4, 5), false), Ok(()));
        assert_eq!(steps.stands(node, 2, &status(3, 4), true), Ok(()));
        assert!(steps.stands(node, 2, &status(3, 3), true).is_err());
        assert!(steps.stands(node, 3, &status(2, 5), true).is_err());
    }
}
