//! Records: a batch gets its offsets, once, however often it is sent.

use bytes::Bytes;
use tidings_types::effect::{Accepted, Effect, Placed, Published, Refused};
use tidings_types::id::ProducerId;
use tidings_types::layout::records::{EVENT_HEADER_BYTES, Records};

use crate::publishers::Verdict;
use crate::state::State;

/// Applies a records section that begins at `at` in its entry's data.
///
/// # Errors
/// If it is so malformed that it does not even say whose it is.
pub(super) fn apply(
    state: &mut State,
    at: u32,
    body: Bytes,
    effects: &mut Vec<Effect>,
) -> Result<(), Refused> {
    let Ok(records) = Records::parse(body.clone()) else {
        return Err(Refused::Malformed);
    };
    let (producer, sequence) = (records.producer, records.sequence);
    if producer == ProducerId::NONE {
        return accept(state, at, &records, body, effects).map(|_| ());
    }
    let result = match state.publishers.judge(producer, sequence, state.ts_ms) {
        Verdict::Known(answer) => answer,
        Verdict::Next => {
            let answer = accept(state, at, &records, body, effects);
            state.publishers.answer((producer, sequence), answer.clone(), state.ts_ms);
            answer
        }
    };
    effects.push(Effect::Published(Published { producer, sequence, result }));
    Ok(())
}

/// Gives the events of a section their offsets.
///
/// `FLAG_FOREIGN_IDS` has no effect yet: here the ids would be looked up among those of the last
/// minutes, before the events get their offsets.
///
/// # Errors
/// If the topic does not exist or the header cannot be true.
pub(super) fn accept(
    state: &mut State,
    at: u32,
    records: &Records,
    section: Bytes,
    effects: &mut Vec<Effect>,
) -> Result<Placed, Refused> {
    check(records)?;
    let topic = records.topic;
    let placed = state.topics.place(topic, records.n_events);
    let placed = placed.ok_or(Refused::NoSuchTopic { topic })?;
    let accepted = Accepted { placed, index: state.applied, at, records: section };
    effects.push(Effect::Accepted(accepted));
    Ok(placed)
}

/// Whether the header can be true: there are events, and no more than their bytes can be.
///
/// # Errors
/// If not.
pub(super) fn check(records: &Records) -> Result<(), Refused> {
    let n_events_max = records.events_bytes() / EVENT_HEADER_BYTES;
    let can_be = 0 < records.n_events && records.n_events as usize <= n_events_max;
    if can_be { Ok(()) } else { Err(Refused::Malformed) }
}
