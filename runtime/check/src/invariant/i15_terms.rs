//! I15: terms and positions do not go back, and a term has one leader.
//!
//! For a user: no two nodes ever take publishes for the same cluster side by side, and no node
//! forgets what it has agreed to.
//!
//! While a node runs, its term and its commit and applied positions only grow, and applied ≤ commit
//! ≤ last. Over a restart a position may go back: it is found again from the log. A term may go back
//! only if it cannot have been durable yet: one in which the node led was (it asked others for their
//! votes after it had written its own), and for a lone voter one in which it committed.

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    if !facts.has.status {
        return findings.not_checked(Invariant::I15, "nobody told where it stands");
    }
    let mut breaks = Breaks::default();
    let mut nodes: BTreeMap<u32, Node> = BTreeMap::new();
    let mut leaders: BTreeMap<u64, (u32, usize)> = BTreeMap::new();
    let is_lone = facts.run.is_some_and(|run| run.n_voters <= 1);
    for (at, line) in facts.lines.iter().enumerate() {
        match line.seen {
            Seen::Up { node } | Seen::Down { node, .. } => {
                nodes.entry(node).or_default().newest = None;
            }
            Seen::DiskLost { node } => {
                nodes.remove(&node);
            }
            Seen::Status { node, term, leads, commit, applied, last } => {
                let stand = Stand { at, term, leads, commit, applied, last };
                nodes.entry(node).or_default().take(&mut breaks, node, stand, is_lone);
                let (leader, line) = match leads {
                    true => *leaders.entry(term).or_insert((node, at)),
                    false => continue,
                };
                if leader != node {
                    breaks.add(at, || {
                        let what = format!("nodes {leader} and {node} both led in term {term}");
                        (lines(line), what)
                    });
                }
            }
            _ => {}
        }
    }
    findings.report(Invariant::I15, breaks);
}

fn lines(other: usize) -> Point {
    Point { event: None, place: None, lines: vec![other] }
}

#[derive(Clone, Copy, Debug)]
struct Stand {
    at: usize,
    term: u64,
    leads: bool,
    commit: u64,
    applied: u64,
    last: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Since it started.
    newest: Option<Stand>,
    /// A term that its disk must know, and the line that shows it.
    durable_term: Option<(u64, usize)>,
}

impl Node {
    fn take(&mut self, breaks: &mut Breaks, node: u32, now: Stand, is_lone: bool) {
        let order = [
            ("applied", now.applied, "commit", now.commit),
            ("commit", now.commit, "last", now.last),
        ];
        for (name, lower, upper_name, upper) in order {
            if upper < lower {
                let what = format!("node {node} has {name} {lower} beyond {upper_name} {upper}");
                breaks.add(now.at, || (Point::default(), what));
            }
        }
        if let Some(before) = self.newest {
            let grown = [
                ("term", before.term, now.term),
                ("commit", before.commit, now.commit),
                ("applied", before.applied, now.applied),
            ];
            for (name, older, newer) in grown {
                if newer < older {
                    let what = format!(
                        "node {node} went back from {name} {older} to {newer} while it ran"
                    );
                    breaks.add(now.at, || (lines(before.at), what));
                }
            }
        } else if let Some((term, line)) = self.durable_term.filter(|(term, _)| now.term < *term) {
            let newer = now.term;
            breaks.add(now.at, || {
                let what =
                    format!("node {node} forgot term {term} over a restart: it is in {newer}");
                (lines(line), what)
            });
        }
        let has_committed = self.newest.is_some_and(|before| {
            before.leads && before.term == now.term && before.commit < now.commit
        });
        let is_durable = now.leads && (!is_lone || has_committed);
        if is_durable && self.durable_term.is_none_or(|(term, _)| term <= now.term) {
            self.durable_term = Some((now.term, now.at));
        }
        self.newest = Some(now);
    }
}
