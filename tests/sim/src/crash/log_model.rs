//! What a log holds, in the plainest form, and all that it may hold after a crash.

use std::collections::BTreeMap;

use tidings_log::{Entry, HardState, Opened};
use tidings_types::offset::{LogIndex, Term};

use crate::crash::life::Stop;

/// What is read at once when the whole log is compared.
const READ_BYTES: usize = 64 << 10;

/// One change, as the log makes them, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Entry { index: LogIndex, term: Term, crc: u32 },
    HardState(HardState),
    Purge(LogIndex, Term),
    Reset(LogIndex, Term),
}

impl Op {
    pub(crate) fn entry(entry: &Entry) -> Self {
        let crc = crc32c::crc32c(&entry.data);
        Self::Entry { index: entry.index, term: entry.term, crc }
    }
}

/// See the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    /// Those that are not purged, by their index.
    entries: BTreeMap<LogIndex, (Term, u32)>,
    purged: (LogIndex, Term),
    pub(crate) hard_state: HardState,
}

impl Model {
    pub(crate) fn apply(&mut self, op: Op) {
        match op {
            Op::Entry { index, term, crc } => {
                self.entries.split_off(&index);
                self.entries.insert(index, (term, crc));
            }
            Op::HardState(hard_state) => self.hard_state = hard_state,
            Op::Purge(index, term) => {
                self.entries = self.entries.split_off(&index.next());
                self.purged = (index, term);
            }
            Op::Reset(index, term) => {
                self.entries.clear();
                self.purged = (index, term);
            }
        }
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.entries.last_key_value().map_or(self.purged.0, |(&index, _)| index)
    }

    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        self.entries.get(&index).map(|&(term, _)| term)
    }

    /// Reads a log that was just opened, and what it replays.
    pub(crate) fn of(opened: &Opened, replayed: &[Entry]) -> Result<Self, Stop> {
        let Opened { log, hard_state, purged, .. } = opened;
        let (purged, hard_state) = (*purged, *hard_state);
        let mut model = Self { entries: BTreeMap::new(), purged, hard_state };
        let mut next = log.first_index();
        while next <= log.last_index() {
            let read = log.reader().read_entries(next, READ_BYTES)?;
            if read.is_empty() {
                return Err(Stop::wrong(format!("entry {next} cannot be read")));
            }
            for entry in read {
                let known = log.term(entry.index);
                if entry.index != next || known != Some(entry.term) {
                    let (index, term) = (entry.index, entry.term);
                    let what = format!("read entry {index} of term {term} for {next} of {known:?}");
                    return Err(Stop::wrong(what));
                }
                model.apply(Op::entry(&entry));
                next = next.next();
            }
        }
        for entry in replayed {
            let crc = crc32c::crc32c(&entry.data);
            if model.entries.get(&entry.index) != Some(&(entry.term, crc)) {
                return Err(Stop::wrong(format!("entry {} is replayed otherwise", entry.index)));
            }
        }
        Ok(model)
    }

    fn describe(&self) -> String {
        let (purged, hard_state) = (self.purged.0, self.hard_state);
        format!("entries {purged}..={} with {hard_state:?}", self.last())
    }
}

/// What was acknowledged, and what was under way when the power went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    acked: Model,
    under_way: Vec<Op>,
}

impl Expected {
    pub(crate) const fn acked(&self) -> &Model {
        &self.acked
    }

    /// A batch is given to the writer.
    pub(crate) fn begin(&mut self, ops: Vec<Op>) {
        self.under_way = ops;
    }

    /// It was acknowledged.
    pub(crate) fn ack(&mut self) {
        for op in std::mem::take(&mut self.under_way) {
            self.acked.apply(op);
        }
    }

    /// After a crash: the log must hold what was acknowledged, and of what was under way a part
    /// from its begin on. From here on that is acknowledged.
    pub(crate) fn compare(&mut self, found: Model) -> Result<(), Stop> {
        let mut candidate = self.acked.clone();
        let mut ops = std::mem::take(&mut self.under_way).into_iter();
        loop {
            if candidate == found {
                self.acked = found;
                return Ok(());
            }
            let Some(op) = ops.next() else { break };
            candidate.apply(op);
        }
        let (found, acked) = (found.describe(), self.acked.describe());
        Err(Stop::wrong(format!("found {found}; acknowledged were {acked}")))
    }
}
