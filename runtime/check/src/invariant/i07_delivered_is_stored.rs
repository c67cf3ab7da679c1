//! I7: only what is in the log was ever delivered.
//!
//! For a user: a handler never sees an event that later turns out not to have happened, such as one
//! that a leader had and no majority took.
//!
//! Held against handlers and dead letters of topics of which some node was read through after; not
//! checked for others.

use crate::facts::Facts;
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    // The last line that read a topic through, by its idx.
    let mut read_at: Vec<Option<usize>> = vec![None; facts.topics.len()];
    for log in &facts.logs {
        if let Some(read_at) = read_at.get_mut(log.topic) {
            *read_at = (*read_at).max(Some(log.line));
        }
    }
    let mut breaks = Breaks::default();
    let mut has_unread = false;
    for handling in &facts.handlings {
        let Some(mailbox) = facts.mailboxes.get(handling.mailbox) else { continue };
        match read_at.get(mailbox.topic).copied().flatten() {
            None => has_unread = true,
            Some(read_at) if handling.line < read_at => {
                let place = (mailbox.topic, handling.place);
                look(
                    facts,
                    &mut breaks,
                    handling.line,
                    read_at,
                    place,
                    handling.event,
                    "delivered",
                );
            }
            Some(_) => {}
        }
    }
    for (at, line) in facts.lines.iter().enumerate() {
        let Seen::DeadLetter { topic, offset, event, .. } = &line.seen else { continue };
        let Some(topic) = facts.topic(*topic) else { continue };
        let place = facts.topics.get(topic).and_then(|topic| topic.offsets.idx(*offset));
        let (Some(place), Some(event)) = (place, facts.event(*event)) else { continue };
        if let Some(read_at) = read_at.get(topic).copied().flatten() {
            look(facts, &mut breaks, at, read_at, (topic, place), event, "a dead letter");
        }
    }
    if has_unread {
        findings.not_checked(Invariant::I7, "handlers of topics that no node was read through of");
    }
    findings.report(Invariant::I7, breaks);
}

fn look(
    facts: &Facts<'_>,
    breaks: &mut Breaks,
    at: usize,
    read_at: usize,
    (topic_idx, place_idx): (usize, usize),
    event: usize,
    how: &str,
) {
    let Some(topic) = facts.topics.get(topic_idx) else { return };
    let Some(place) = topic.places.get(place_idx) else { return };
    let offset = topic.offsets.number(place_idx);
    let is_kept = topic.read.is_some_and(|(start, _)| start <= offset);
    if !is_kept || (place.is_final && place.event == Some(event)) {
        return;
    }
    breaks.add(at, || {
        let number = facts.number(event);
        let there = match place.event.filter(|_| place.is_final) {
            Some(other) => format!("where the log has event {}", facts.number(other)),
            None => "where no log has anything".to_owned(),
        };
        let what = format!("event {number} was {how} from offset {offset}, {there}");
        let point =
            Point { event: Some(event), place: Some((topic_idx, offset)), lines: vec![read_at] };
        (point, what)
    });
}
