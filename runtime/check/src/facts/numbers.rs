//! The first sweep: collects all numbers that lines name, so that they can be made dense.

use std::collections::BTreeMap;

use crate::facts::dense::Dense;
use crate::history::{Line, Seen};

/// What is named anywhere in a history.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) events: Dense,
    pub(crate) ops: Dense,
    pub(crate) topics: Dense,
    /// Offsets by the topic's idx.
    pub(crate) offsets: Vec<Dense>,
}

#[derive(Default)]
struct Sweep {
    events: Vec<u64>,
    ops: Vec<u64>,
    offsets: BTreeMap<u32, Vec<u64>>,
    /// Topic and number of events by call.
    calls: Vec<(u64, u32, u64)>,
    told: Vec<(u64, u64)>,
}

impl Numbers {
    pub(crate) fn of(lines: &[Line]) -> Self {
        let mut sweep = Sweep::default();
        for line in lines {
            sweep.line(&line.seen);
        }
        let ops = Dense::of(sweep.ops);
        let mut by_op = vec![None; ops.len()];
        for (op, topic, n_events) in sweep.calls {
            if let Some(entry) = ops.idx(op).and_then(|idx| by_op.get_mut(idx)) {
                *entry = Some((topic, n_events));
            }
        }
        for (op, first) in sweep.told {
            let call = ops.idx(op).and_then(|idx| by_op.get(idx).copied().flatten());
            let Some((topic, n_events)) = call else { continue };
            let offsets = sweep.offsets.entry(topic).or_default();
            offsets.extend((0..n_events).filter_map(|i| first.checked_add(i)));
        }
        let topics = Dense::of(sweep.offsets.keys().map(|topic| u64::from(*topic)).collect());
        let offsets = sweep.offsets.into_values().map(Dense::of).collect();
        Self { events: Dense::of(sweep.events), ops, topics, offsets }
    }
}

impl Sweep {
    fn line(&mut self, seen: &Seen) {
        match seen {
            Seen::Run(run) => {
                for topic in run.groups.iter().flat_map(|(_, topics)| topics) {
                    self.offsets.entry(*topic).or_default();
                }
            }
            Seen::Publish { op, events, topic, .. } => {
                self.ops.push(*op);
                self.events.extend(events.iter().map(|(event, _)| *event));
                self.offsets.entry(*topic).or_default();
                self.calls.push((*op, *topic, events.len() as u64));
            }
            Seen::Published { op, first } => self.told.push((*op, *first)),
            Seen::Durable { event, .. } => self.events.push(*event),
            Seen::Placed { topic, first, events, .. } => {
                self.events.extend(events);
                let offsets = self.offsets.entry(*topic).or_default();
                let n_events = events.len() as u64;
                offsets.extend((0..n_events).filter_map(|i| first.checked_add(i)));
            }
            Seen::Started { topic, offset, event, .. }
            | Seen::Read { topic, offset, event, .. }
            | Seen::DeadLetter { topic, offset, event, .. } => {
                self.events.push(*event);
                self.offsets.entry(*topic).or_default().push(*offset);
            }
            Seen::Settled { topic, .. }
            | Seen::Floor { topic, .. }
            | Seen::Ended { topic, .. }
            | Seen::ReadThrough { topic, .. } => {
                self.offsets.entry(*topic).or_default();
            }
            _ => {}
        }
    }
}
