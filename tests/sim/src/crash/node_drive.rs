//! A lone node's replica and writer, driven in one thread until there is nothing more to do.

use std::time::Duration;

use tidings_log::{Checkpoint, Job, MemoryDisk, Opened, Writer, checkpoint};
use tidings_replica::{Input, Now, Options, Output, Proposal, Replica, Role, Stored};
use tidings_types::effect::{Answer, Effect, Refused};
use tidings_types::id::{NodeId, Token};
use tidings_types::layout::entry::SectionKind;
use tidings_types::offset::LogIndex;

use crate::crash::life::Stop;
use crate::crash::node_told::{Sent, Told};

/// See the module's description.
pub(crate) struct Node<'a> {
    pub(crate) told: &'a mut Told,
    pub(crate) replica: Replica,
    disk: &'a MemoryDisk,
    writer: Writer,
    jobs: Vec<Job>,
    /// It is written elsewhere, some time; and what is to stay beside it.
    checkpoint: Option<(Checkpoint, LogIndex)>,
    now: Duration,
    token: u64,
    /// The answer to the last command.
    pub(crate) answer: Option<Result<Answer, Refused>>,
}

impl<'a> Node<'a> {
    /// Starts the replica, which leads as soon as its first entry is durable.
    pub(crate) fn open(
        told: &'a mut Told,
        disk: &'a MemoryDisk,
        opened: Opened,
    ) -> Result<Self, Stop> {
        let Opened { log, writer, checkpoint, hard_state, purged, replay, .. } = opened;
        let stored = Stored { log, checkpoint, hard_state, purged, replay };
        let node = NodeId::new(1);
        let options = Options::new(node, vec![node], 1);
        let mut out = Vec::new();
        let now = Now { mono: Duration::ZERO, wall_ms: 1_700_000_000_000 };
        let replica = Replica::open(options, stored, now, &mut out);
        let replica = replica.map_err(|error| Stop::Refused(error.to_string()))?;
        let (jobs, checkpoint, now, token) = (Vec::new(), None, Duration::ZERO, 0);
        let answer = None;
        let mut node = Self { told, replica, disk, writer, jobs, checkpoint, now, token, answer };
        node.settle(out)?;
        if node.replica.status().role != Role::Leader {
            return Err(Stop::wrong("a lone voter does not lead"));
        }
        Ok(node)
    }

    /// Ends in order.
    pub(crate) fn close(mut self) -> Result<(), Stop> {
        Ok(self.writer.close()?)
    }

    /// Proposes one section, and does all that follows from it.
    pub(crate) fn propose(&mut self, kind: SectionKind, body: bytes::Bytes) -> Result<(), Stop> {
        let token = self.token();
        self.answer = None;
        self.input(Input::Propose(vec![Proposal { token, kind, body, may_wait: false }]))
    }

    pub(crate) fn token(&mut self) -> Token {
        self.token += 1;
        Token::new(self.token)
    }

    pub(crate) fn input(&mut self, input: Input) -> Result<(), Stop> {
        let mut out = Vec::new();
        self.now += Duration::from_millis(50);
        self.replica.step(self.moment(), input, &mut out);
        self.settle(out)
    }

    /// What the threads beside the writer do.
    pub(crate) fn chores(&mut self, is_idle: bool) -> Result<(), Stop> {
        if is_idle {
            self.writer.idle_mark()?;
        }
        Ok(self.writer.prepare()?)
    }

    /// Writes the checkpoint that was asked for, if there is one.
    pub(crate) fn write_checkpoint(&mut self) -> Result<(), Stop> {
        let Some((made, keep)) = self.checkpoint.take() else { return Ok(()) };
        let index = made.index;
        let is_written = checkpoint::write_keeping(self.disk, &made, keep).is_ok();
        if !is_written {
            return self.input(Input::CheckpointFailed { index });
        }
        self.told.checkpoint = index;
        self.input(Input::CheckpointWritten { index })
    }

