//! I17: once all faults are over, the system is whole again, by itself.
//!
//! For a user: nobody has to be woken. When the nodes are back, publishing works, there is one
//! leader, all replicas have applied the same, and every group gets to the end of its topics.
//!
//! Held against what was seen after the faults were over: a publish must have succeeded, and each
//! that began more than 30 s after; of each node the last line about where it stands; of each node
//! and group the last floor. What was not told is not checked: that nobody leads, only if as many
//! nodes told where they stand as there are voters. A node that left the cluster must not tell it.

use std::collections::BTreeMap;

use crate::facts::{Answer, Facts};
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

/// By then publishing works again.
const HEALED_AFTER_US: u64 = 30_000_000;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let (Some(healed), Some(end)) = (facts.healed, facts.end) else {
        return findings.not_checked(Invariant::I17, "the run did not heal and end by itself");
    };
    let mut breaks = Breaks::default();
    publishes(facts, findings, &mut breaks, healed, end);
    let mut last = Last::default();
    for (at, line) in facts.lines.iter().enumerate() {
        last.take(at, healed, &line.seen);
    }
    replicas(facts, findings, &mut breaks, &last);
    floors(facts, findings, &mut breaks, &last, end);
    findings.report(Invariant::I17, breaks);
}

fn publishes(
    facts: &Facts<'_>,
    findings: &mut Findings<'_>,
    breaks: &mut Breaks,
    healed: usize,
    end: usize,
) {
    let at_us = |line: usize| facts.lines.get(line).map_or(0, |line| line.at_us);
    let is_after = |line: usize| healed < line && line != usize::MAX;
    let mut after = facts.calls.iter().filter(|call| is_after(call.line)).peekable();
    if after.peek().is_none() {
        return findings.not_checked(Invariant::I17, "publishing: nobody tried after the faults");
    }
    let (mut is_any_stored, mut last) = (false, healed);
    for call in after {
        let is_stored = matches!(call.answer, Answer::Stored { .. });
        is_any_stored |= is_stored;
        last = last.max(call.line);
        if !is_stored && at_us(healed).saturating_add(HEALED_AFTER_US) < at_us(call.line) {
            let what = "a publish more than 30 s after the faults did not succeed".to_owned();
            let event = call.events.first().and_then(|(event, _)| facts.event(*event));
            let point = || Point { event, place: None, lines: vec![healed] };
            breaks.add(call.line, || (point(), what));
        }
    }
    if !is_any_stored {
        let what = "no publish succeeded after the faults were over".to_owned();
        let point = || Point { event: None, place: None, lines: vec![healed, last] };
        breaks.add(end, || (point(), what));
    }
}

/// The last word of each, after the faults.
#[derive(Debug, Default)]
struct Last {
    /// Line, whether it leads, applied.
    status: BTreeMap<u32, (usize, bool, u64)>,
    floors: BTreeMap<(u32, u32, u32), (usize, u64)>,
}

impl Last {
    fn take(&mut self, at: usize, healed: usize, seen: &Seen) {
        match seen {
            Seen::DiskLost { node } => {
                self.status.remove(node);
                self.floors.retain(|(of_node, _, _), _| of_node != node);
            }
            Seen::Status { node, leads, applied, .. } if healed < at => {
                self.status.insert(*node, (at, *leads, *applied));
            }
            Seen::Floor { node, group, topic, floor } if healed < at => {
                self.floors.insert((*node, *group, *topic), (at, *floor));
            }
            _ => {}
        }
    }
}

fn replicas(facts: &Facts<'_>, findings: &mut Findings<'_>, breaks: &mut Breaks, last: &Last) {
    let stand: Vec<_> = last.status.iter().collect();
    let Some((first, (first_line, _, first_applied))) = stand.first() else {
        return findings.not_checked(Invariant::I17, "replicas: none told where it stands after");
    };
    let at = stand.iter().map(|(_, (line, _, _))| *line).max().unwrap_or_default();
    let leaders: Vec<_> = stand.iter().filter(|(_, (_, leads, _))| *leads).collect();
    let have_all_told = facts.run.is_none_or(|run| run.n_voters as usize <= stand.len());
    if 1 < leaders.len() || (leaders.is_empty() && have_all_told) {
        let n = leaders.len();
        let lines = stand.iter().map(|(_, (line, _, _))| *line).collect();
        breaks.add(at, || {
            let what = format!("after the faults were over, {n} nodes lead");
            (Point { event: None, place: None, lines }, what)
        });
    }
    for (node, (line, _, applied)) in &stand {
        if applied != first_applied {
            breaks.add((*line).max(*first_line), || {
                let what = format!(
                    "after the faults were over, node {first} has applied {first_applied} and node {node} {applied}"
                );
                (Point { event: None, place: None, lines: vec![*line, *first_line] }, what)
            });
        }
    }
}

fn floors(
    facts: &Facts<'_>,
    findings: &mut Findings<'_>,
    breaks: &mut Breaks,
    last: &Last,
    end_line: usize,
) {
    let mut is_any_told = false;
    for ((node, group, topic_number), (at, floor)) in &last.floors {
        let topic = facts.topic(*topic_number).and_then(|idx| facts.topics.get(idx));
        let Some(topic) = topic else { continue };
        is_any_told = true;
        let n_places = topic.offsets.len();
        let behind_last =
            n_places.checked_sub(1).map_or(0, |idx| topic.offsets.number(idx).saturating_add(1));
        let end = topic.read.map_or(behind_last, |(_, end)| end);
        if *floor < end {
            let idx = facts.topic(*topic_number).unwrap_or_default();
            breaks.add(end_line, || {
                let what = format!(
                    "after the faults were over, node {node} has group {group} at {floor} of {end}"
                );
                (Point { event: None, place: Some((idx, *floor)), lines: vec![*at] }, what)
            });
        }
    }
    if !is_any_told && facts.mailboxes.iter().any(|mailbox| mailbox.is_planned) {
        findings.not_checked(Invariant::I17, "groups: nobody told floors after the faults");
    }
}
