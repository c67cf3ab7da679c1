//! What the invariants found, with the smallest witness of each.

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::history::{Event, Seen};
use crate::ledger::Tally;
use crate::violation::{Invariant, NotChecked, Quote, Slice, Violation, Witness};

/// What was found in one history.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    facts: &'a Facts<'a>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) not_checked: Vec<NotChecked>,
    pub(crate) doubts: Vec<String>,
    pub(crate) tally: Tally,
    /// Acknowledged events that are missing somewhere.
    pub(crate) n_missing: u64,
    /// Handlings out of order.
    pub(crate) n_out_of_order: u64,
    /// Repeats, and how many there may be.
    pub(crate) repeats: (u64, u64),
}

/// The places at which one invariant is broken; of these the first is kept.
#[derive(Debug, Default)]
pub(crate) struct Breaks {
    n: u64,
    first: Option<(usize, Point, String)>,
}

/// What a violation is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    /// The event's idx.
    pub(crate) event: Option<usize>,
    /// The topic's idx and an offset.
    pub(crate) place: Option<(usize, u64)>,
    /// The lines that clash.
    pub(crate) lines: Vec<usize>,
}

impl Breaks {
    /// One more, evident from this line on.
    pub(crate) fn add(&mut self, line: usize, tell: impl FnOnce() -> (Point, String)) {
        self.n += 1;
        if self.first.as_ref().is_none_or(|(first, _, _)| line < *first) {
            let (mut point, what) = tell();
            point.lines.push(line);
            self.first = Some((line, point, what));
        }
    }

    /// How many.
    pub(crate) fn n(&self) -> u64 {
        self.n
    }
}

impl<'a> Findings<'a> {
    pub(crate) fn new(facts: &'a Facts<'a>) -> Self {
        Self {
            facts,
            violations: Vec::new(),
            not_checked: Vec::new(),
            doubts: Vec::new(),
            tally: Tally::of(facts),
            n_missing: 0,
            n_out_of_order: 0,
            repeats: (0, 0),
        }
    }

    /// An invariant was looked at; it holds if it is broken nowhere.
    pub(crate) fn report(&mut self, invariant: Invariant, breaks: Breaks) {
        let Some((_, point, what)) = breaks.first else { return };
        let witness = witness(self.facts, &point);
        self.violations.push(Violation { invariant, what, n_places: breaks.n, witness });
    }

    /// An invariant, or a part of it, cannot be told from this history.
    pub(crate) fn not_checked(&mut self, invariant: Invariant, why: &'static str) {
        self.not_checked.push(NotChecked { invariant, why });
    }
}

/// How telling a line is about an event; none if it is not about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Clash,
    Story,
    Replica,
    Disk,
}

fn witness(facts: &Facts<'_>, point: &Point) -> Witness {
    let event = point.event.map(|idx| facts.number(idx));
    let topic = point.place.and_then(|(topic, _)| facts.topics.get(topic));
    let place = topic.zip(point.place).map(|(topic, (_, offset))| (topic.number, offset));
    let mut found: Vec<(Weight, usize)> = Vec::new();
    for (at, line) in facts.lines.iter().enumerate() {
        let weight = match point.lines.contains(&at) {
            true => Some(Weight::Clash),
            false => weight(facts, &line.seen, event, place),
        };
        found.extend(weight.map(|weight| (weight, at)));
    }
    found.sort_unstable();
    let n_more_lines = found.len().saturating_sub(Witness::LINES_MAX) as u64;
    found.truncate(Witness::LINES_MAX);
    let mut lines: Vec<_> = found.into_iter().map(|(_, at)| at).collect();
    lines.sort_unstable();
    Witness {
        event,
        place,
        n_more_lines,
        faults: faults(facts, &point.lines, &lines),
        lines: lines.into_iter().filter_map(|at| quote(facts, at)).collect(),
        logs: logs(facts, point.place),
    }
}

