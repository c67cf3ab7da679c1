//! The member: a process's side of its groups, between the leader and its own workers.
//!
//! ```text
//!   leader ──Deliver──▶ member ──Deliver──▶ worker
//!     ▲                   │ keeps what is held,      │
//!     └── Report, Resume ─┘ and each outcome until ◀─┘ Report
//!                           it is Confirmed
//! ```
//!
//! It outlives sessions, links and leaders: while nobody leads, workers go on with what they hold, and
//! what they did is told to the next leader. What it knows dies with its process, and so do the
//! workers.
//!
//! The lease: a worker starts an event only while [`Member::may_start`] says so. A leader that hears
//! nothing of a member takes it out only when that has long been false.
//!
//! Invariant: each batch is kept while its worker has to tell of it, or an outcome of it is not
//! confirmed. What the leader lets it hold bounds it: the windows of the workers, and the events of a
//! group that may be handed out and not settled.

mod kept;

mod parts;

#[cfg(test)]
mod member_test;

use std::collections::BTreeMap;
use std::time::Duration;

use tidings_types::id::{GroupId, Incarnation, WorkerId};
use tidings_types::limits::{LEASE, PING_EVERY};

use crate::member::kept::Kept;
use crate::member::parts::{Parts, cut};
use crate::message::{Resume, Serving, SessionId, ToLeader, ToMember};
use crate::session::{BatchId, Delivery, Report};

/// What a member is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// There is a way to a node that says that it leads, for a first time or anew. A session begins.
    /// Also when the same node leads for another term.
    LinkUp,
    /// The way is gone. What is sent from here on reaches nobody.
    LinkDown,
    /// The leader speaks, in its order.
    FromLeader {
        /// In which session, as it came with the message.
        session: SessionId,
        /// What it says.
        message: ToMember,
    },
    /// The command to join was refused: the process was taken out, which it may not have been told.
    LeftSince {
        /// The group.
        group: GroupId,
        /// As the refusal has it.
        n_left: u32,
    },
    /// A service of this process begins, or begins again after it drained. Comes once the command
    /// that makes this process a member of the group was answered.
    ServiceUp {
        /// Its group.
        group: GroupId,
        /// How many workers it will have.
        n_workers: usize,
    },
    /// A service ends: nothing more is handed to its workers, their reports are still taken.
    ServiceDraining {
        /// Its group.
        group: GroupId,
    },
    /// The process ends: all its services drain, those too that begin later.
    Drain,
    /// A worker takes batches. A worker that restarted comes as new. Behind [`Input::ServiceUp`].
    WorkerUp {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
    },
    /// A worker is gone. Its last reports must come before; what they do not name was not started.
    WorkerDown {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
    },
    /// A worker tells what became of what it was handed.
    Report {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// What it tells.
        report: Report,
    },
    /// The moment of an [`Output::WakeAt`] has come.
    Wake,
}

/// What a member wants.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send this to the leader, in the order of the outputs. If the link is gone, drop it.
    Send {
        /// In which session; goes with the message.
        session: SessionId,
        /// What.
        message: ToLeader,
    },
    /// Hand these to a worker.
    Deliver {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// Names the batch in reports.
        batch: BatchId,
        /// At least one event.
        deliveries: Vec<Delivery>,
    },
    /// Let a worker start nothing more of a batch ([`Session::recall`]) and nudge it; if it does not
    /// have the batch any more, nothing.
    ///
    /// [`Session::recall`]: crate::session::Session::recall
    Recall {
        /// Its group.
        group: GroupId,
        /// The worker.
        worker: WorkerId,
        /// The batch.
        batch: BatchId,
    },
    /// This process is a member of the group no more. If its service goes on, propose to join again,
    /// until the command is answered.
    Removed {
        /// The group.
        group: GroupId,
        /// To be named when it joins again.
        n_left: u32,
    },
    /// Give [`Input::Wake`] at this moment.
    WakeAt(Duration),
}

/// See the module's description.
#[derive(Debug)]
pub struct Member {
    incarnation: Incarnation,
    /// Pings are sent this many times as slowly, and a lease lasts as much longer; nothing where the
    /// leader is this process alone, which needs no lease.
    pace: Option<u32>,
    session: Option<SessionId>,
    n_sessions: u64,
    n_lives: u64,
    groups: BTreeMap<GroupId, Service>,
    is_ending: bool,
    newest_batch: BatchId,
    /// When the newest ping was sent that was answered.
    leased_at: Option<Duration>,
    ping_at: Duration,
}

