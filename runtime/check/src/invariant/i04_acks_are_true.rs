//! I4: an acknowledgement tells the truth.
//!
//! For a user: the offset that `publish` returned holds that event for ever. Asking again, or a
//! resend behind the scenes, gives the same offset, and one publish takes one place.
//!
//! What was acknowledged and is in no log at all is I1's to report.

use crate::facts::{Answer, Facts, Source};
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    for (at, line) in facts.lines.iter().enumerate() {
        if let Seen::Published { op, first } = &line.seen {
            told(facts, &mut breaks, at, *op, *first);
        }
    }
    for (event, sent) in facts.sent.iter().enumerate() {
        if sent.n_calls < sent.n_places && 0 < sent.n_calls {
            stored_twice(facts, &mut breaks, event);
        }
    }
    findings.report(Invariant::I4, breaks);
}

fn told(facts: &Facts<'_>, breaks: &mut Breaks, at: usize, op: u64, told: u64) {
    let Some(call) = facts.call_of(op) else { return };
    let Answer::Stored { line, first } = call.answer else { return };
    if told != first {
        let event = call.events.first().and_then(|(event, _)| facts.event(*event));
        let what = format!("call {op} was told offset {first}, and when it asked again {told}");
        let place = Some((call.topic, first));
        return breaks.add(at, || (Point { event, place, lines: vec![line] }, what));
    }
    let Some(topic) = facts.topics.get(call.topic) else { return };
    for ((number, _), offset) in call.events.iter().zip(first..=u64::MAX) {
        let Some(event) = facts.event(*number) else { continue };
        let place = topic.offsets.idx(offset).and_then(|idx| topic.places.get(idx));
        let held = place.filter(|place| place.source == Source::Log && place.event != Some(event));
        let acked = facts.sent.get(event).and_then(|sent| sent.acked);
        let point = |other: usize| {
            let place = Some((call.topic, offset));
            Point { event: Some(event), place, lines: vec![other, at] }
        };
        if let Some(held) = held {
            let other = held.event.map_or(0, |other| facts.number(other));
            breaks.add(at.max(held.line), || {
                let what = format!(
                    "event {number} was acknowledged at offset {offset}, where the log has event {other}"
                );
                (point(held.line), what)
            });
        } else if let Some((line, older)) = acked.filter(|(_, older)| *older != offset) {
            let what =
                format!("event {number} was acknowledged at offset {older}, then at {offset}");
            breaks.add(at, || (point(line), what));
        }
    }
}

fn stored_twice(facts: &Facts<'_>, breaks: &mut Breaks, event: usize) {
    let Some(sent) = facts.sent.get(event) else { return };
    let Some(topic) = facts.topics.get(sent.topic) else { return };
    let is_of =
        |place: &&crate::facts::Place| place.source == Source::Log && place.event == Some(event);
    let lines: Vec<_> = topic.places.iter().filter(is_of).map(|place| place.line).collect();
    let line = lines.iter().max().copied().unwrap_or_default();
    let offset = sent.place.map_or(0, |place| topic.offsets.number(place));
    let (number, n) = (facts.number(event), lines.len());
    let place = Some((sent.topic, offset));
    let what = format!("event {number} was published once and stored {n} times");
    breaks.add(line, || (Point { event: Some(event), place, lines }, what));
}
