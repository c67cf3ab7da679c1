//! The life of a log alone, as a follower's: batches, conflicts, votes, purges, snapshots.

use std::sync::Arc;

use bytes::Bytes;
use tidings_log::{Checkpoint, Entry, HardState, Job, Log, MemoryDisk, Writer, checkpoint};
use tidings_types::id::NodeId;
use tidings_types::offset::{LogIndex, Term};
use tidings_types::seam::{Rng, SplitMix};

use crate::crash::life::{Ending, Life, Starts, Stop};
use crate::crash::log_model::{Expected, Model, Op};
use crate::crash::witness::Witness;

/// Steps of a whole life.
const STEPS: u64 = 64;
/// Body of an entry whose frame takes 1 KiB: then frames of an unfinished batch lie where those of
/// the next one will end.
const BODY: usize = 1024 - 48;

/// See the module's description.
pub(crate) struct LogLife {
    rng: SplitMix,
    starts: Starts,
    expected: Expected,
    witness: Arc<Witness>,
    /// The newest checkpoint that is durable.
    checkpoint: LogIndex,
    n_again: u64,
}

impl Default for LogLife {
    fn default() -> Self {
        Self {
            rng: SplitMix::new(5),
            starts: Starts::default(),
            expected: Expected::default(),
            witness: Arc::default(),
            checkpoint: LogIndex::ZERO,
            n_again: 0,
        }
    }
}

/// What a running process has.
struct Running<'a> {
    life: &'a mut LogLife,
    disk: &'a MemoryDisk,
    log: Log,
    writer: Writer,
    /// What is to be written at once, and what it comes to.
    jobs: Vec<Job>,
    ops: Vec<Op>,
    /// The model as it will be once that is written.
    next: Model,
}

impl Life for LogLife {
    fn live(&mut self, disk: &MemoryDisk, ending: Ending) -> Result<(), Stop> {
        disk.watch(self.witness.clone());
        let mut running = self.start(disk)?;
        for step in 0..STEPS {
            running.step(step)?;
        }
        match ending {
            Ending::Closed => running.writer.close()?,
            Ending::Idle => running.writer.idle_mark()?,
        }
        Ok(())
    }

    fn again(&mut self, disk: &MemoryDisk) -> Result<(), Stop> {
        self.n_again += 1;
        let n_again = self.n_again;
        let mut running = self.start(disk)?;
        // First a few frames of one size and nothing else: they may end where an old one begins.
        let n_entries = 1 + running.life.rng.below(3);
        for _ in 0..n_entries {
            running.append(1, BODY);
            running.write()?;
        }
        running.writer.prepare()?;
        if n_again > 1 {
            for step in 0..6 {
                running.step(n_again * 7 + step)?;
            }
        }
        Ok(())
    }
}

impl LogLife {
    fn start<'a>(&'a mut self, disk: &'a MemoryDisk) -> Result<Running<'a>, Stop> {
        let mut opened = self.starts.open(disk)?;
        let mut replayed = Vec::new();
        for entry in opened.replay.by_ref() {
            replayed.push(entry?);
        }
        self.expected.compare(Model::of(&opened, &replayed)?)?;
        let found = opened.checkpoint.as_ref().map_or(LogIndex::ZERO, |found| found.index);
        if found < self.checkpoint {
            let known = self.checkpoint;
            return Err(Stop::Refused(format!("checkpoint {known} is gone, {found} is there")));
        }
        let mut log = opened.log;
        log.restore(replayed);
        let next = self.expected.acked().clone();
        log.applied(next.hard_state.commit.max(found));
        let (jobs, ops, writer) = (Vec::new(), Vec::new(), opened.writer);
        Ok(Running { life: self, disk, log, writer, jobs, ops, next })
    }
}