#[derive(Debug, Default)]
struct Service {
    is_up: bool,
    is_draining: bool,
    /// Each with its life.
    workers: BTreeMap<WorkerId, u64>,
    batches: BTreeMap<BatchId, Kept>,
}

impl Member {
    /// A member without a link, of this start of its node. `pace` is 1, or more where time is to run
    /// more slowly; the [`roster`](crate::roster) must have the same.
    pub const fn new(incarnation: Incarnation, pace: u32) -> Self {
        Self {
            incarnation,
            pace: Some(pace),
            session: None,
            n_sessions: 0,
            n_lives: 0,
            groups: BTreeMap::new(),
            is_ending: false,
            newest_batch: BatchId::new(0),
            leased_at: None,
            ping_at: Duration::ZERO,
        }
    }

    /// The member of a lone node. Nobody else can lead, so it sends no pings and may always start.
    pub const fn alone(incarnation: Incarnation) -> Self {
        let mut member = Self::new(incarnation, 1);
        member.pace = None;
        member
    }

    /// Whether a worker may start an event now, by this process's monotonic clock.
    pub fn may_start(&self, now: Duration) -> bool {
        let Some(pace) = self.pace else { return true };
        self.leased_at.is_some_and(|sent| now < sent + LEASE * pace)
    }

    /// Nothing is held, and every outcome is confirmed. A drained process may end.
    pub fn is_idle(&self) -> bool {
        self.groups.values().all(|service| service.batches.is_empty())
    }

