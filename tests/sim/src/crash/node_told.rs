//! What a lone node told anybody: it outlives its crashes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidings_state::State;
use tidings_types::effect::Placed;
use tidings_types::id::ProducerId;
use tidings_types::offset::{LogIndex, Term};
use tidings_types::seam::SplitMix;

use crate::crash::witness::Witness;

/// A batch, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) section: Bytes,
    pub(crate) placed: Placed,
}

/// See the module's description.
pub(crate) struct Told {
    pub(crate) rng: SplitMix,
    pub(crate) witness: Arc<Witness>,
    /// The state as of the last entry that somebody was told of.
    pub(crate) state: State,
    pub(crate) term: Term,
    /// The newest checkpoint that the node knew to be durable.
    pub(crate) checkpoint: LogIndex,
    /// Answered batches of each producer, by their sequence.
    pub(crate) sent: BTreeMap<(ProducerId, u64), Sent>,
    /// Batches that have no answer yet: they are sent again.
    pub(crate) unanswered: BTreeMap<ProducerId, (u64, Bytes)>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            rng: SplitMix::new(9),
            witness: Arc::default(),
            state: State::new(),
            term: Term::ZERO,
            checkpoint: LogIndex::ZERO,
            sent: BTreeMap::new(),
            unanswered: BTreeMap::new(),
        }
    }
}
