//! I20: the run saw enough to prove something.
//!
//! For a user: a green light means that the system was hurt while it worked. A run in which hardly
//! anything was published, or whose faults did not take hold, proves nothing and is no success.

use crate::facts::Facts;
use crate::findings::Findings;

/// Why too little was seen, in words.
pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let tally = findings.tally.clone();
    let mut doubt = |why: String| findings.doubts.push(why);
    if facts.end.is_none() {
        doubt("the run did not end by itself: its history has no last line".to_owned());
    }
    if let Some(stray) = facts.strays.first() {
        let (number, n) = (stray.line + 1, facts.strays.len());
        doubt(format!("line {number} {}; {n} lines fit to nothing", stray.why));
    }
    let Some(run) = facts.run else {
        return doubt(
            "nothing says what the run was to do: its history has no first line".to_owned(),
        );
    };
    if tally.acknowledged < run.acknowledged_min {
        let (n, min) = (tally.acknowledged, run.acknowledged_min);
        doubt(format!("{n} events were acknowledged, and at least {min} should have been"));
    }
    if tally.faults_overlapped < run.faults_min {
        let (n, min) = (tally.faults_overlapped, run.faults_min);
        let installed = tally.faults_installed;
        doubt(format!(
            "{n} faults of {installed} that took hold overlapped an acknowledged publish, and at least {min} should have"
        ));
    }
}