    /// Takes an input at a moment of this process's monotonic clock, and appends what is to be done.
    ///
    /// # Panics
    /// If a worker reports on more events than it was handed.
    pub fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::LinkUp => self.begin_session(now, out),
            Input::LinkDown => self.session = None,
            Input::FromLeader { session, message } => {
                self.hear(now, session, message, out);
            }
            Input::LeftSince { group, n_left } => self.removed(group, n_left, out),
            Input::ServiceUp { group, n_workers } => {
                let service = self.groups.entry(group).or_default();
                (service.is_up, service.is_draining) = (true, self.is_ending);
                if self.is_ending {
                    return self.send(ToLeader::ServiceDraining { group }, out);
                }
                let n_workers = u32::try_from(n_workers).unwrap_or(u32::MAX);
                self.send(ToLeader::ServiceUp { group, n_workers }, out);
            }
            Input::ServiceDraining { group } => {
                self.groups.entry(group).or_default().is_draining = true;
                self.send(ToLeader::ServiceDraining { group }, out);
            }
            Input::Drain => {
                self.is_ending = true;
                self.groups.values_mut().for_each(|service| service.is_draining = true);
                for (&group, _) in self.groups.iter().filter(|(_, service)| service.is_up) {
                    self.send(ToLeader::ServiceDraining { group }, out);
                }
            }
            Input::WorkerUp { group, worker } => {
                self.worker_down(group, worker, out);
                self.n_lives += 1;
                let life = self.n_lives;
                self.groups.entry(group).or_default().workers.insert(worker, life);
                self.send(ToLeader::WorkerUp { group, worker, life }, out);
            }
            Input::WorkerDown { group, worker } => self.worker_down(group, worker, out),
            Input::Report { group, worker, report } => self.report(group, worker, report, out),
            Input::Wake => self.ping_if_due(now, out),
        }
    }

    fn send(&self, message: ToLeader, out: &mut Vec<Output>) {
        if let Some(session) = self.session {
            out.push(Output::Send { session, message });
        }
    }

    fn begin_session(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.n_sessions += 1;
        let (incarnation, number) = (self.incarnation, self.n_sessions);
        self.session = Some(SessionId { incarnation, number });
        let serving = |(&group, service): (&GroupId, &Service)| Serving {
            group,
            is_draining: service.is_draining,
            workers: service.workers.iter().map(|(&worker, &life)| (worker, life)).collect(),
        };
        let up = self.groups.iter().filter(|(_, service)| service.is_up);
        let services = up.map(serving).collect();
        let newest_batch = self.newest_batch;
        let mut parts = Parts::new(Resume { services, newest_batch, ..Resume::default() });
        for (&group, service) in &self.groups {
            let kept = service.batches.iter().filter(|(_, kept)| !kept.is_disowned);
            kept.for_each(|(&batch, kept)| parts.add(kept.named(group, batch)));
        }
        for part in parts.finish() {
            self.send(ToLeader::Resume(part), out);
        }
        if self.pace.is_some() {
            self.ping(now, out);
        }
    }

    fn ping_if_due(&mut self, now: Duration, out: &mut Vec<Output>) {
        if self.pace.is_none() || self.session.is_none() {
            return;
        }
        if self.ping_at <= now {
            self.ping(now, out);
        } else {
            out.push(Output::WakeAt(self.ping_at));
        }
    }

    fn ping(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.send(ToLeader::Ping { sent: now }, out);
        self.ping_at = now + PING_EVERY * self.pace.unwrap_or(1);
        out.push(Output::WakeAt(self.ping_at));
    }

    fn hear(
        &mut self,
        now: Duration,
        session: SessionId,
        message: ToMember,
        out: &mut Vec<Output>,
    ) {
        let Some(ours) = self.session else { return };
        if message == ToMember::AskResume && session == SessionId::default() {
            return self.begin_session(now, out);
        }
        if session != ours {
            return;
        }
        match message {
            ToMember::AskResume => self.begin_session(now, out),
            ToMember::Deliver { group, worker, life, batch, deliveries, redriven } => {
                self.newest_batch = self.newest_batch.max(batch);
                let Some(service) = self.groups.get_mut(&group) else { return };
                // For a life that is over: the leader takes it back when it hears of that.
                if service.workers.get(&worker) == Some(&life) {
                    service.batches.insert(batch, Kept::new(worker, &deliveries, redriven));
                    out.push(Output::Deliver { group, worker, batch, deliveries });
                }
            }
            ToMember::Confirmed { group, batches } => {
                let Some(service) = self.groups.get_mut(&group) else { return };
                for (batch, places) in batches {
                    let Some(kept) = service.batches.get_mut(&batch) else { continue };
                    kept.confirm(places);
                    if kept.is_through() {
                        service.batches.remove(&batch);
                    }
                }
            }
            ToMember::Recall { group, batch } => {
                let service = self.groups.get(&group);
                if let Some(kept) = service.and_then(|service| service.batches.get(&batch)) {
                    out.push(Output::Recall { group, worker: kept.worker, batch });
                }
            }
            ToMember::Removed { group, n_left } => self.removed(group, n_left, out),
            // A ping of the future was none of ours.
            ToMember::Pong { sent } if sent <= now => {
                self.leased_at = self.leased_at.max(Some(sent));
            }
            ToMember::Pong { .. } => {}
        }
    }

    fn removed(&mut self, group: GroupId, n_left: u32, out: &mut Vec<Output>) {
        let service = self.groups.entry(group).or_default();
        for (&batch, kept) in &mut service.batches {
            kept.disown();
            if kept.is_held() {
                out.push(Output::Recall { group, worker: kept.worker, batch });
            }
        }
        service.batches.retain(|_, kept| !kept.is_through());
        out.push(Output::Removed { group, n_left });
    }

    fn worker_down(&mut self, group: GroupId, worker: WorkerId, out: &mut Vec<Output>) {
        let Some(service) = self.groups.get_mut(&group) else { return };
        let Some(life) = service.workers.remove(&worker) else { return };
        service.batches.values_mut().filter(|kept| kept.worker == worker).for_each(Kept::end);
        service.batches.retain(|_, kept| !kept.is_through());
        self.send(ToLeader::WorkerDown { group, worker, life }, out);
    }

    fn report(&mut self, group: GroupId, worker: WorkerId, report: Report, out: &mut Vec<Output>) {
        let Some(service) = self.groups.get_mut(&group) else { return };
        // Of a worker that is gone, or of a batch that never reached it.
        let Some(kept) = service.batches.get_mut(&report.batch) else { return };
        kept.report(&report);
        let is_disowned = kept.is_disowned;
        if kept.is_through() {
            service.batches.remove(&report.batch);
        }
        if !is_disowned {
            cut(report, |report| self.send(ToLeader::Report { group, worker, report }, out));
        }
    }
}
