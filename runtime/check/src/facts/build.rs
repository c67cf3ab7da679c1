//! The second sweep: links calls with answers, offsets with events, and groups with their queues.

use std::collections::BTreeMap;

use crate::facts::dense::Dense;
use crate::facts::numbers::Numbers;
use crate::facts::{
    Answer, Call, Facts, Has, Mailbox, NodeLog, Place, Sent, Slot, Source, Stray, Topic,
};
use crate::history::{Event, Line, Run, Seen};

/// Groups times offsets beyond which a history is not taken on: its tables would fill the memory.
const SLOTS_MAX: usize = 1 << 24;

/// Puts a history in order.
pub(crate) fn facts(lines: &[Line]) -> Facts<'_> {
    let mut builder = Builder::new(lines);
    let mut at_us = 0;
    for (at, line) in lines.iter().enumerate() {
        if line.at_us < at_us {
            builder.stray(at, "is earlier than the line before it");
        }
        at_us = line.at_us;
        builder.line(at, &line.seen);
    }
    builder.finish()
}

/// A history of which the lines up to some have been taken in.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub(crate) facts: Facts<'a>,
    /// Handlings that may still run; swept when half of them do not.
    pub(crate) running: Vec<usize>,
    pub(crate) n_over: usize,
    /// What was read of a log and not yet read through, by node and topic.
    reads: BTreeMap<(u32, usize), Vec<(usize, usize)>>,
    /// By node and topic.
    log_of: BTreeMap<(u32, usize), usize>,
    n_slots: usize,
}

impl<'a> Builder<'a> {
    fn new(lines: &'a [Line]) -> Self {
        let Numbers { events, ops, topics: topic_names, offsets } = Numbers::of(lines);
        let topic = |(idx, offsets): (usize, Dense)| Topic {
            number: topic_names.number(idx) as u32,
            places: vec![Place::default(); offsets.len()],
            offsets,
            read: None,
        };
        let no_call = Call {
            line: usize::MAX,
            topic: 0,
            publisher: 0,
            place: None,
            events: &[],
            answer: Answer::Open,
        };
        let facts = Facts {
            lines,
            calls: vec![no_call; ops.len()],
            sent: vec![Sent::default(); events.len()],
            topics: offsets.into_iter().enumerate().map(topic).collect(),
            ops,
            events,
            topic_names,
            ..Facts::default()
        };
        let (reads, log_of) = (BTreeMap::new(), BTreeMap::new());
        Self { facts, running: Vec::new(), n_over: 0, reads, log_of, n_slots: 0 }
    }

    pub(crate) fn stray(&mut self, line: usize, why: &'static str) {
        self.facts.strays.push(Stray { line, why });
    }

    fn line(&mut self, at: usize, seen: &'a Seen) {
        match seen {
            Seen::Run(run) => self.run(at, run),
            Seen::Publish { op, publisher, events, topic, place } => {
                let topic = self.facts.topic(*topic).unwrap_or_default();
                let (publisher, place) = (*publisher, *place);
                let answer = Answer::Open;
                self.publish(at, *op, Call { line: at, topic, publisher, place, events, answer });
            }
            Seen::Published { op, first } => self.published(at, *op, *first),
            Seen::Refused { op, .. } => self.refused(at, *op),
            Seen::Unknown { op, .. } => {
                if self.facts.call_of(*op).is_none() {
                    self.stray(at, "answers a call that was not made");
                }
            }
            Seen::Placed { topic, first, events, .. } => {
                let topic = self.facts.topic(*topic).unwrap_or_default();
                for (event, offset) in events.iter().zip(*first..=u64::MAX) {
                    self.holds(topic, offset, *event, Source::Log, at);
                }
            }
            Seen::Read { node, topic, offset, event, .. } => {
                let topic = self.facts.topic(*topic).unwrap_or_default();
                let held = self.holds(topic, *offset, *event, Source::Log, at);
                self.reads.entry((*node, topic)).or_default().extend(held);
            }
            Seen::ReadThrough { node, topic, start, end } => {
                self.read_through(at, *node, *topic, (*start, *end));
            }
            Seen::DiskLost { .. } => {
                let is_lone = self.facts.run.is_some_and(|run| run.n_voters <= 1);
                self.facts.has.disks_lost |= is_lone;
            }
            Seen::Healed => {
                self.facts.healed.get_or_insert(at);
            }
            Seen::End => {
                if at + 1 != self.facts.lines.len() {
                    self.stray(at, "is an end with lines behind it");
                }
                self.facts.end.get_or_insert(at);
            }
            _ => self.of_group(at, seen),
        }
        self.note(seen);
    }

