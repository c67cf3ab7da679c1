//! The services that run in the node under test: one succeeds, one fails on purpose, one is slow.
//!
//! Each handling writes its begin and its end to the journal, which another process owns, before it
//! returns: so before the node can take it as an ack. A node that dies takes nothing of that along.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidings::Event;
use tidings::codec::{DecodeError, EncodeError};
use tidings::cx::Cx;
use tidings::failure::{Failure, Handled};
use tidings::handle::Handle;
use tidings::node::Node;
use tidings::plan::{Plan, Retry};
use tidings::service::Service;
use tidings::units::Units;
use tidings_check::history::Outcome;

use crate::command::verify::fate::{ATTEMPTS_MAX, Fate, Fates, GROUPS};
use crate::command::verify::payload::{Found, key_text, look};
use crate::command::verify::wire::Entry;

/// Where the run's events are published.
pub(super) const TOPIC: &str = "verify";
/// The name of their type.
pub(super) const KIND: &str = "verify.event.v1";

/// The exit code of a node whose judge is gone.
const EXIT_ALONE: i32 = 3;

/// The way to the judge.
#[derive(Debug)]
pub(super) struct Journal {
    stream: Mutex<UnixStream>,
    n_workers: AtomicU64,
}

impl Journal {
    /// Takes standard input, which must be a socket, and ends the process when the judge closes it.
    pub(super) fn on_stdin() -> io::Result<Arc<Self>> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Fails if it is no socket.
        stream.local_addr()?;
        let mut watched = stream.try_clone()?;
        std::thread::Builder::new().name("verify-judge".to_owned()).spawn(move || {
            // The judge never writes: whatever this gives, the judge is gone.
            let _ = watched.read(&mut [0]);
            std::process::exit(EXIT_ALONE);
        })?;
        Ok(Arc::new(Self { stream: Mutex::new(stream), n_workers: AtomicU64::new(0) }))
    }

    /// Writes a line. A node that cannot must not ack either, so it ends.
    pub(super) fn write(&self, entry: Entry) {
        let line = format!("{entry}\n");
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.write_all(line.as_bytes()).is_err() {
            std::process::exit(EXIT_ALONE);
        }
    }
}

/// Adds the services to the node.
pub(super) fn add_to(node: Node, journal: &Arc<Journal>, fates: Fates) -> Node {
    let desk = |group: u32| {
        let journal = Arc::clone(journal);
        move || {
            let worker = journal.n_workers.fetch_add(1, Ordering::Relaxed);
            Desk { group, worker, journal: Arc::clone(&journal), fates }
        }
    };
    let (plain, flaky, slow) = (desk(0), desk(1), desk(2));
    node.service(move || Plain(plain()))
        .service(move || Flaky(flaky()))
        .service(move || Slow(slow()))
}

/// An event of the run, as a handler gets it. Damage is found and told, not refused.
struct Probe(Found);

impl Event for Probe {
    const TOPIC: &'static str = TOPIC;
    const KIND: &'static str = KIND;

    fn key(&self) -> impl Display {
        key_text(self.0.key)
    }

    fn encode(&self, _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Err(EncodeError::new("events of the run come over HTTP"))
    }

    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(look(payload)))
    }
}

/// What each worker has.
struct Desk {
    group: u32,
    worker: u64,
    journal: Arc<Journal>,
    fates: Fates,
}

impl Desk {
    fn begin(&self, Probe(found): &Probe, cx: &Cx) -> Turn {
        let &Found { event, key, is_whole } = found;
        let is_whole = is_whole && cx.key() == key_text(key).as_bytes();
        let (group, worker, offset, attempt) =
            (self.group, self.worker, cx.offset().get(), cx.attempt());
        self.journal.write(Entry::Start { group, worker, offset, event, key, is_whole, attempt });
        let journal = Some(Arc::clone(&self.journal));
        Turn { group, worker, offset, attempt, journal }
    }
}

/// One handling. However it ends, by a panic or at its deadline, the journal is told.
struct Turn {
    group: u32,
    worker: u64,
    offset: u64,
    attempt: u32,
    journal: Option<Arc<Journal>>,
}

impl Turn {
    fn done(mut self) -> Handled {
        self.end(Outcome::Done);
        Ok(())
    }

    fn fatal(mut self) -> Handled {
        self.end(Outcome::Dead);
        Err(Failure::fatal("given up on purpose"))
    }

    fn again(mut self) -> Handled {
        self.fail();
        Err(Failure::again("failed on purpose"))
    }

    fn fail(&mut self) {
        let is_last = ATTEMPTS_MAX <= self.attempt;
        self.end(if is_last { Outcome::Dead } else { Outcome::Again });
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(journal) = self.journal.take() {
            let Self { group, worker, offset, .. } = *self;
            journal.write(Entry::End { group, worker, offset, outcome });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.fail();
    }
}

struct Plain(Desk);

struct Flaky(Desk);

struct Slow(Desk);

fn plan<S: Handle<Probe>>(plan: Plan<S>, n_workers: usize) -> Plan<S> {
    let retry = Retry::exponential(20.millis()..=200.millis()).attempts(ATTEMPTS_MAX);
    plan.workers(n_workers).on::<Probe>(|handler| handler.retry(retry))
}

impl Service for Plain {
    const GROUP: &'static str = GROUPS[0];

    fn plan(plan_of: Plan<Self>) -> Plan<Self> {
        plan(plan_of, 4)
    }
}

impl Service for Flaky {
    const GROUP: &'static str = GROUPS[1];

    fn plan(plan_of: Plan<Self>) -> Plan<Self> {
        plan(plan_of, 4)
    }
}

impl Service for Slow {
    const GROUP: &'static str = GROUPS[2];

    fn plan(plan_of: Plan<Self>) -> Plan<Self> {
        plan(plan_of, 16)
    }
}

impl Handle<Probe> for Plain {
    async fn handle(&mut self, probe: Probe, cx: &mut Cx) -> Handled {
        self.0.begin(&probe, cx).done()
    }
}

impl Handle<Probe> for Flaky {
    async fn handle(&mut self, probe: Probe, cx: &mut Cx) -> Handled {
        let turn = self.0.begin(&probe, cx);
        match self.0.fates.flaky(probe.0.event, cx.attempt()) {
            Fate::Done => turn.done(),
            Fate::Again => turn.again(),
            Fate::Fatal => turn.fatal(),
            // Past the panic hook: what is done on purpose is no news for the log.
            Fate::Panic => resume_unwind(Box::new("panicked on purpose")),
        }
    }
}

impl Handle<Probe> for Slow {
    async fn handle(&mut self, probe: Probe, cx: &mut Cx) -> Handled {
        let turn = self.0.begin(&probe, cx);
        if let Some(time) = self.0.fates.slow(probe.0.event) {
            tokio::time::sleep(time).await;
        }
        turn.done()
    }
}
