//! A round: events of several types that wait together, each type handled as a batch.
//!
//! A service that reads two topics gets their events mixed, so batches of what happens to lie side
//! by side would be small. A round starts all that waits, sorts it by type, and ends it in order:
//!
//! ```text
//!   delivered   ann: in │ ann: out │ bob: in │ cid: skipped │ bob: out
//!   steps       in: ann, bob   then   out: ann, bob
//! ```
//!
//! Order per key holds: an event is in a later step than the one before it of its key, or in the
//! same batch behind it; and what follows a failed event of its key is not handled.

use std::collections::BTreeMap;

use tidings_delivery::session::{Delivery, Verdict};
use tidings_node::service::Work;
use tidings_types::limits::DELIVERY_EVENTS_MAX;

use crate::desk::Desk;
use crate::handle::BatchFn;
use crate::plan::{Match, Plan};

/// An event that was started.
struct Member<S> {
    delivery: Delivery,
    /// Its handler's place in the plan, and the handler; nothing if the event is skipped.
    handler: Option<(usize, BatchFn<S>)>,
    verdict: Option<Verdict>,
}

/// Handles `first`, which the plan takes in batches, together with what can share its round.
pub(crate) async fn run_round<S: Send>(
    service: &mut S,
    plan: &Plan<S>,
    desk: &mut Desk,
    work: &mut Work,
    first: Delivery,
) {
    let mut members = gather(plan, work, first);
    let mut failed_keys = Vec::new();
    for (run, idxs) in steps(&members) {
        let mut batch = Vec::with_capacity(idxs.len());
        for &idx in &idxs {
            let member = members.get_mut(idx).expect("steps are made of members");
            if failed_keys.contains(&member.delivery.event.key_hash) {
                member.verdict = Some(Verdict::Unstarted);
            } else {
                batch.push(member.delivery.clone());
            }
        }
        if batch.is_empty() {
            continue;
        }
        let mut verdicts = run(service, desk, work, batch).await.into_iter();
        for idx in idxs {
            let member = members.get_mut(idx).expect("steps are made of members");
            if member.verdict.is_some() {
                continue;
            }
            let verdict = verdicts.next().expect("a batch has a verdict for each event");
            if !verdict.is_success() {
                failed_keys.push(member.delivery.event.key_hash);
            }
            member.verdict = Some(verdict);
        }
    }
    let verdicts = members.into_iter().map(|member| member.verdict);
    work.finish_all(verdicts.map(|verdict| verdict.unwrap_or_else(Verdict::unasked)).collect());
}

/// Starts what can share a round with the first event.
///
/// An event that has failed before is handled alone: if it was a batch that failed, nobody knows
/// which of its events is to blame, and the others must not share its attempts until they are dead.
fn gather<S>(plan: &Plan<S>, work: &mut Work, first: Delivery) -> Vec<Member<S>> {
    let may_have_more = is_first_attempt(&first);
    let mut members: Vec<_> = member(plan, first).into_iter().collect();
    while may_have_more && members.len() < DELIVERY_EVENTS_MAX {
        let next = work.peek().filter(is_first_attempt);
        let Some(next) = next.and_then(|next| member(plan, next)) else { break };
        work.next().expect("it was there to be peeked at");
        members.push(next);
    }
    members
}

fn is_first_attempt(delivery: &Delivery) -> bool {
    delivery.attempt <= 1
}

/// Nothing if the event must be handled by itself.
fn member<S>(plan: &Plan<S>, delivery: Delivery) -> Option<Member<S>> {
    let handler = match plan.find(delivery.event.kind()) {
        Match::Batch(idx, run) => Some((idx, run)),
        Match::Unknown => None,
        Match::Each(_) | Match::OtherVersion(_) => return None,
    };
    Some(Member { delivery, handler, verdict: None })
}

/// Batches in the order in which they must be handled: their handler and their members.
fn steps<S>(members: &[Member<S>]) -> Vec<(BatchFn<S>, Vec<usize>)> {
    let mut steps = BTreeMap::new();
    // By key, the step of its last event. A round is short, so a search is quicker than a map.
    let mut last_steps: Vec<(u64, (u32, usize))> = Vec::new();
    for (idx, member) in members.iter().enumerate() {
        let Some((handler_idx, run)) = member.handler else { continue };
        let key = member.delivery.event.key_hash;
        let step = match last_steps.iter_mut().find(|(other, _)| *other == key) {
            Some((_, last)) => {
                if last.1 != handler_idx {
                    *last = (last.0 + 1, handler_idx);
                }
                *last
            }
            None => {
                last_steps.push((key, (0, handler_idx)));
                (0, handler_idx)
            }
        };
        steps.entry(step).or_insert_with(|| (run, Vec::new())).1.push(idx);
    }
    steps.into_values().collect()
}