    /// Remembers which kinds of lines there are.
    fn note(&mut self, seen: &Seen) {
        let has: &mut Has = &mut self.facts.has;
        match seen {
            Seen::Settled { .. } => has.settled = true,
            Seen::Durable { .. } => has.durable = true,
            Seen::Floor { .. } => has.floor = true,
            Seen::Digest { .. } => has.digest = true,
            Seen::Status { .. } => has.status = true,
            Seen::Started { .. } => has.started = true,
            _ => {}
        }
    }

    fn run(&mut self, at: usize, run: &'a Run) {
        if at > 0 || self.facts.run.is_some() {
            return self.stray(at, "begins a run that has begun");
        }
        self.facts.run = Some(run);
        for (group, topic) in
            run.groups.iter().flat_map(|(g, topics)| topics.iter().map(|t| (*g, *t)))
        {
            let mailbox = self.mailbox(group, topic);
            if let Some(mailbox) = mailbox.and_then(|idx| self.facts.mailboxes.get_mut(idx)) {
                mailbox.is_planned = true;
            }
        }
    }

    fn publish(&mut self, at: usize, op: u64, call: Call<'a>) {
        let Some(idx) = self.facts.ops.idx(op) else { return };
        let Some(entry) = self.facts.calls.get_mut(idx) else { return };
        if entry.line != usize::MAX {
            return self.stray(at, "makes a call that was made");
        }
        *entry = call;
        for (event, key) in call.events {
            let event = self.facts.events.idx(*event);
            let Some(sent) = event.and_then(|idx| self.facts.sent.get_mut(idx)) else { continue };
            sent.n_calls += 1;
            if sent.call.is_none() {
                (sent.call, sent.topic, sent.key) = (Some(idx), call.topic, *key);
            }
        }
    }

    fn published(&mut self, at: usize, op: u64, first: u64) {
        let idx = self.facts.ops.idx(op);
        let call = idx.and_then(|idx| self.facts.calls.get_mut(idx));
        let Some(call) = call.filter(|call| call.line != usize::MAX) else {
            return self.stray(at, "answers a call that was not made");
        };
        match call.answer {
            Answer::Refused { .. } => return self.stray(at, "answers a call that was refused"),
            // What a repeat says is I4's to judge.
            Answer::Stored { .. } => return,
            Answer::Open => call.answer = Answer::Stored { line: at, first },
        }
        let (topic, events) = (call.topic, call.events);
        for ((event, _), offset) in events.iter().zip(first..=u64::MAX) {
            self.holds(topic, offset, *event, Source::Publisher, at);
            let event = self.facts.events.idx(*event);
            if let Some(sent) = event.and_then(|idx| self.facts.sent.get_mut(idx)) {
                sent.acked.get_or_insert((at, offset));
            }
        }
    }

    fn refused(&mut self, at: usize, op: u64) {
        let idx = self.facts.ops.idx(op);
        let call = idx.and_then(|idx| self.facts.calls.get_mut(idx));
        let Some(call) = call.filter(|call| call.line != usize::MAX) else {
            return self.stray(at, "answers a call that was not made");
        };
        if call.answer != Answer::Open {
            return self.stray(at, "answers a call that was answered");
        }
        call.answer = Answer::Refused { line: at };
        for (event, _) in call.events {
            let event = self.facts.events.idx(*event);
            if let Some(sent) = event.and_then(|idx| self.facts.sent.get_mut(idx)) {
                sent.n_refused += 1;
            }
        }
    }

