//! Any entries into the state machine.

use bytes::Bytes;
use tidings_state::State;
use tidings_types::offset::LogIndex;

use super::split::parts;

/// Entries that would go through a log of any length.
const ENTRIES_MAX: usize = 64;

/// No entry may make it panic; two replicas must come to the same state and the same effects; and
/// what it came to must be sound: a checkpoint of it decodes, to the same state.
pub fn run(bytes: &[u8]) {
    let (mut one, mut other) = (State::new(), State::new());
    let mut index = LogIndex::ZERO;
    for part in parts(bytes).into_iter().take(ENTRIES_MAX) {
        let data = Bytes::copy_from_slice(part);
        let (mut effects, mut other_effects) = (Vec::new(), Vec::new());
        let applied = one.apply(index.next(), &data, &mut effects);
        let also = other.apply(index.next(), &data, &mut other_effects);
        assert_eq!((&applied, &effects), (&also, &other_effects));
        if applied.is_ok() {
            index = index.next();
        } else {
            assert!(effects.is_empty(), "a malformed entry changes nothing");
        }
        assert_eq!(one.applied(), index);
    }
    assert_eq!(one.digest(), other.digest());
    let restored = State::decode(&one.encode());
    assert_eq!(restored.as_ref(), Ok(&one));
    assert_eq!(one.group_snapshots(), other.group_snapshots());
}
