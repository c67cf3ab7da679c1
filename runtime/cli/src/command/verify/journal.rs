//! The judge's end of the journal: what handlers wrote, put into the history as it comes.
//!
//! Whoever has an answer of the node in hand records it by [`Journal::tell`]: all that handlers wrote
//! before that answer is then in the history before it.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use tidings_check::history::Seen;
use tokio::sync::watch;

use crate::command::verify::fate::GROUPS;
use crate::command::verify::recorder::Recorder;
use crate::command::verify::wire::{Entry, Lines};

/// The node, the topic: a run has one of each.
pub(super) const NODE: u32 = 1;
pub(super) const TOPIC_NUMBER: u32 = 1;
/// So many values of workers a life may make.
const WORKERS_OF_LIFE: u64 = 1 << 32;
const READ_BYTES: usize = 64 << 10;

/// Which life of the node takes work, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    /// Counts the lives from 1; 0 before the first.
    pub(super) life: u64,
    /// None while it does not take work.
    pub(super) port: Option<u16>,
}

impl Address {
    /// The port, if the node takes work.
    pub(super) fn port(self) -> Result<u16, &'static str> {
        self.port.ok_or("the node takes no work")
    }
}

/// See the module's description. Cheap to clone; all clones are one journal.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    inner: Arc<Mutex<Inner>>,
    address: watch::Sender<Address>,
}

#[derive(Debug)]
struct Inner {
    recorder: Recorder,
    stream: Option<UnixStream>,
    life: u64,
    lines: Lines,
    buffer: Vec<u8>,
    groups: [Standing; GROUPS.len()],
    n_garbled: u64,
}

/// How far a group is.
#[derive(Debug, Default)]
struct Standing {
    /// One bit for each offset that a handler began with.
    started: Vec<u64>,
    n_started: u64,
    /// As the node told last. What is settled was started, so the rest may come again.
    n_settled: u64,
}

impl Journal {
    pub(super) fn new(recorder: Recorder) -> Self {
        let inner = Inner {
            recorder,
            stream: None,
            life: 0,
            lines: Lines::default(),
            buffer: vec![0; READ_BYTES],
            groups: Default::default(),
            n_garbled: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)), address: watch::Sender::default() }
    }

    /// Takes the stream of a new life, and reads it from a thread of its own.
    pub(super) fn attach(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let watched = stream.try_clone()?;
        let life = self.lock(|inner| {
            inner.life += 1;
            inner.stream = Some(stream);
            inner.lines = Lines::default();
            inner.recorder.record(Seen::Up { node: NODE });
            inner.life
        });
        self.address.send_replace(Address { life, port: None });
        let journal = self.clone();
        let thread = std::thread::Builder::new().name("verify-journal".to_owned());
        thread.spawn(move || while journal.wait(&watched).is_ok() && journal.pump_of(life) {})?;
        Ok(())
    }

    /// Takes all that has come by now.
    pub(super) fn pump(&self) {
        self.lock(|inner| inner.pump(&self.address));
    }

    /// Puts into the history what a life answered, behind all that its handlers wrote before, and
    /// only if it is the present one: an answer that was overtaken by a death means nothing.
    pub(super) fn tell(&self, life: u64, tell: impl FnOnce(&Recorder)) {
        self.lock(|inner| {
            inner.pump(&self.address);
            if inner.life == life && inner.stream.is_some() {
                tell(&inner.recorder);
            }
        });
    }

    /// The process of this life is gone: takes what it left behind, and closes the life.
    pub(super) fn close_life(&self) {
        self.lock(|inner| {
            inner.pump(&self.address);
            inner.stream = None;
            let in_flight = inner.groups.iter().map(Standing::in_flight).sum();
            inner.recorder.record(Seen::Down { node: NODE, in_flight });
        });
        self.address.send_modify(|address| address.port = None);
    }

    /// Of the group, the node has settled so many events.
    pub(super) fn settled(&self, group: usize, n_settled: u64) {
        self.lock(|inner| {
            if let Some(standing) = inner.groups.get_mut(group) {
                standing.n_settled = standing.n_settled.max(n_settled);
            }
        });
    }

    /// Lines that could not be read: the judge itself cannot be trusted then.
    pub(super) fn n_garbled(&self) -> u64 {
        self.lock(|inner| inner.n_garbled)
    }

    /// Tells of each life, and of the port of each that takes work.
    pub(super) fn address(&self) -> watch::Receiver<Address> {
        self.address.subscribe()
    }

    fn wait(&self, stream: &UnixStream) -> io::Result<()> {
        retry_on_intr(|| poll(&mut [PollFd::new(stream, PollFlags::IN)], None))?;
        Ok(())
    }

    /// As [`pump`](Self::pump), for the thread of one life; `false` at the life's end.
    fn pump_of(&self, life: u64) -> bool {
        self.lock(|inner| {
            if inner.life != life || inner.stream.is_none() {
                return false;
            }
            inner.pump(&self.address);
            inner.stream.is_some()
        })
    }

    fn lock<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn pump(&mut self, address: &watch::Sender<Address>) {
        loop {
            let Some(stream) = self.stream.as_mut() else { return };
            match stream.read(&mut self.buffer) {
                Ok(0) => self.stream = None,
                Ok(n_bytes) => self.take(n_bytes, address),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.stream = None,
            }
        }
    }

    fn take(&mut self, n_bytes: usize, address: &watch::Sender<Address>) {
        let Self { lines, buffer, recorder, groups, n_garbled, life, .. } = self;
        let first_worker = *life * WORKERS_OF_LIFE;
        lines.take(buffer.get(..n_bytes).unwrap_or_default(), |entry| match entry {
            Some(Entry::Up { port }) => {
                address.send_modify(|address| address.port = Some(port));
            }
            Some(Entry::Start { group, worker, offset, event, key, is_whole, attempt }) => {
                if let Some(standing) = groups.get_mut(group as usize) {
                    standing.start(offset);
                }
                let (node, topic, worker) = (NODE, TOPIC_NUMBER, first_worker + worker);
                recorder.record(Seen::Started {
                    group,
                    node,
                    worker,
                    topic,
                    offset,
                    event,
                    key,
                    is_whole,
                    attempt,
                    epoch: None,
                });
            }
            Some(Entry::End { group, worker, offset, outcome }) => {
                let (node, topic, worker) = (NODE, TOPIC_NUMBER, first_worker + worker);
                recorder.record(Seen::Ended { group, node, worker, topic, offset, outcome });
            }
            None => *n_garbled += 1,
        });
    }
}

