//! Election timeouts from our own generator, so that a seed repeats a run.

use raft::{INVALID_ID, StateRole};
use tidings_types::seam::{Rng, SplitMix};

use crate::options::{Options, Pace};

/// Draws election timeouts, a new one whenever the role, the term or the leader changes.
pub(crate) struct Elections {
    rng: SplitMix,
    pace: Pace,
    place: (u64, StateRole, u64),
    n_ticks: usize,
}

impl Elections {
    pub(crate) fn new(options: &Options) -> Self {
        // Nodes that were given one seed must differ all the same.
        let rng = SplitMix::new(options.seed ^ u64::from(options.node.get()).rotate_left(32));
        let place = (0, StateRole::Follower, INVALID_ID);
        let mut elections = Self { rng, pace: options.pace, place, n_ticks: 0 };
        elections.redraw();
        elections
    }

    pub(crate) fn timeout(&mut self, place: (u64, StateRole, u64)) -> usize {
        if self.place != place {
            self.place = place;
            self.redraw();
        }
        self.n_ticks
    }

    pub(crate) fn redraw(&mut self) {
        let (min, end) = (self.pace.election_ticks_min(), self.pace.election_ticks_end());
        let above = self.rng.below((end - min) as u64);
        self.n_ticks = min + usize::try_from(above).expect("a few dozen ticks");
    }
}
