//! A run: events of one type, one after the other or in batches, decoded, handled and ended.
//!
//! For each event there is no task, no allocation of ours and no copy of its content. Its span is
//! made only if somebody asked for it, by the filter directive `tidings::event=debug`.

use std::sync::Arc;

use tidings_delivery::session::{Delivery, Verdict};
use tidings_node::service::Work;
use tidings_types::limits::DELIVERY_EVENTS_MAX;
use tracing::{Instrument, Span, debug_span};

use crate::batch::{Batch, BatchCx, BatchTurn, Item};
use crate::context::ServiceContext;
use crate::cx::Cx;
use crate::desk::Desk;
use crate::emit::Emitted;
use crate::event::Event;
use crate::failure::{Failure, Handled};
use crate::handle::{Handle, Input, Run};

impl<E: Event> Input for E {
    type Event = E;
    type Cx = Cx;

    fn run<'a, S: Handle<E>>(
        service: &'a mut S,
        desk: &'a mut Desk,
        work: &'a mut Work,
        first: Delivery,
    ) -> Run<'a> {
        Box::pin(run_each(service, desk, work, first))
    }
}

impl<E: Event> Input for Batch<E> {
    type Event = E;
    type Cx = BatchCx;

    fn run<'a, S: Handle<Self>>(
        service: &'a mut S,
        desk: &'a mut Desk,
        work: &'a mut Work,
        first: Delivery,
    ) -> Run<'a> {
        Box::pin(run_batches(service, desk, work, first))
    }
}

/// One event after the other.
async fn run_each<E: Event, S: Handle<E>>(
    service: &mut S,
    desk: &mut Desk,
    work: &mut Work,
    first: Delivery,
) -> Option<Delivery> {
    let mut delivery = first;
    loop {
        let verdict = match E::decode(delivery.event.payload()) {
            Ok(event) => {
                let (context, topic) =
                    (Arc::clone(&desk.context), desk.topic(delivery.topic, work));
                let mut cx = Cx { context, topic, delivery, emitted: Emitted::default() };
                cx.context.count_attempts(1);
                let span = span(&desk.context, &cx.delivery);
                let handled = service.handle(event, &mut cx).instrument(span).await;
                verdict(desk, work, &cx.delivery, cx.emitted, handled).await
            }
            Err(error) => desk.undecodable(&delivery, &error),
        };
        work.finish(verdict);
        delivery = work.next()?;
        if delivery.event.kind() != E::KIND {
            return Some(delivery);
        }
    }
}

/// As many at once as wait.
async fn run_batches<E: Event, S: Handle<Batch<E>>>(
    service: &mut S,
    desk: &mut Desk,
    work: &mut Work,
    first: Delivery,
) -> Option<Delivery> {
    let mut first = first;
    loop {
        match E::decode(first.event.payload()) {
            Ok(event) => {
                let (batch, mut cx) = gather(desk, work, first, event);
                cx.context.count_attempts(batch.len());
                let span = span(&desk.context, &batch_first(&cx).delivery);
                let handled = service.handle(batch, &mut cx).instrument(span).await;
                let verdicts = verdicts(desk, work, cx.turns, handled).await;
                work.finish_all(verdicts);
            }
            Err(error) => {
                let verdict = desk.undecodable(&first, &error);
                work.finish(verdict);
            }
        }
        first = work.next()?;
        if first.event.kind() != E::KIND {
            return Some(first);
        }
    }
}

/// Takes what can share a batch with the first event.
///
/// An event that has failed before is handled alone: if it was a batch that failed, nobody knows
/// which of its events is to blame, and the others must not share its attempts until they are dead.
/// One that cannot be decoded is left for the next round, which gives it its own verdict.
fn gather<E: Event>(
    desk: &mut Desk,
    work: &mut Work,
    first: Delivery,
    event: E,
) -> (Batch<E>, BatchCx) {
    let mut batch = Batch { items: Vec::new() };
    let mut cx = BatchCx { context: Arc::clone(&desk.context), turns: Vec::new() };
    let may_have_more = is_first_attempt(&first);
    put(&mut batch, &mut cx, desk.topic(first.topic, work), first, event);
    while may_have_more && batch.len() < DELIVERY_EVENTS_MAX {
        let Some(next) = work.peek() else { break };
        if next.event.kind() != E::KIND || !is_first_attempt(&next) {
            break;
        }
        let Ok(event) = E::decode(next.event.payload()) else { break };
        let next = work.next().expect("it was there to be peeked at");
        put(&mut batch, &mut cx, desk.topic(next.topic, work), next, event);
    }
    (batch, cx)
}

fn put<E>(batch: &mut Batch<E>, cx: &mut BatchCx, topic: Arc<str>, delivery: Delivery, event: E) {
    let turn = BatchTurn { delivery: delivery.clone(), emitted: Emitted::default(), failure: None };
    batch.items.push(Item { event, idx: batch.items.len(), topic, delivery });
    cx.turns.push(turn);
}

const fn is_first_attempt(delivery: &Delivery) -> bool {
    delivery.attempt <= 1
}

fn batch_first(cx: &BatchCx) -> &BatchTurn {
    cx.turns.first().expect("a batch has an event")
}

async fn verdict(
    desk: &Desk,
    work: &Work,
    delivery: &Delivery,
    emitted: Emitted,
    handled: Handled,
) -> Verdict {
    let sealed = match handled {
        Ok(()) => emitted.seal(desk.context.publisher()).await,
        Err(failure) => Err(failure),
    };
    match sealed {
        Ok(sections) if sections.is_empty() => Verdict::Done,
        Ok(sections) => Verdict::DoneEmitting(sections),
        Err(failure) => desk.failed(delivery, &failure, work),
    }
}

/// One verdict for each event: its own, or the one of all.
async fn verdicts(
    desk: &Desk,
    work: &Work,
    turns: Vec<BatchTurn>,
    handled: Handled,
) -> Vec<Verdict> {
    let is_alone = turns.len() == 1;
    let mut verdicts = Vec::with_capacity(turns.len());
    for turn in turns {
        let BatchTurn { delivery, emitted, failure } = turn;
        let handled = match (failure, &handled) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(()),
            // Fatal is a word about one event: it holds once the culprit is known.
            (None, Err(all)) if is_alone && all.is_fatal() => Err(Failure::fatal(all.to_string())),
            (None, Err(all)) => Err(Failure::again(all.to_string())),
        };
        verdicts.push(verdict(desk, work, &delivery, emitted, handled).await);
    }
    verdicts
}

fn span(context: &ServiceContext, delivery: &Delivery) -> Span {
    debug_span!(
        target: "tidings::event",
        "event",
        group = context.group(),
        event_id = delivery.event.id(),
        kind = delivery.event.kind(),
        attempt = delivery.attempt,
    )
}