    /// A line says that an offset holds an event. Gives their idxs.
    pub(crate) fn holds(
        &mut self,
        topic: usize,
        offset: u64,
        event: Event,
        source: Source,
        line: usize,
    ) -> Option<(usize, usize)> {
        let event = self.facts.events.idx(event)?;
        let topic = self.facts.topics.get_mut(topic)?;
        let idx = topic.offsets.idx(offset)?;
        let place = topic.places.get_mut(idx)?;
        if place.source < source {
            (place.event, place.source, place.line) = (Some(event), source, line);
        }
        Some((idx, event))
    }

    fn read_through(&mut self, at: usize, node: u32, topic: u32, range: (u64, u64)) {
        let topic = self.facts.topic(topic).unwrap_or_default();
        let reads = self.reads.remove(&(node, topic)).unwrap_or_default();
        let (start, end) = range;
        let log = NodeLog { node, topic, start, end, line: at, reads };
        match self.log_of.get(&(node, topic)).and_then(|idx| self.facts.logs.get_mut(*idx)) {
            Some(older) => *older = log,
            None => {
                self.log_of.insert((node, topic), self.facts.logs.len());
                self.facts.logs.push(log);
            }
        }
    }

    /// The queue of a group on a topic.
    pub(crate) fn mailbox(&mut self, group: u32, topic_number: u32) -> Option<usize> {
        if let Some(idx) = self.facts.mailbox_of.get(&(group, topic_number)) {
            return Some(*idx);
        }
        let topic = self.facts.topic(topic_number)?;
        let n_places = self.facts.topics.get(topic)?.places.len();
        if SLOTS_MAX < self.n_slots + n_places {
            return None;
        }
        self.n_slots += n_places;
        let idx = self.facts.mailboxes.len();
        let slots = vec![Slot::default(); n_places];
        self.facts.mailboxes.push(Mailbox { group, topic, is_planned: false, slots });
        self.facts.mailbox_of.insert((group, topic_number), idx);
        Some(idx)
    }

    fn finish(mut self) -> Facts<'a> {
        // Some write the range first and what is in it after.
        for ((node, topic), reads) in std::mem::take(&mut self.reads) {
            let idx = self.log_of.get(&(node, topic));
            let log = idx.and_then(|idx| self.facts.logs.get_mut(*idx));
            if let Some(log) = log.filter(|log| log.reads.is_empty()) {
                log.reads = reads;
            }
        }
        for log in &self.facts.logs {
            let Some(topic) = self.facts.topics.get_mut(log.topic) else { continue };
            let (start, end) = topic.read.unwrap_or((log.start, log.end));
            topic.read = Some((start.min(log.start), end.max(log.end)));
            for (place, event) in &log.reads {
                let Some(place) = topic.places.get_mut(*place) else { continue };
                place.is_final |= place.event == Some(*event);
            }
        }
        let Facts { topics, sent, .. } = &mut self.facts;
        for (idx, topic) in topics.iter_mut().enumerate() {
            link_keys(idx, topic, sent);
        }
        self.give_up();
        self.facts
    }
}

/// Tells each event its place, and each place the one before it with the same key.
fn link_keys(topic_idx: usize, topic: &mut Topic, sent: &mut [Sent]) {
    let Topic { places, offsets, read, .. } = topic;
    let is_in_log = |idx: usize, place: &Place| {
        let was_read = read.is_some_and(|(start, _)| start <= offsets.number(idx));
        place.source == Source::Log || !was_read
    };
    let mut keys = Vec::with_capacity(places.len());
    for place in places.iter() {
        let event = place.event.and_then(|event| sent.get_mut(event));
        let Some(event) = event.filter(|event| event.topic == topic_idx) else { continue };
        keys.push(event.key);
        event.n_places += u32::from(place.source == Source::Log);
    }
    let keys = Dense::of(keys);
    let mut last_of_key = vec![None; keys.len()];
    for (idx, place) in places.iter_mut().enumerate() {
        let event = place.event.and_then(|event| sent.get_mut(event));
        let event = event.filter(|event| event.call.is_some() && event.topic == topic_idx);
        let Some(event) = event.filter(|_| is_in_log(idx, place)) else { continue };
        event.place.get_or_insert(idx);
        let last = keys.idx(event.key).and_then(|key| last_of_key.get_mut(key));
        place.prev_of_key = last.and_then(|last| last.replace(idx));
    }
}
