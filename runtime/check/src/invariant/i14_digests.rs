//! I14: replicas agree.
//!
//! For a user: it does not matter which node answers or leads: after the same entry all nodes have
//! the same topics, groups, floors, publishers and dead letters.
//!
//! Digests are compared where two were told for one entry, by two nodes or by one that replayed it.

use crate::facts::Facts;
use crate::findings::{Breaks, Findings, Point};
use crate::history::Seen;
use crate::violation::Invariant;

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    if !facts.has.digest {
        return findings.not_checked(Invariant::I14, "nobody told digests");
    }
    let digest = |(at, line): (usize, &crate::history::Line)| match line.seen {
        Seen::Digest { node, index, digest } => Some((index, at, node, digest)),
        _ => None,
    };
    let mut digests: Vec<_> = facts.lines.iter().enumerate().filter_map(digest).collect();
    digests.sort_unstable();
    let mut breaks = Breaks::default();
    for pair in digests.windows(2) {
        let [(index, at, node, digest), (other_index, other_at, other, other_digest)] = pair else {
            continue;
        };
        if index == other_index && digest != other_digest {
            breaks.add(*other_at, || {
                let what = format!(
                    "after entry {index} node {node} has digest {digest:016x} and node {other} has {other_digest:016x}"
                );
                (Point { event: None, place: None, lines: vec![*at] }, what)
            });
        }
    }
    findings.report(Invariant::I14, breaks);
}
