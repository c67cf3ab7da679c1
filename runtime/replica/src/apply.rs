//! Applying committed entries: to the state, to the log's index of events, to cluster time.
//!
//! The same code replays a log at the start and follows it while the replica lives; only what is
//! done with the effects differs.

use bytes::Bytes;
use tidings_log::Log;
use tidings_state::State;
use tidings_types::bugs::{Bug, is_planted};
use tidings_types::effect::Effect;
use tidings_types::layout::Malformed;
use tidings_types::offset::{LogIndex, Term};

/// See the module's description.
pub(crate) struct Machine {
    state: State,
    /// The term of the last entry that was applied.
    term: Term,
    /// The last entry that was applied and said more than "make a checkpoint".
    changed: LogIndex,
    effects: Vec<Effect>,
    /// The state after what is only appended: for the bug that does not wait for the commit.
    ahead: Option<State>,
}

impl Machine {
    /// Goes on from a checkpoint's state, or from the empty one.
    pub(crate) fn new(state: State, term: Term) -> Self {
        let changed = state.applied();
        Self { state, term, changed, effects: Vec::new(), ahead: None }
    }

    /// Applies an entry; a change of the membership comes without data. Answers with what it
    /// added to [`Machine::take_effects`].
    pub(crate) fn apply(
        &mut self,
        (index, term): (LogIndex, Term),
        data: &Bytes,
        log: &mut Log,
    ) -> Result<&[Effect], Malformed> {
        let n_before = self.effects.len();
        self.state.apply(index, data, &mut self.effects)?;
        self.term = term;
        let mut has_changed = !data.is_empty();
        let effects = self.effects.get(n_before..).unwrap_or_default();
        for effect in effects {
            match effect {
                Effect::Accepted(accepted) => log.accepted(accepted),
                // With its answer it is the whole entry, as a rule; at worst one checkpoint is late.
                Effect::Checkpoint => has_changed = effects.len() > 2,
                _ => {}
            }
        }
        if has_changed {
            self.changed = index;
        }
        log.applied(index);
        if is_planted(Bug::DispatchOnAppend) && self.ahead.is_some() {
            // They were told when they were appended.
            let mut told = self.effects.split_off(n_before);
            told.retain(|effect| !matches!(effect, Effect::Accepted(_)));
            self.effects.append(&mut told);
        }
        Ok(self.effects.get(n_before..).unwrap_or_default())
    }

    /// A leader's entry is in its log, and not committed. Only the bug makes something of it.
    pub(crate) fn appended(&mut self, index: LogIndex, data: &Bytes) {
        if is_planted(Bug::DispatchOnAppend) {
            let mut ahead = self.ahead.take().unwrap_or_else(|| self.state.clone());
            let mut effects = Vec::new();
            if ahead.apply(index, data, &mut effects).is_ok() {
                let is_event = |effect: &Effect| matches!(effect, Effect::Accepted(_));
                self.effects.extend(effects.into_iter().filter(is_event));
                self.ahead = Some(ahead);
            }
        }
    }

    /// What was appended may never be committed.
    pub(crate) fn lose(&mut self) {
        self.ahead = None;
    }

    /// Everything since the last call, in log order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The state as of the last entry.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// The last entry.
    pub(crate) const fn applied(&self) -> (LogIndex, Term) {
        (self.state.applied(), self.term)
    }

    /// The last entry that makes a checkpoint worth its while.
    pub(crate) const fn changed(&self) -> LogIndex {
        self.changed
    }
}
