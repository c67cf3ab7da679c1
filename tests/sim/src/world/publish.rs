//! Publishers: they call at some node, and each call has one answer.

use std::time::Duration;

use tidings_check::history::Seen;
use tidings_delivery::error::PublishError;
use tidings_delivery::publisher::{Input, Output};
use tidings_replica::Proposal;
use tidings_types::effect::{Placed, Published};
use tidings_types::event::NewEvent;
use tidings_types::id::{Token, TopicId};
use tidings_types::layout::entry::SectionKind;

use crate::happen::{Happens, What};
use crate::link::{Message, Uplink};
use crate::mail::Mail;
use crate::payload;
use crate::publishing::Joined;
use crate::world::{MS, World};

/// Keys of events without a key begin here.
const KEYLESS: u64 = 1 << 32;

/// All calls of a run.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Of each call the node where it was made, until it is answered.
    open: Vec<Option<usize>>,
    /// Whether it was told to be stored.
    is_stored: Vec<bool>,
    n_open: usize,
    n_events: u64,
}

impl Calls {
    /// Calls without an answer.
    pub(crate) const fn n_open(&self) -> usize {
        self.n_open
    }

    fn begin(&mut self, at: usize) -> u64 {
        self.open.push(Some(at));
        self.is_stored.push(false);
        self.n_open += 1;
        self.open.len() as u64 - 1
    }

    /// Whether a call was told to be stored.
    pub(crate) fn is_stored(&self, call: u64) -> bool {
        self.is_stored.get(call as usize).copied().unwrap_or_default()
    }

    /// Whether it was open.
    fn end(&mut self, call: u64, is_stored: bool) -> bool {
        if let Some(known) = self.is_stored.get_mut(call as usize) {
            *known |= is_stored;
        }
        let is_open = self.open.get_mut(call as usize).and_then(Option::take).is_some();
        self.n_open -= usize::from(is_open);
        is_open
    }

    /// A number for an event that nothing else has.
    pub(crate) const fn event(&mut self) -> u64 {
        self.n_events += 1;
        self.n_events
    }

    /// A call of a handler, as part of its turn: nobody waits for an answer.
    pub(crate) fn emitting(&mut self) -> u64 {
        self.open.push(None);
        self.is_stored.push(false);
        self.open.len() as u64 - 1
    }

    fn of_node(&self, at: usize) -> Vec<u64> {
        let calls = (0..).zip(&self.open);
        calls.filter(|(_, node)| **node == Some(at)).map(|(call, _)| call).collect()
    }
}

impl World {
    /// Somebody publishes at some node.
    pub(crate) fn call(&mut self) {
        let running = (0..self.nodes.len()).filter(|&at| {
            let node = self.node(at);
            node.process.is_some() && node.paused_until <= self.now_us
        });
        let running: Vec<usize> = running.collect();
        let topics = self.admin.topics().to_vec();
        let (Some(at), Some(topic)) = (self.chance.pick(&running), self.chance.pick(&topics))
        else {
            return self.call_later();
        };
        let n_events = if self.chance.percent(75) { 1 } else { self.chance.between(2, 4) };
        if self.publish(at, topic, n_events).is_none() {
            self.call_later();
        }
        // Now and then several calls follow at once and fill a batch.
        if self.chance.percent(15) {
            self.publish(at, topic, 1);
        }
        self.settle(at);
    }

    /// Whoever finds nobody to call comes back.
    fn call_later(&mut self) {
        if !self.is_calm {
            self.after(100 * MS, Happens::Call);
        }
    }

    /// A call with so many events; its number, if the node takes it.
    pub(crate) fn publish(&mut self, at: usize, topic: TopicId, n_events: u64) -> Option<u64> {
        let now = self.mono(at);
        let mut events = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..n_events {
            let event = self.calls.event();
            let n_keys = self.plan.n_keys;
            let key = match self.chance.below(n_keys + 1) {
                0 if self.chance.percent(50) => KEYLESS + event,
                key => key,
            };
            let n_filler = match self.chance.below(100) {
                0 => self.chance.below(6_000),
                _ => self.chance.below(400),
            };
            events.push((event, key));
            let word = if key < KEYLESS { format!("key-{key}") } else { String::new() };
            let content = payload::encode(event, key, n_filler as usize);
            parts.push((format!("event-{event}"), word, content));
        }
        let events_new: Vec<NewEvent<'_>> = parts
            .iter()
            .map(|(id, key, payload)| NewEvent {
                id,
                kind: "sim.happened.v1",
                key: key.as_bytes(),
                time_ms: 0,
                headers: &[],
                payload,
            })
            .collect();
        let permit = self.node(at).process.as_ref()?.publishing.admit(&events_new)?;
        self.stats.publishes += 1;
        let call = self.calls.begin(at);
        let publishing = &mut self.process_mut(at)?.publishing;
        let (publisher, place) = (publishing.publisher, Some(publishing.next_place()));
        publishing.push(call, topic, &events_new, permit, now);
        self.trace.note(call << 8 | at as u64);
        let id = self.id(at);
        self.trace.line(self.now_us, || format!("{id} call {call} publishes {events:?}"));
        let topic = topic.get();
        self.see(Seen::Publish { op: call, publisher, events, topic, place });
        self.depart(at);
        Some(call)
    }

