//! A run: events of one type, one after the other or in batches, decoded, handled and ended.
//!
//! For each event there is no task, no allocation of ours and no copy of its content. Its span is
//! made only if somebody asked for it, by the filter directive `tidings::event=debug`.

use std::sync::Arc;

use tidings_delivery::session::{Delivery, Verdict};
use tidings_node::service::Work;
use tracing::{Instrument, Span, debug_span};

use crate::batch::{Batch, BatchCx, BatchTurn, Item};
use crate::context::ServiceContext;
use crate::cx::Cx;
use crate::desk::Desk;
use crate::emit::Emitted;
use crate::event::Event;
use crate::failure::{Failure, Handled};
use crate::handle::{Handle, Input, Runner};

impl<E: Event> Input for E {
    type Event = E;
    type Cx = Cx;

    fn runner<S: Handle<E>>() -> Runner<S> {
        Runner::Each(|service, desk, work, first| Box::pin(run_each(service, desk, work, first)))
    }
}

impl<E: Event> Input for Batch<E> {
    type Event = E;
    type Cx = BatchCx;

    fn runner<S: Handle<Self>>() -> Runner<S> {
        Runner::Batch(|service, desk, work, events| {
            Box::pin(run_batch(service, desk, work, events))
        })
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

/// All at once.
async fn run_batch<E: Event, S: Handle<Batch<E>>>(
    service: &mut S,
    desk: &mut Desk,
    work: &Work,
    deliveries: Vec<Delivery>,
) -> Vec<Verdict> {
    let mut batch = Batch { items: Vec::with_capacity(deliveries.len()) };
    let mut cx = BatchCx { context: Arc::clone(&desk.context), turns: Vec::new() };
    let mut undecodable_keys = Vec::new();
    let mut verdicts = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        // What follows an event that is given up comes again behind it.
        if undecodable_keys.contains(&delivery.event.key_hash) {
            verdicts.push(Some(Verdict::Unstarted));
            continue;
        }
        match E::decode(delivery.event.payload()) {
            Ok(event) => {
                let topic = desk.topic(delivery.topic, work);
                put(&mut batch, &mut cx, topic, delivery, event);
                verdicts.push(None);
            }
            Err(error) => {
                undecodable_keys.push(delivery.event.key_hash);
                verdicts.push(Some(desk.undecodable(&delivery, &error)));
            }
        }
    }
    let mut judged = Vec::new();
    if let Some(first) = cx.turns.first() {
        let span = span(&desk.context, &first.delivery);
        cx.context.count_attempts(batch.len());
        let handled = service.handle(batch, &mut cx).instrument(span).await;
        judged = judge(desk, work, cx.turns, handled).await;
    }
    let mut judged = judged.into_iter();
    let mut next = || judged.next().expect("each event in the batch was judged");
    verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(&mut next)).collect()
}

fn put<E>(batch: &mut Batch<E>, cx: &mut BatchCx, topic: Arc<str>, delivery: Delivery, event: E) {
    let turn = BatchTurn { delivery: delivery.clone(), emitted: Emitted::default(), failure: None };
    batch.items.push(Item { event, idx: batch.items.len(), topic, delivery });
    cx.turns.push(turn);
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
async fn judge(desk: &Desk, work: &Work, turns: Vec<BatchTurn>, handled: Handled) -> Vec<Verdict> {
    let is_alone = turns.len() == 1;
    let mut verdicts = Vec::with_capacity(turns.len());
    for turn in turns {
        let BatchTurn { delivery, emitted, failure } = turn;
        let handled = match (failure, &handled) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(()),
            // What it means is a word about one event: it holds once the culprit is known.
            (None, Err(all)) if is_alone => Err(all.of_one()),
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
