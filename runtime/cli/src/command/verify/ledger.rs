//! What a run came to, as people and scripts read it: the judge's figures and a few of our own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use tidings_check::history::{Installed, Line, Run, Seen};
use tidings_check::ledger::Tally;
use tidings_check::verdict::{Judgement, Verdict};

use crate::output::{count, word};

/// The first word of the last line, and the exit code behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Word {
    #[serde(rename = "pass")]
    Pass,
    #[serde(rename = "fail")]
    Fail,
    #[serde(rename = "unknown")]
    Unknown,
}

/// See the module's description. Scripts rely on the names: fields are added and never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Ledger {
    pub(super) verdict: Word,
    seed: u64,
    groups: u64,
    #[serde(flatten)]
    tally: Tally,
    /// How often the node was killed, paused and so on.
    faults: BTreeMap<String, u64>,
    /// From a kill to the first acknowledgement after it, in milliseconds.
    slowest_return_ms: Option<f64>,
    /// What does not hold.
    violations: Vec<String>,
    /// Why too little was seen.
    doubts: Vec<String>,
    not_checked: Vec<String>,
    history: String,
    /// The same schedule again; nothing if the run was recorded by something else.
    again: Option<String>,
}

impl Ledger {
    /// The ledger of a history and of what the judge says of it.
    pub(super) fn new(lines: &[Line], verdict: &Verdict, history: &Path) -> Self {
        let run = lines.iter().find_map(|line| match &line.seen {
            Seen::Run(run) => Some(run.clone()),
            _ => None,
        });
        let Run { seed, groups, .. } = run.unwrap_or_default();
        Self {
            verdict: match verdict.judgement {
                Judgement::Valid => Word::Pass,
                Judgement::Invalid => Word::Fail,
                Judgement::Unknown => Word::Unknown,
            },
            seed,
            groups: groups.len() as u64,
            tally: verdict.tally.clone(),
            faults: faults(lines),
            slowest_return_ms: slowest_return_us(lines).map(|us| us as f64 / 1e3),
            violations: verdict.violations.iter().map(ToString::to_string).collect(),
            doubts: verdict.doubts.clone(),
            not_checked: verdict
                .not_checked
                .iter()
                .map(|part| format!("{}: {}", part.invariant, part.why))
                .collect(),
            history: history.display().to_string(),
            again: None,
        }
    }

    /// Names the command that repeats the run.
    pub(super) fn with_command(mut self, command: String) -> Self {
        self.again = Some(command);
        self
    }

    /// Lets something that the judge cannot see count against the run.
    pub(super) fn doubt(&mut self, why: String) {
        self.doubts.push(why);
        if self.verdict == Word::Pass {
            self.verdict = Word::Unknown;
        }
    }

    /// In one sentence, why it is no pass.
    pub(super) fn why(&self) -> String {
        let first = self.violations.first().or(self.doubts.first());
        let first = first.and_then(|text| text.lines().next()).unwrap_or("nothing was proved");
        first.to_owned()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Tally { unknown_stored, unknown_not_stored, redelivered, .. } = self.tally;
        let mut text = String::new();
        let mut row = |name: &str, number: u64, remark: &str| {
            let line = format!("{name:<16}{:>11}   {remark}", count(number));
            writeln!(text, "{}", line.trim_end()).expect("a string takes everything");
        };
        let tally = &self.tally;
        row("acknowledged", tally.acknowledged, "");
        let unknown = format!(
            "no answer to rely on: {} were stored, {} were not (both allowed)",
            count(unknown_stored),
            count(unknown_not_stored)
        );
        row("unknown", tally.unknown, &unknown);
        row("refused", tally.refused, "surely not stored");
        let delivered = format!(
            "to {} groups, of which redelivered {} (at least once)",
            self.groups,
            count(redelivered)
        );
        row("delivered", tally.delivered, &delivered);
        row("failed attempts", tally.failed_attempts, "on purpose: errors and panics");
        row("dead letters", tally.dead_letters, "on purpose");
        row("missing", tally.missing, "acknowledged but never settled");
        row("out of order", tally.out_of_order, "per key");
        let bound = format!(
            "at most {}: in flight at each kill + failed attempts",
            count(tally.duplicates_bound)
        );
        row("duplicates", tally.duplicates, &bound);
        row("faults", tally.faults_installed, &self.faults_text());
        self.put_verdict(&mut text);
        text
    }

    fn faults_text(&self) -> String {
        let kinds = self.faults.iter().map(|(what, n)| format!("{what} {n}"));
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        let overlapped = self.tally.faults_overlapped;
        let slowest = match self.slowest_return_ms {
            Some(ms) => format!("; slowest return after a kill {ms:.0} ms"),
            None => String::new(),
        };
        format!("{overlapped} overlapped an acknowledged publish{slowest}\n{:30}{kinds}", "")
    }

