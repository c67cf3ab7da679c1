//! All replicas apply the same at an index, and come to the same state.

use std::collections::BTreeMap;

use tidings_types::id::NodeId;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// What the first one applied, by entry and place in it.
    applied: BTreeMap<(u64, u64), (NodeId, u64)>,
    states: BTreeMap<u64, (NodeId, u64)>,
}

impl Agreement {
    /// A replica applied something with this hash.
    pub(crate) fn applied(
        &mut self,
        node: NodeId,
        (index, place): (u64, u64),
        hash: u64,
    ) -> Result<(), String> {
        let (first, known) = *self.applied.entry((index, place)).or_insert((node, hash));
        if known == hash {
            return Ok(());
        }
        Err(format!("{first} and {node} applied different things at entry {index}"))
    }

    /// A replica's state after an entry has this digest.
    pub(crate) fn state(&mut self, node: NodeId, index: u64, digest: u64) -> Result<(), String> {
        let (first, known) = *self.states.entry(index).or_insert((node, digest));
        if known == digest {
            return Ok(());
        }
        Err(format!("{first} and {node} have different states after entry {index}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica that differs at one place must be found, in what it applied and in its state.
    #[test]
    fn difference_is_found() {
        let mut agreement = Agreement::default();
        let [a, b] = [1, 2].map(NodeId::new);
        assert_eq!(agreement.applied(a, (3, 0), 7), Ok(()));
        assert_eq!(agreement.applied(b, (3, 0), 7), Ok(()));
        assert_eq!(agreement.applied(b, (3, 1), 8), Ok(()));
        assert!(agreement.applied(b, (3, 0), 8).is_err());
        assert_eq!(agreement.state(a, 3, 7), Ok(()));
        assert!(agreement.state(b, 3, 8).is_err());
    }
}