    /// The process is gone, and with it whoever waited in it.
    pub(crate) fn calls_lost(&mut self, at: usize) {
        for call in self.calls.of_node(at) {
            self.call_ends(call, Err("gone"), false);
        }
    }

    pub(crate) fn publisher_wake(&mut self, at: usize) {
        if let Some(process) = self.process_mut(at) {
            process.publishing.wake_us = None;
            self.step_publisher(at, Input::Wake);
        }
    }

    pub(crate) fn step_publisher(&mut self, at: usize, input: Input) {
        let now = self.mono(at);
        let mut out = Vec::new();
        let Some(process) = self.process_mut(at) else { return };
        process.publishing.step(now, input, &mut out);
        self.published(at, out);
        self.depart(at);
    }

    fn depart(&mut self, at: usize) {
        let now = self.mono(at);
        let mut out = Vec::new();
        let Some(process) = self.process_mut(at) else { return };
        let overdue = process.publishing.depart(now, &mut out);
        self.published(at, out);
        if let Some(overdue) = overdue {
            self.wake_publisher_at(at, overdue);
        }
    }

    fn published(&mut self, at: usize, out: Vec<Output>) {
        let mut proposals = Vec::new();
        for output in out {
            match output {
                Output::Propose { proposal, section, .. } => {
                    let Some(process) = self.process_mut(at) else { return };
                    match process.uplink {
                        Uplink::Own => proposals.push(Proposal {
                            token: proposal,
                            kind: SectionKind::Records,
                            body: section,
                            may_wait: false,
                        }),
                        Uplink::Link(link) => {
                            let producer = process.publishing.core().producer();
                            self.say(at, link, Message::Propose { proposal, producer, section });
                        }
                        // It was about to hear that there is nobody any more.
                        Uplink::Looking(_) => {
                            self.mail(at, Mail::Publisher(Input::Unknown { proposal }));
                        }
                    }
                }
                Output::Done { token, result } => self.batch_ends(at, token, &result),
                Output::WakeAt(wake) => self.wake_publisher_at(at, wake),
            }
        }
        if !proposals.is_empty() {
            self.mail(at, Mail::Propose(proposals));
        }
    }

    fn batch_ends(&mut self, at: usize, token: Token, result: &Result<Placed, PublishError>) {
        let Some(process) = self.process_mut(at) else { return };
        let calls: Vec<Joined> = process.publishing.done(token);
        for (call, idx) in calls {
            match result {
                Ok(placed) => self.call_ends(call, Ok(placed.first.get() + u64::from(idx)), true),
                Err(error) => {
                    let may_be_stored = matches!(error, PublishError::Unknown);
                    self.call_ends(call, Err(error.code()), !may_be_stored);
                }
            }
        }
    }

    fn call_ends(&mut self, op: u64, result: Result<u64, &str>, is_sure: bool) {
        if !self.calls.end(op, result.is_ok()) {
            return self.fail(format!("call {op} is answered twice"));
        }
        self.trace.note(op << 2 | u64::from(result.is_ok()) << 1 | u64::from(is_sure));
        self.trace.line(self.now_us, || format!("call {op} ends: {result:?}"));
        let seen = match result {
            Ok(first) => {
                self.stats.acked += 1;
                Seen::Published { op, first }
            }
            Err(error) if is_sure => {
                self.stats.refused += 1;
                Seen::Refused { op, error: error.to_owned() }
            }
            Err(error) => {
                self.stats.unknown += 1;
                Seen::Unknown { op, error: error.to_owned() }
            }
        };
        self.see(seen);
    }

    /// A replica applied a batch: whoever waits for it at this node, or at the end of a link to it.
    pub(crate) fn answer_publisher(&mut self, at: usize, published: &Published) {
        self.mail(at, Mail::Publisher(Input::Published(published.clone())));
        if self.node(at).leads() {
            self.answer_links(at, published);
        }
    }

    fn wake_publisher_at(&mut self, at: usize, wake: Duration) {
        let wake_us = wake.as_micros() as u64;
        let delay = self.until(at, wake);
        let Some(process) = self.process_mut(at) else { return };
        if process.publishing.wake_us.is_none_or(|known| wake_us < known) {
            process.publishing.wake_us = Some(wake_us);
            self.to(at, delay, What::PublisherWake);
        }
    }
}