    fn put_verdict(&self, text: &mut String) {
        for violation in &self.violations {
            *text += &format!("violated  {}\n", violation.trim_end());
        }
        for doubt in &self.doubts {
            *text += &format!("doubtful  {doubt}\n");
        }
        let verdict = match self.verdict {
            Word::Pass => "PASS",
            Word::Fail => "FAIL",
            Word::Unknown => "UNKNOWN",
        };
        *text += &format!("{verdict}   history {}", word(&self.history));
        if let Some(again) = &self.again {
            *text += &format!("   same schedule again: {again}");
        }
    }
}

fn faults(lines: &[Line]) -> BTreeMap<String, u64> {
    let mut faults = BTreeMap::new();
    for line in lines {
        if let Seen::Fault { what, installed: Installed::Yes, .. } = &line.seen {
            *faults.entry(what.clone()).or_default() += 1;
        }
    }
    faults
}

/// From the first death of a node to the first acknowledgement of a call that began behind its
/// return, at most; in microseconds.
fn slowest_return_us(lines: &[Line]) -> Option<u64> {
    let (mut slowest, mut down_us, mut up_us) = (None, None, None);
    let mut begun_us = BTreeMap::new();
    for line in lines {
        match &line.seen {
            Seen::Down { .. } => {
                down_us.get_or_insert(line.at_us);
                up_us = None;
            }
            Seen::Up { .. } if down_us.is_some() => up_us = Some(line.at_us),
            Seen::Publish { op, .. } => {
                begun_us.insert(*op, line.at_us);
            }
            Seen::Published { op, .. } => {
                let begun_us = begun_us.remove(op);
                if let (Some(down), Some(up), Some(begun)) = (down_us, up_us, begun_us)
                    && up <= begun
                {
                    slowest = slowest.max(Some(line.at_us.saturating_sub(down)));
                    (down_us, up_us) = (None, None);
                }
            }
            Seen::Refused { op, .. } | Seen::Unknown { op, .. } => {
                begun_us.remove(op);
            }
            _ => {}
        }
    }
    slowest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let fault = |what: &str| Seen::Fault {
            what: what.to_owned(),
            node: Some(1),
            installed: Installed::Yes,
        };
        let publish =
            |op| Seen::Publish { op, publisher: 0, events: vec![(op, 0)], topic: 1, place: None };
        let run = Run { seed: 8_123, groups: vec![(0, vec![1]), (1, vec![1])], ..Run::default() };
        let seen = [
            Seen::Run(run),
            Seen::Up { node: 1 },
            publish(1),
            fault("kill"),
            Seen::Down { node: 1, in_flight: 3 },
            Seen::Up { node: 1 },
            // An answer that was under way at the kill says nothing about the return.
            Seen::Published { op: 1, first: 0 },
            fault("kill"),
            Seen::Down { node: 1, in_flight: 3 },
            Seen::Up { node: 1 },
            publish(2),
            Seen::Published { op: 2, first: 1 },
            Seen::End,
        ];
        (1..).zip(seen).map(|(at, seen)| Line { at_us: at * 10_000, seen }).collect()
    }

    fn verdict() -> Verdict {
        let tally = Tally {
            acknowledged: 29_987,
            unknown: 13,
            unknown_stored: 9,
            unknown_not_stored: 4,
            delivered: 60_122,
            redelivered: 118,
            failed_attempts: 100,
            duplicates: 118,
            duplicates_bound: 640,
            faults_installed: 2,
            faults_overlapped: 2,
            ..Tally::default()
        };
        let (violations, doubts) = (Vec::new(), Vec::new());
        let not_checked = Vec::new();
        Verdict { judgement: Judgement::Valid, violations, doubts, not_checked, tally }
    }

    /// People learn to read this by heart, so a change of it must be seen.
    #[test]
    fn ledgers_look_like_this() {
        let ledger = Ledger::new(&lines(), &verdict(), Path::new(".tidings/verify/8123.jsonl"));
        let ledger = ledger.with_command("tidings verify --seed 8123".to_owned());
        let expected = "\
acknowledged         29,987
unknown                  13   no answer to rely on: 9 were stored, 4 were not (both allowed)
refused                   0   surely not stored
delivered            60,122   to 2 groups, of which redelivered 118 (at least once)
failed attempts         100   on purpose: errors and panics
dead letters              0   on purpose
missing                   0   acknowledged but never settled
out of order              0   per key
duplicates              118   at most 640: in flight at each kill + failed attempts
faults                    2   2 overlapped an acknowledged publish; slowest return after a kill 70 ms
                              kill 2
PASS   history .tidings/verify/8123.jsonl   same schedule again: tidings verify --seed 8123";
        assert_eq!(ledger.text(), expected);
    }

    /// What the judge cannot see must take a pass away.
    #[test]
    fn doubts_count() {
        let mut ledger = Ledger::new(&lines(), &verdict(), Path::new("h"));
        assert_eq!(ledger.verdict, Word::Pass);
        ledger.doubt("a line of the journal cannot be read".to_owned());
        assert_eq!(ledger.verdict, Word::Unknown);
        assert_eq!(ledger.why(), "a line of the journal cannot be read");
        let text = ledger.text();
        assert!(text.ends_with("cannot be read\nUNKNOWN   history h"), "{text}");
    }
}
