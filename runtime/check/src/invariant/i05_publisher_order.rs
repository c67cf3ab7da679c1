//! I5: events of one publisher keep its order.
//!
//! For a user: what one publisher sends one after the other lies in the log in that order, also when
//! it does not wait for answers and batches are resent.
//!
//! Only calls that name their place in the publisher's pipeline are held against it, with all that
//! is known of where they are stored, acknowledged or not. A publisher that starts anew is another
//! one. An earlier acknowledged call that is not stored at all is I1's to report.

use crate::facts::{Answer, Call, Facts};
use crate::findings::{Breaks, Findings, Point};
use crate::violation::Invariant;

/// A call that is stored: publisher, topic, place in the pipeline, first and last offset, its line.
type Stored = (u32, usize, u64, u64, u64, usize);

pub(super) fn judge(facts: &Facts<'_>, findings: &mut Findings<'_>) {
    let mut breaks = Breaks::default();
    let mut stored: Vec<Stored> = Vec::new();
    for call in facts.calls.iter().filter(|call| call.line != usize::MAX) {
        let Some(place) = call.place else { continue };
        let offsets = offsets(facts, call);
        let is_in_order = offsets.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        if !is_in_order {
            let event = call.events.first().and_then(|(event, _)| facts.event(*event));
            let what = "the events of one call are stored in another order".to_owned();
            let place = offsets.first().map(|offset| (call.topic, *offset));
            breaks.add(call.line, || (Point { event, place, lines: Vec::new() }, what));
        }
        let (first, last) = (offsets.iter().min(), offsets.iter().max());
        if let (Some(first), Some(last)) = (first, last) {
            stored.push((call.publisher, call.topic, place, *first, *last, call.line));
        }
    }
    stored.sort_unstable();
    for pair in stored.windows(2) {
        let [earlier, later] = pair else { continue };
        let (publisher, topic, _, _, earlier_last, earlier_line) = *earlier;
        let (later_publisher, later_topic, _, later_first, _, line) = *later;
        let is_same = (publisher, topic) == (later_publisher, later_topic);
        if is_same && later_first <= earlier_last {
            breaks.add(line.max(earlier_line), || {
                let what = format!(
                    "publisher {publisher} sent what lies at offset {earlier_last} before what lies at {later_first}"
                );
                let place = Some((topic, later_first));
                (Point { event: None, place, lines: vec![earlier_line, line] }, what)
            });
        }
    }
    findings.report(Invariant::I5, breaks);
}

/// Where the events of a call are, as far as that is known, in the call's order.
fn offsets(facts: &Facts<'_>, call: &Call<'_>) -> Vec<u64> {
    if let Answer::Stored { first, .. } = call.answer {
        let n_events = call.events.len() as u64;
        return (0..n_events).filter_map(|i| first.checked_add(i)).collect();
    }
    let offset = |(event, _): &(u64, u64)| {
        let sent = facts.event(*event).and_then(|idx| facts.sent.get(idx));
        // Where more than one call wanted it stored, nobody can say which of them did it.
        let place = sent.filter(|sent| sent.n_calls == 1).and_then(|sent| sent.place)?;
        Some(facts.offset(call.topic, place))
    };
    call.events.iter().filter_map(offset).collect()
}
