//! Workers: what their handlers do with events, and how they end.

use std::time::Duration;

use tidings_check::history::{Outcome, Seen};
use tidings_delivery::member::Input;
use tidings_delivery::retry::{Decision, RetryPolicy, decide};
use tidings_delivery::session::{BatchId, Delivery, Report, Verdict};
use tidings_types::event::NewEvent;
use tidings_types::id::{GroupId, ProducerId, Sequence, TopicId};
use tidings_types::layout::acks::FailureClass;
use tidings_types::layout::command::DeadReason;
use tidings_types::layout::records::RecordsBuilder;
use tidings_types::offset::Offset;

use crate::happen::{Happens, What};
use crate::mail::Mail;
use crate::node::Process;
use crate::payload;
use crate::plan::topic_id;
use crate::serving::{Fate, HANDLER_TIME, Place, Worker};
use crate::world::{MS, World};

/// Publishers of emitted events have names from here on.
const EMITTERS: u32 = 1 << 24;

impl World {
    fn worker(&mut self, at: usize, place: Place) -> Option<&mut Worker> {
        self.process_mut(at)?.serving.workers.get_mut(&place)
    }

    /// A worker takes batches from here on.
    pub(crate) fn worker_up(&mut self, at: usize, place: Place) {
        let Some(process) = self.process_mut(at) else { return };
        let worker = process.serving.workers.entry(place).or_default();
        if std::mem::replace(&mut worker.is_up, true) {
            return;
        }
        worker.life += 1;
        let mail = Mail::WorkerUp(place, worker.life);
        self.mail(at, mail);
    }

    /// The member hears that a worker begins.
    pub(crate) fn announce(&mut self, at: usize, place: Place, life: u64) {
        let Some(worker) = self.worker(at, place) else { return };
        worker.life_known = life;
        let (group, worker) = place;
        self.step_member(at, Input::WorkerUp { group, worker });
    }

    /// The member hands a batch to a worker; to one that is gone it is lost, and comes back.
    pub(crate) fn hand(
        &mut self,
        at: usize,
        place: Place,
        batch: BatchId,
        deliveries: Vec<Delivery>,
    ) {
        let Some(process) = self.process_mut(at) else { return };
        let named = deliveries.iter().map(|it| (place.0, it.topic, it.offset));
        process.serving.handed.extend(named);
        if let Some(worker) = self.worker(at, place).filter(|worker| worker.is_known()) {
            worker.session.deliver(batch, deliveries);
            self.work(at, place);
        }
    }

    pub(crate) fn recall(&mut self, at: usize, place: Place, batch: BatchId) {
        if let Some(worker) = self.worker(at, place).filter(|worker| worker.is_known()) {
            worker.session.recall(batch);
            self.work(at, place);
        }
    }

    /// The worker looks at what is before it: it begins with the next event, or reports.
    pub(crate) fn work(&mut self, at: usize, place: Place) {
        let now = self.mono(at);
        let Some(process) = self.process_mut(at) else { return };
        let may_start = process.serving.member.may_start(now);
        let Some(worker) = process.serving.workers.get_mut(&place) else { return };
        if !worker.is_up || worker.session.running().is_some() {
            return self.report(at, place);
        }
        if worker.session.peek().is_some() && !may_start {
            // Without a lease nothing begins.
            if !std::mem::replace(&mut worker.is_waiting, true) {
                self.to(at, 20 * MS, What::Work { place });
            }
            return self.report(at, place);
        }
        if let Some(delivery) = worker.session.start_next(now) {
            self.begin_event(at, place, &delivery);
        }
        self.report(at, place);
    }

    pub(crate) fn work_again(&mut self, at: usize, place: Place) {
        if let Some(worker) = self.worker(at, place) {
            worker.is_waiting = false;
            self.work(at, place);
        }
    }

