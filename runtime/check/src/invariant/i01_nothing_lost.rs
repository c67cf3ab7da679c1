//! I1: no acknowledged event is lost.
//!
//! For a user: what `publish` said `Ok` to is in every replica's log, and every group that reads the
//! topic has handled it with success or holds it as a dead letter.
//!
//! Logs are held against it where a node was read through, from the start that it still has on, and
//! for what was acknowledged before. Groups are held against it only in a run that ended by itself,
//! since before its end an event may still be on its way. A dead letter counts when it is listed:
//! one that was settled and is not listed is lost.

use crate::facts::{Facts, NodeLog, Slot, Topic};
use crate::findings::{Breaks, Findings, Point};
use crate::violation::Invariant;

/// An acknowledged event: its offset, idx, and the line that acknowledged it.
type Acked = (u64, usize, usize);

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut search = Search { facts, breaks: Breaks::default(), is_missing: Vec::new() };
    search.is_missing.resize(facts.sent.len(), false);
    let acked = acked_by_topic(facts);
    if facts.has.disks_lost {
        findings.not_checked(Invariant::I1, "logs: the only disk was lost");
    } else if facts.logs.is_empty() {
        findings.not_checked(Invariant::I1, "logs: no node was read through");
    } else {
        for log in &facts.logs {
            search.log(log, acked.get(log.topic).map_or(&[], Vec::as_slice));
        }
    }
    if facts.end.is_none() {
        findings.not_checked(Invariant::I1, "groups: the run did not end by itself");
    } else if !facts.mailboxes.iter().any(|mailbox| mailbox.is_planned) {
        findings.not_checked(Invariant::I1, "groups: the run names none");
    } else {
        for idx in 0..facts.mailboxes.len() {
            search.group(idx, &acked);
        }
    }
    findings.n_missing = search.is_missing.iter().filter(|is_missing| **is_missing).count() as u64;
    findings.report(Invariant::I1, search.breaks);
}

fn acked_by_topic(facts: &Facts<'_>) -> Vec<Vec<Acked>> {
    let mut by_topic = vec![Vec::new(); facts.topics.len()];
    for (event, sent) in facts.sent.iter().enumerate() {
        let Some((line, offset)) = sent.acked else { continue };
        if let Some(acked) = by_topic.get_mut(sent.topic) {
            acked.push((offset, event, line));
        }
    }
    for acked in &mut by_topic {
        acked.sort_unstable();
    }
    by_topic
}

struct Search<'a> {
    facts: &'a Facts<'a>,
    breaks: Breaks,
    is_missing: Vec<bool>,
}

impl Search<'_> {
    fn log(&mut self, log: &NodeLog, acked: &[Acked]) {
        let mut has = vec![false; self.facts.sent.len()];
        for (_, event) in &log.reads {
            if let Some(has) = has.get_mut(*event) {
                *has = true;
            }
        }
        let promised = |(offset, _, line): &&Acked| log.start <= *offset && *line < log.line;
        let promised: Vec<_> = acked.iter().filter(promised).copied().collect();
        let is_there = |event: usize| has.get(event).copied().unwrap_or_default();
        let whose = || format!("the log of node {}", log.node);
        self.compare(&promised, is_there, log.topic, log.line, whose);
    }

    fn group(&mut self, mailbox: usize, acked: &[Vec<Acked>]) {
        let facts = self.facts;
        let Some(mailbox) = facts.mailboxes.get(mailbox).filter(|m| m.is_planned) else { return };
        let Some(topic) = facts.topics.get(mailbox.topic) else { return };
        let acked = acked.get(mailbox.topic).map_or(&[][..], Vec::as_slice);
        let is_there = |event: usize| {
            let sent = facts.sent.get(event);
            let offset = sent.and_then(|sent| sent.acked).map(|acked| acked.1);
            is_over(topic, &mailbox.slots, offset)
        };
        let whose = || format!("group {}, as success or dead letter", mailbox.group);
        let end = facts.end.unwrap_or_default();
        self.compare(acked, is_there, mailbox.topic, end, whose);
    }

    fn compare(
        &mut self,
        promised: &[Acked],
        is_there: impl Fn(usize) -> bool,
        topic: usize,
        line: usize,
        whose: impl Fn() -> String,
    ) {
        let missing = |(_, (_, event, _)): &(usize, &Acked)| !is_there(*event);
        let missing: Vec<_> = promised.iter().enumerate().filter(missing).collect();
        let (Some((first_idx, first)), Some((last_idx, _))) = (missing.first(), missing.last())
        else {
            return;
        };
        for (_, (_, event, _)) in &missing {
            if let Some(is_missing) = self.is_missing.get_mut(*event) {
                *is_missing = true;
            }
        }
        let is_run = last_idx - first_idx + 1 == missing.len();
        let part = match (*first_idx == 0, last_idx + 1 == promised.len()) {
            _ if !is_run => "scattered",
            (true, true) => "all of them",
            (true, false) => "the first ones",
            (false, true) => "the last ones",
            (false, false) => "from the middle",
        };
        let (n, of) = (missing.len(), promised.len());
        let (offset, event, acked) = **first;
        self.breaks.add(line, || {
            let number = self.facts.number(event);
            let what = format!(
                "acknowledged event {number} is missing in {}; {n} of {of} are missing there ({part})",
                whose()
            );
            let point = Point { event: Some(event), place: Some((topic, offset)), lines: vec![acked] };
            (point, what)
        });
    }
}

fn is_over(topic: &Topic, slots: &[Slot], offset: Option<u64>) -> bool {
    let slot = offset.and_then(|offset| topic.offsets.idx(offset)).and_then(|idx| slots.get(idx));
    slot.is_some_and(|slot| slot.done.is_some() || slot.letter.is_some())
}
