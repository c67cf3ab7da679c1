//! The terms of all entries in the log, as runs: terms change rarely.

use std::collections::VecDeque;

use tidings_types::offset::{LogIndex, Term};

/// See the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Last entry that is gone.
    base: (LogIndex, Term),
    /// First entry of each run.
    runs: VecDeque<(LogIndex, Term)>,
    last: LogIndex,
}

impl Terms {
    /// A log whose entries up to `base` are gone and which has no others.
    pub(crate) fn new(base: (LogIndex, Term)) -> Self {
        Self { base, runs: VecDeque::new(), last: base.0 }
    }

    pub(crate) fn base(&self) -> (LogIndex, Term) {
        self.base
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.last
    }

    /// The term of an entry that is in the log, or of the last one that is gone.
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        if index < self.base.0 || self.last < index {
            return None;
        }
        let n_upto = self.runs.partition_point(|&(first, _)| first <= index);
        self.runs.get(n_upto.checked_sub(1)?).map(|&(_, term)| term)
    }

    /// Replaces what is at the index and after it by one entry.
    pub(crate) fn put(&mut self, index: LogIndex, term: Term) {
        assert!(self.base.0 < index, "entry {index} is gone");
        assert!(index <= self.last.next(), "entry {index} leaves a gap");
        while self.runs.back().is_some_and(|&(first, _)| index <= first) {
            self.runs.pop_back();
        }
        if self.runs.back().is_none_or(|&(_, last)| last != term) {
            self.runs.push_back((index, term));
        }
        self.last = index;
    }

    /// Replaces what is at the runs' first entry and after it; the runs end with `last`.
    pub(crate) fn put_runs(&mut self, runs: &[(LogIndex, Term)], last: LogIndex) {
        for &(first, term) in runs {
            self.put(first, term);
            self.last = last;
        }
    }

    /// Lets entries up to this one go.
    pub(crate) fn purge(&mut self, base: (LogIndex, Term)) {
        while let Some(&(_, term)) = self.runs.front() {
            let ends_at = self.runs.get(1).map_or(self.last.next(), |&(next, _)| next);
            self.runs.pop_front();
            if base.0.next() < ends_at {
                self.runs.push_front((base.0.next(), term));
                break;
            }
        }
        self.base = base;
        self.last = self.last.max(base.0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Runs must answer like a plain map. We append, replace and purge at random.
        #[test]
        fn terms_answer_like_a_map(steps in prop::collection::vec((0_u8..8, 0_u64..5), 0..60)) {
            let mut terms = Terms::default();
            let mut model = BTreeMap::<u64, u64>::from([(0, 0)]);
            for (step, back) in steps {
                let (&first, _) = model.first_key_value().unwrap();
                let (&last, _) = model.last_key_value().unwrap();
                let at = last.saturating_sub(back).max(first);
                if step == 0 {
                    terms.purge((LogIndex::new(at), Term::new(model[&at])));
                    model = model.split_off(&at);
                } else {
                    let index = if step < 6 { last + 1 } else { at + 1 };
                    let term = u64::from(step) / 3;
                    terms.put(LogIndex::new(index), Term::new(term));
                    model.split_off(&index);
                    model.insert(index, term);
                }
                for index in 0..70 {
                    let term = terms.term(LogIndex::new(index)).map(Term::get);
                    prop_assert_eq!(term, model.get(&index).copied());
                }
            }
        }
    }
}