    /// Tells what is to be told by now; what is not, is told later.
    fn report(&mut self, at: usize, place: Place) {
        let now = self.mono(at);
        let Some(worker) = self.worker(at, place).filter(|worker| worker.is_up) else { return };
        let report = worker.session.take_report(now);
        let is_idle = worker.session.running().is_none() && worker.session.peek().is_some();
        let report_at = worker.session.report_at().filter(|_| !worker.is_waiting);
        worker.is_waiting |= report_at.is_some();
        if let Some(report_at) = report_at {
            let delay = report_at.saturating_sub(now).as_micros() as u64;
            self.to(at, delay, What::Work { place });
        }
        let Some(report) = report else { return };
        self.tell_report(at, place, report);
        if is_idle || self.has_more(at, place) {
            self.to(at, 0, What::Work { place });
        }
    }

    fn has_more(&mut self, at: usize, place: Place) -> bool {
        self.worker(at, place).is_some_and(|worker| !worker.session.is_idle())
    }

    fn tell_report(&mut self, at: usize, (group, worker): Place, report: Report) {
        self.mail(at, Mail::Member(Input::Report { group, worker, report }));
    }

    fn begin_event(&mut self, at: usize, place: Place, delivery: &Delivery) {
        self.stats.deliveries += 1;
        let (fate, takes_us) = self.fate(place.0, delivery);
        let content = payload::decode(delivery.event.payload());
        let node = self.id(at).get();
        self.trace.note(content.event << 20 | delivery.offset.get());
        self.trace.line(self.now_us, || {
            format!("n{node} {place:?} begins {} attempt {}", content.event, delivery.attempt)
        });
        self.see(Seen::Started {
            group: place.0.get(),
            node,
            worker: worker_name(at, place),
            topic: delivery.topic.get(),
            offset: delivery.offset.get(),
            event: content.event,
            key: content.key,
            is_whole: content.is_whole,
            attempt: delivery.attempt,
            epoch: Some(u64::from(delivery.lane_epoch.get())),
        });
        let Some(worker) = self.worker(at, place) else { return };
        worker.run += 1;
        worker.fate = Some(fate);
        let run = worker.run;
        self.to(at, takes_us, What::Handled { place, run });
    }

    /// What the handler will do with an event, and how long it takes.
    fn fate(&mut self, group: GroupId, delivery: &Delivery) -> (Fate, u64) {
        let takes = match self.chance.below(100) {
            0..4 => 100 * MS + self.chance.below(700 * MS),
            4..30 => self.chance.below(20 * MS),
            _ => self.chance.below(2 * MS),
        };
        let handlers = self.plan.handlers;
        let roll = self.chance.below(1_000);
        if self.is_calm {
            return (Fate::Ends(Verdict::Done), takes);
        }
        let mut bound = handlers.fail;
        if roll < bound {
            return (Fate::Ends(self.failed(delivery, FailureClass::Error)), takes);
        }
        bound += handlers.fatal;
        if roll < bound {
            let message = "it can never work".to_owned();
            return (Fate::Ends(Verdict::Dead { reason: DeadReason::Fatal, message }), takes);
        }
        bound += handlers.panic;
        if roll < bound {
            return (Fate::Dies, takes);
        }
        bound += handlers.hang;
        if roll < bound {
            return (Fate::Dies, HANDLER_TIME.as_micros() as u64);
        }
        bound += handlers.kill;
        if roll < bound {
            return (Fate::Kills, takes);
        }
        bound += handlers.emit;
        if roll < bound && self.admin.groups().first() == Some(&group) {
            return (Fate::Ends(Verdict::DoneEmitting(vec![self.emitted()])), takes);
        }
        (Fate::Ends(Verdict::Done), takes)
    }

    /// What a failed attempt means: another one later, or none.
    fn failed(&mut self, delivery: &Delivery, class: FailureClass) -> Verdict {
        let policy = RetryPolicy {
            min: Duration::from_millis(self.plan.retry_min_ms),
            max: Duration::from_secs(1),
            attempts: self.plan.attempts_max,
        };
        let message = "it failed".to_owned();
        match decide(&policy, delivery.attempt, &mut self.chance.generator()) {
            Decision::Again { after } => Verdict::Again { after, class, message },
            Decision::Dead => Verdict::Dead { reason: DeadReason::AttemptsExhausted, message },
        }
    }