impl Standing {
    fn start(&mut self, offset: u64) {
        let (idx, bit) = (usize::try_from(offset / 64).unwrap_or(usize::MAX), 1 << (offset % 64));
        // An offset from a damaged line must not take all memory.
        let limit = self.started.len() + (1 << 20);
        if limit <= idx {
            return;
        }
        if self.started.len() <= idx {
            self.started.resize(idx + 1, 0);
        }
        if let Some(word) = self.started.get_mut(idx).filter(|word| **word & bit == 0) {
            *word |= bit;
            self.n_started += 1;
        }
    }

    fn in_flight(&self) -> u64 {
        self.n_started.saturating_sub(self.n_settled)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufReader, Write};

    use tidings_check::history::{Outcome, jsonl};

    use super::*;

    /// A node dies in the middle of a line: all whole lines must be in the history before its
    /// death, the half one must be in it nowhere, and what may come again must be counted.
    #[test]
    fn a_life_is_read_to_its_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let (recorder, writing) = Recorder::begin(&path).unwrap();
        let journal = Journal::new(recorder);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        journal.attach(ours).unwrap();
        theirs.write_all(b"up 4711\nstart 0 1 5 9 3 1 1\nend 0 1 5 done\nnonsense\n").unwrap();
        theirs.write_all(b"start 0 1 6 10 3 1 1\nstart 0 2 6 10 3 1 2\nstart 0 1 7 1").unwrap();
        journal.pump();
        assert_eq!(*journal.address().borrow(), Address { life: 1, port: Some(4_711) });
        journal.settled(0, 1);
        drop(theirs);
        journal.close_life();
        assert_eq!(*journal.address().borrow(), Address { life: 1, port: None });
        assert_eq!(journal.n_garbled(), 1);
        writing.end().unwrap();

        let history = jsonl::load(BufReader::new(File::open(&path).unwrap())).unwrap();
        let seen: Vec<_> = history.lines.into_iter().map(|line| line.seen).collect();
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert_eq!(seen[0], Seen::Up { node: NODE });
        assert!(matches!(seen[1], Seen::Started { offset: 5, event: 9, attempt: 1, .. }));
        assert!(matches!(seen[2], Seen::Ended { offset: 5, outcome: Outcome::Done, .. }));
        assert_eq!(seen[5], Seen::Down { node: NODE, in_flight: 1 });
    }
}
