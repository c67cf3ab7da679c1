//! I3: an offset holds one event, for all nodes and for ever.
//!
//! For a user: an offset is a name that never changes its meaning. A cursor, a link or a dead letter
//! that names one means the same event tomorrow, and on every node.
//!
//! Logs are held against each other. Handlers are held against each other here only where no log
//! says what the offset holds; elsewhere I7 does it.

use crate::facts::{Facts, Source};
use crate::findings::{Breaks, Findings, Point};
use crate::history::{Event, Seen};
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    for (at, line) in facts.lines.iter().enumerate() {
        match &line.seen {
            Seen::Read { topic, offset, event, .. } => {
                look(facts, &mut breaks, at, (*topic, *offset), *event, true);
            }
            Seen::Placed { topic, first, events, .. } => {
                for (event, offset) in events.iter().zip(*first..=u64::MAX) {
                    look(facts, &mut breaks, at, (*topic, offset), *event, true);
                }
            }
            Seen::Started { topic, offset, event, .. } => {
                look(facts, &mut breaks, at, (*topic, *offset), *event, false);
            }
            _ => {}
        }
    }
    findings.report(Invariant::I3, breaks);
}

fn look(
    facts: &Facts<'_>,
    breaks: &mut Breaks,
    at: usize,
    (topic, offset): (u32, u64),
    event: Event,
    is_log: bool,
) {
    let Some(topic_idx) = facts.topic(topic) else { return };
    let Some(topic) = facts.topics.get(topic_idx) else { return };
    let place = topic.offsets.idx(offset).and_then(|idx| topic.places.get(idx));
    let Some(place) = place.filter(|place| is_log == (place.source == Source::Log)) else { return };
    let Some(other) = place.event.filter(|held| facts.event(event) != Some(*held)) else { return };
    breaks.add(at, || {
        let (other, number) = (facts.number(other), topic.number);
        let what =
            format!("offset {offset} of topic {number} holds event {other} and event {event}");
        let event = facts.event(event);
        (Point { event, place: Some((topic_idx, offset)), lines: vec![place.line] }, what)
    });
}