    fn moment(&self) -> Now {
        let wall_ms = 1_700_000_000_000 + self.now.as_millis() as u64;
        Now { mono: self.now, wall_ms }
    }

    fn settle(&mut self, mut out: Vec<Output>) -> Result<(), Stop> {
        loop {
            let mut inputs = Vec::new();
            for output in std::mem::take(&mut out) {
                self.carry_out(output, &mut inputs)?;
            }
            if self.told.state.applied() < self.replica.state().applied() {
                self.told.state = self.replica.state().clone();
                self.told.term = self.told.term.max(self.replica.status().term);
            }
            if !self.jobs.is_empty() {
                let done = self.writer.write(std::mem::take(&mut self.jobs))?;
                let unsynced = self.told.witness.unsynced();
                if unsynced > 0 {
                    let what = format!("{unsynced} bytes are acknowledged and not synced");
                    return Err(Stop::wrong(what));
                }
                inputs.push(Input::Persisted(done));
            }
            if inputs.is_empty() {
                return Ok(());
            }
            let now = self.moment();
            inputs.into_iter().for_each(|input| self.replica.step(now, input, &mut out));
        }
    }

    fn carry_out(&mut self, output: Output, inputs: &mut Vec<Input>) -> Result<(), Stop> {
        match output {
            Output::Write(job) => self.jobs.push(job),
            Output::Applied { effects, .. } => {
                effects.iter().try_for_each(|it| self.applied(it))?
            }
            Output::Answered { answer, .. } => self.answer = Some(answer),
            Output::Checkpoint { index, term, membership, state, local, keep } => {
                let state = state.encode();
                let made = Checkpoint { index, term, membership, state, local };
                self.checkpoint = Some((made, keep));
            }
            Output::ReadCheckpoint { index, at, max_bytes } => {
                let read = checkpoint::read_part(self.disk, index, at, max_bytes)?;
                let (bytes, total) = read.map_or((None, 0), |(read, n)| (Some(read.into()), n));
                inputs.push(Input::CheckpointRead { index, at, bytes, total });
            }
            Output::Fetch { first, max_bytes } => {
                let read = self.replica.reader().read_entries(first, max_bytes);
                inputs.push(Input::Fetched(read.unwrap_or_default()));
            }
            Output::Refused { reason, .. } => return Err(Stop::wrong(reason.to_string())),
            Output::Damaged(damage) => return Err(Stop::wrong(damage.to_string())),
            Output::Install { .. } | Output::Restored { .. } | Output::Unknown { .. } => {
                return Err(Stop::wrong(format!("a lone leader says {output:?}")));
            }
            Output::Send { .. } | Output::Taken { .. } | Output::RoleChanged { .. } => {}
        }
        Ok(())
    }

    fn applied(&mut self, effect: &Effect) -> Result<(), Stop> {
        let Effect::Published(published) = effect else { return Ok(()) };
        let (producer, sequence) = (published.producer, published.sequence.get());
        let placed = match &published.result {
            Ok(placed) => *placed,
            Err(refused) => {
                return Err(Stop::wrong(format!("batch {sequence} of {producer}: {refused}")));
            }
        };
        if let Some(known) = self.told.sent.get(&(producer, sequence)) {
            // A repeat is answered as the first one was.
            return if known.placed == placed {
                Ok(())
            } else {
                let (first, then) = (known.placed.first, placed.first);
                Err(Stop::wrong(format!("batch {sequence} stands at {first} and at {then}")))
            };
        }
        let unanswered = self.told.unanswered.get(&producer);
        let Some((_, section)) = unanswered.filter(|it| it.0 == sequence).cloned() else {
            return Err(Stop::wrong(format!("batch {sequence} of {producer} was never sent")));
        };
        self.told.unanswered.remove(&producer);
        self.told.sent.insert((producer, sequence), Sent { section, placed });
        Ok(())
    }
}
