//! At most one replica leads in a term.

use std::collections::BTreeMap;

use tidings_types::id::NodeId;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    by_term: BTreeMap<u64, NodeId>,
}

impl Leaders {
    /// A replica leads in this term.
    pub(crate) fn leads(&mut self, node: NodeId, term: u64) -> Result<(), String> {
        let first = *self.by_term.entry(term).or_insert(node);
        if first == node { Ok(()) } else { Err(format!("{first} and {node} lead in term {term}")) }
    }

    pub(crate) fn n_terms(&self) -> u64 {
        self.by_term.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two in one term must be found, one in two terms be allowed.
    #[test]
    fn two_leaders_of_a_term_are_found() {
        let mut leaders = Leaders::default();
        let [a, b] = [1, 2].map(NodeId::new);
        assert_eq!(leaders.leads(a, 3), Ok(()));
        assert_eq!(leaders.leads(a, 3), Ok(()));
        assert_eq!(leaders.leads(b, 4), Ok(()));
        assert!(leaders.leads(b, 3).is_err());
    }
}