impl Running<'_> {
    fn step(&mut self, step: u64) -> Result<(), Stop> {
        let n = 1 + self.life.rng.below(4);
        match step % 16 {
            // A vote, and nothing else.
            1 => self.vote(),
            3 => {
                // A new leader replaces what is not committed.
                self.conflict();
                self.append(n, 300);
            }
            5 => {
                self.append(n, 40);
                self.write()?;
                self.writer.idle_mark()?;
            }
            7 => {
                self.append(6, BODY);
                self.commit(2);
                self.append(3, 900);
            }
            10 => self.commit(0),
            11 => self.checkpoint_and_purge()?,
            14 if step > 32 => self.install()?,
            _ => {
                let n_bytes = match step % 3 {
                    0 => BODY,
                    1 => 17,
                    _ => 2000,
                };
                self.append(n + 2, n_bytes);
            }
        }
        self.write()?;
        self.writer.prepare()?;
        Ok(())
    }

    fn term(&self) -> Term {
        self.next.hard_state.term.max(Term::new(1))
    }

    fn take(&mut self, job: Job, ops: impl IntoIterator<Item = Op>) {
        self.jobs.push(job);
        for op in ops {
            self.ops.push(op);
            self.next.apply(op);
        }
    }

    fn append(&mut self, n_entries: u64, n_bytes: usize) {
        let (last, term) = (self.next.last(), self.term());
        self.append_behind(last, n_entries, n_bytes, term);
    }

    fn append_behind(&mut self, last: LogIndex, n_entries: u64, n_bytes: usize, term: Term) {
        let entry = |n| {
            let index = last.plus(n);
            let filler = index.get().wrapping_mul(31).wrapping_add(term.get()) as u8 | 1;
            Entry { index, term, kind: 1, data: Bytes::from(vec![filler; n_bytes]) }
        };
        let entries: Vec<Entry> = (1..=n_entries).map(entry).collect();
        let ops: Vec<Op> = entries.iter().map(Op::entry).collect();
        let job = self.log.append(entries, None);
        self.take(job, ops);
    }

    fn put_hard_state(&mut self, hard_state: HardState) {
        let job = self.log.append(Vec::new(), Some(hard_state));
        self.take(job, [Op::HardState(hard_state)]);
    }

    fn vote(&mut self) {
        let term = Term::new(self.term().get() + 1);
        let vote = Some(NodeId::new(1 + (term.get() % 3) as u32));
        let commit = self.next.hard_state.commit;
        self.put_hard_state(HardState { term, vote, commit });
    }

    fn conflict(&mut self) {
        self.vote();
        let hard_state = self.next.hard_state;
        let n_open = self.next.last().get() - hard_state.commit.get();
        if let Some(back) = n_open.checked_sub(1).map(|n| 1 + n.min(2)) {
            let last = LogIndex::new(self.next.last().get() - back);
            self.append_behind(last, 1, 77, hard_state.term);
        }
    }

    /// All but so many entries are committed and applied.
    fn commit(&mut self, n_open: u64) {
        let hard_state = self.next.hard_state;
        let commit = LogIndex::new(self.next.last().get().saturating_sub(n_open));
        if hard_state.commit < commit {
            self.put_hard_state(HardState { commit, ..hard_state });
        }
    }

    /// Gives the writer what there is, and takes note of what it acknowledges.
    fn write(&mut self) -> Result<(), Stop> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        self.life.expected.begin(std::mem::take(&mut self.ops));
        let done = self.writer.write(std::mem::take(&mut self.jobs))?;
        let unsynced = self.life.witness.unsynced();
        if unsynced > 0 {
            return Err(Stop::wrong(format!("{unsynced} bytes are acknowledged and not synced")));
        }
        self.log.persisted(&done);
        self.life.expected.ack();
        self.log.applied(self.next.hard_state.commit);
        Ok(())
    }

    fn checkpoint_of(&mut self, index: LogIndex, term: Term) -> Checkpoint {
        let (membership, state) = (vec![1; 9], vec![index.get() as u8; 5000]);
        Checkpoint { index, term, membership, state, local: self.log.local_part() }
    }

    fn checkpoint_and_purge(&mut self) -> Result<(), Stop> {
        let index = self.next.hard_state.commit;
        let Some(term) = self.next.term(index) else { return Ok(()) };
        let made = self.checkpoint_of(index, term);
        if checkpoint::write(self.disk, &made).is_err() {
            // The node goes on without; only a later one counts.
            return Ok(());
        }
        self.log.checkpointed(index);
        self.life.checkpoint = index;
        let purged = LogIndex::new(index.get() - index.get().min(3));
        if let Some(term) = self.next.term(purged) {
            let job = self.log.purge(purged);
            self.take(job, [Op::Purge(purged, term)]);
        }
        Ok(())
    }

    /// A snapshot from the leader, ahead of this log, or behind its uncommitted end.
    fn install(&mut self) -> Result<(), Stop> {
        let is_ahead = self.life.rng.below(2) == 0;
        let hard_state = self.next.hard_state;
        let term = Term::new(hard_state.term.get() + 1);
        let from = if is_ahead { self.next.last() } else { hard_state.commit };
        let index = from.plus(1 + self.life.rng.below(3));
        let made = self.checkpoint_of(index, term);
        let made = Checkpoint { local: Vec::new(), ..made };
        let Ok(digest) = checkpoint::write_installed(self.disk, &made) else { return Ok(()) };
        let job = self.log.reset(index, term, digest);
        self.take(job, [Op::Reset(index, term)]);
        self.put_hard_state(HardState { term, vote: None, commit: index });
        self.append(2, 200);
        self.write()?;
        self.life.checkpoint = index;
        Ok(())
    }
}