fn quote(facts: &Facts<'_>, at: usize) -> Option<Quote> {
    facts.lines.get(at).map(|line| Quote { number: at + 1, line: line.clone() })
}

fn weight(
    facts: &Facts<'_>,
    seen: &Seen,
    event: Option<Event>,
    place: Option<(u32, u64)>,
) -> Option<Weight> {
    let is_event = |of_line: &Event| event == Some(*of_line);
    let is_in = |topic: u32, first: u64, n: u64| {
        place.is_some_and(|(of_point, at)| {
            of_point == topic && (first..first.saturating_add(n)).contains(&at)
        })
    };
    let is_told = |op: u64| {
        let call = facts.call_of(op);
        call.is_some_and(|call| call.events.iter().any(|(of_call, _)| is_event(of_call)))
    };
    match seen {
        Seen::Publish { events, .. } => {
            events.iter().any(|(of_line, _)| is_event(of_line)).then_some(Weight::Story)
        }
        Seen::Published { op, .. } | Seen::Refused { op, .. } | Seen::Unknown { op, .. } => {
            is_told(*op).then_some(Weight::Story)
        }
        Seen::Started { topic, offset, event, .. }
        | Seen::DeadLetter { topic, offset, event, .. } => {
            (is_event(event) || is_in(*topic, *offset, 1)).then_some(Weight::Story)
        }
        Seen::Ended { topic, offset, .. } => is_in(*topic, *offset, 1).then_some(Weight::Story),
        Seen::Settled { topic, first, n_events, .. } => {
            is_in(*topic, *first, *n_events).then_some(Weight::Story)
        }
        Seen::Placed { topic, first, events, .. } => {
            let is_there = is_in(*topic, *first, events.len() as u64);
            (is_there || events.iter().any(is_event)).then_some(Weight::Replica)
        }
        Seen::Read { topic, offset, event, .. } => {
            (is_event(event) || is_in(*topic, *offset, 1)).then_some(Weight::Replica)
        }
        Seen::Durable { event, .. } => is_event(event).then_some(Weight::Disk),
        _ => None,
    }
}

/// The last three before all is evident and the first one after, that are not told anyway.
fn faults(facts: &Facts<'_>, clash: &[usize], told: &[usize]) -> Vec<Quote> {
    const BEFORE: usize = 3;
    let evident = clash.iter().max().copied().unwrap_or(facts.lines.len());
    let is_fault = |at: &usize| {
        let seen = facts.lines.get(*at).map(|line| &line.seen);
        let is_fault = matches!(
            seen,
            Some(
                Seen::Fault { .. }
                    | Seen::Down { .. }
                    | Seen::DiskLost { .. }
                    | Seen::Removed { .. }
                    | Seen::WorkerGone { .. }
            )
        );
        is_fault && !told.contains(at)
    };
    let mut before: Vec<_> = (0..evident).rev().filter(is_fault).take(BEFORE).collect();
    before.reverse();
    let after = (evident..facts.lines.len()).find(is_fault);
    before.into_iter().chain(after).filter_map(|at| quote(facts, at)).collect()
}

/// What each node has within two offsets of a place.
fn logs(facts: &Facts<'_>, place: Option<(usize, u64)>) -> Vec<Slice> {
    const AROUND: u64 = 2;
    let Some((topic, offset)) = place else { return Vec::new() };
    let range = offset.saturating_sub(AROUND)..=offset.saturating_add(AROUND);
    let of_topic = facts.logs.iter().filter(|log| log.topic == topic);
    let slice = |log: &crate::facts::NodeLog| {
        let read = log
            .reads
            .iter()
            .map(|(place, event)| (facts.offset(topic, *place), facts.number(*event)));
        let near: BTreeMap<u64, Event> = read.filter(|(at, _)| range.contains(at)).collect();
        let events = near.into_iter().collect();
        Slice { node: log.node, events, range: (log.start, log.end) }
    };
    of_topic.take(Witness::LOGS_MAX).map(slice).collect()
}