    /// A section of one fresh event for the last topic.
    fn emitted(&mut self) -> bytes::Bytes {
        let (event, key) = (self.calls.event(), self.chance.below(self.plan.n_keys));
        let topic = topic_id(self.plan.n_topics - 1);
        let (id, word) = (format!("event-{event}"), format!("key-{key}"));
        let content = payload::encode(event, key, self.chance.below(100) as usize);
        let mut builder = RecordsBuilder::with_capacity(0);
        builder.push(&NewEvent {
            id: &id,
            kind: "sim.followed.v1",
            key: word.as_bytes(),
            time_ms: 0,
            headers: &[],
            payload: &content,
        });
        self.n_emitted += 1;
        let (publisher, op) = (EMITTERS + self.n_emitted, self.calls.emitting());
        // Whether it is stored, nobody is told: that is up to the turn.
        self.see(Seen::Publish { op, publisher, events: vec![(event, key)], topic, place: None });
        builder.finish(TopicId::new(topic), ProducerId::NONE, Sequence::new(0))
    }

    /// The handler ends, as it was to.
    pub(crate) fn handled(&mut self, at: usize, place: Place, run: u64) {
        let now = self.mono(at);
        let Some(worker) = self.worker(at, place).filter(|worker| worker.run == run) else {
            return;
        };
        let Some(running) = worker.session.running().map(|running| running.delivery.clone()) else {
            return;
        };
        match worker.fate.take() {
            Some(Fate::Ends(verdict)) => {
                worker.session.finish(verdict.clone(), now);
                self.ended(at, place, &running, &verdict);
                self.work(at, place);
            }
            Some(Fate::Dies) => self.worker_dies(at, place, &running),
            Some(Fate::Kills) => {
                self.trace.line(self.now_us, || format!("a handler ends node {at}"));
                self.stats.kills += 1;
                self.kill(at);
                let down = 50 * MS + self.chance.below(1_000 * MS);
                self.after(down, Happens::Start(at));
            }
            None => {}
        }
    }

    fn ended(&mut self, at: usize, place: Place, delivery: &Delivery, verdict: &Verdict) {
        let outcome = match verdict {
            Verdict::Again { .. } => Outcome::Again,
            Verdict::Dead { .. } => Outcome::Dead,
            Verdict::Done | Verdict::DoneEmitting(_) | Verdict::Skipped { .. } => Outcome::Done,
            Verdict::Unstarted => Outcome::Lost,
        };
        self.stats.failures += u64::from(outcome != Outcome::Done);
        self.see(Seen::Ended {
            group: place.0.get(),
            node: self.id(at).get(),
            worker: worker_name(at, place),
            topic: delivery.topic.get(),
            offset: delivery.offset.get(),
            outcome,
        });
    }

    /// The worker dies over an event: that one is charged, the others come back, and it starts anew.
    fn worker_dies(&mut self, at: usize, place: Place, culprit: &Delivery) {
        let now = self.mono(at);
        let verdict = self.failed(culprit, FailureClass::Panic);
        self.ended(at, place, culprit, &verdict);
        let (group, node, worker) = (place.0.get(), self.id(at).get(), worker_name(at, place));
        self.see(Seen::WorkerGone { group, node, worker });
        let Some(worker) = self.worker(at, place) else { return };
        worker.run += 1;
        worker.is_up = false;
        let reports = worker.session.crash(|_| verdict.clone(), now);
        for report in reports {
            self.tell_report(at, place, report);
        }
        let (group, worker) = place;
        self.mail(at, Mail::Member(Input::WorkerDown { group, worker }));
        let delay = 100 + self.chance.below(5 * MS);
        self.to(at, delay, What::WorkerUp { place });
    }

    /// Events that were handed to workers of this process and are not settled: each may come again.
    pub(crate) fn in_flight(&self, process: &Process) -> u64 {
        let is_open = |(group, topic, offset): &&(GroupId, TopicId, Offset)| {
            !self.settled.contains(&(group.get(), topic.get(), offset.get()))
        };
        process.serving.handed.iter().filter(is_open).count() as u64
    }
}

/// Workers of different groups and nodes are different workers.
fn worker_name(at: usize, (group, worker): Place) -> u64 {
    (at as u64) << 32 | u64::from(group.get()) << 8 | u64::from(worker.get())
}
