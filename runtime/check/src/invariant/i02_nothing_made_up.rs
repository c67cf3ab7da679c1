//! I2: nothing is read that was not sent, and nothing is altered.
//!
//! For a user: what a handler gets, what a log gives and what is listed as a dead letter is what
//! somebody published to that topic, byte for byte; a publish that was refused has left nothing.

use crate::facts::{Facts, Sent};
use crate::findings::{Breaks, Findings, Point};
use crate::history::{Event, Key, Seen};
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    for (at, line) in facts.lines.iter().enumerate() {
        match &line.seen {
            Seen::Started { topic, offset, event, key, is_whole, .. } => {
                let (place, key) = ((*topic, *offset), Some(*key));
                look(facts, &mut breaks, at, place, *event, key, *is_whole);
            }
            Seen::Read { topic, offset, event, is_whole, .. } => {
                look(facts, &mut breaks, at, (*topic, *offset), *event, None, *is_whole);
            }
            Seen::DeadLetter { topic, offset, event, .. } => {
                look(facts, &mut breaks, at, (*topic, *offset), *event, None, true);
            }
            Seen::Placed { topic, first, events, .. } => {
                for (event, offset) in events.iter().zip(*first..=u64::MAX) {
                    look(facts, &mut breaks, at, (*topic, offset), *event, None, true);
                }
            }
            _ => {}
        }
    }
    findings.report(Invariant::I2, breaks);
}

fn look(
    facts: &Facts<'_>,
    breaks: &mut Breaks,
    at: usize,
    (topic, offset): (u32, u64),
    event: Event,
    key: Option<Key>,
    is_whole: bool,
) {
    let Some(idx) = facts.event(event) else { return };
    let Some(sent) = facts.sent.get(idx) else { return };
    let topic = facts.topic(topic);
    let why = match is_whole {
        true => wrong(facts, sent, at, topic, key),
        false => Some("is not what was published: its payload was altered"),
    };
    if let Some(why) = why {
        let place = topic.map(|topic| (topic, offset));
        let point = || Point { event: Some(idx), place, lines: Vec::new() };
        breaks.add(at, || (point(), format!("event {event} {why}")));
    }
}

fn wrong(
    facts: &Facts<'_>,
    sent: &Sent,
    at: usize,
    topic: Option<usize>,
    key: Option<Key>,
) -> Option<&'static str> {
    let call = sent.call.and_then(|call| facts.calls.get(call));
    let Some(call) = call else { return Some("was never published") };
    if at < call.line {
        return Some("was there before it was published");
    }
    if topic != Some(sent.topic) {
        return Some("was published to another topic");
    }
    if sent.n_refused == sent.n_calls {
        return Some("is there, and its publisher was told that surely nothing is stored");
    }
    key.is_some_and(|key| key != sent.key).then_some("has another key than it was published with")
}
