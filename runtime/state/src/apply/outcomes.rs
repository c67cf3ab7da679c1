//! Outcomes: what a group's workers did with events settles them, or costs them an attempt.

use bytes::Bytes;
use tidings_types::effect::{Effect, OutcomeRefused, Refused};
use tidings_types::id::{GroupId, TopicId};
use tidings_types::layout::acks::{AckRange, Acks, cut_message};
use tidings_types::layout::command::DeadLetter;
use tidings_types::layout::records::Records;
use tidings_types::layout::turn::Turn;
use tidings_types::offset::Offset;

use super::records;
use crate::dead_letters::DeadLetterView;
use crate::group::changing;
use crate::state::State;

/// Bytes of a turn section before its first emitted one, and before each of these.
const TURN_HEADER_BYTES: u32 = 24;
const EMITTED_HEADER_BYTES: u32 = 4;

/// Applies an acks section.
///
/// # Errors
/// If it is malformed.
pub(super) fn apply_acks(
    state: &mut State,
    body: Bytes,
    effects: &mut Vec<Effect>,
) -> Result<(), Refused> {
    let acks = Acks::parse(body).map_err(|_| Refused::Malformed)?;
    let Acks { group, topic, ranges, failures } = acks;
    let State { groups, topics, room, .. } = state;
    let mut found = changing(groups, group).ok();
    for range in ranges {
        let result = match &mut found {
            Some(found) => found.ack(topic, range, topics, room),
            None => Err(OutcomeRefused::NoSuchEvent),
        };
        effects.push(match result {
            Ok(()) => Effect::Settled { group, topic, range, dead: false },
            Err(why) => Effect::OutcomeRefused { group, topic, offset: range.start, why },
        });
    }
    for failure in failures {
        let result = match &mut found {
            Some(found) => found.fail(topic, &failure, topics, room),
            None => Err(OutcomeRefused::NoSuchEvent),
        };
        let (offset, retry_at_ms) = (failure.offset, failure.retry_at_ms);
        effects.push(match result {
            Ok(attempts) => Effect::Failed { group, topic, offset, attempts, retry_at_ms },
            Err(why) => Effect::OutcomeRefused { group, topic, offset, why },
        });
    }
    Ok(())
}

/// Applies a turn section that begins at `at` in its entry's data: whole or not at all.
///
/// # Errors
/// If it or what it emits is malformed, or for a topic that does not exist.
pub(super) fn apply_turn(
    state: &mut State,
    at: u32,
    body: Bytes,
    effects: &mut Vec<Effect>,
) -> Result<(), Refused> {
    let turn = Turn::parse(body).map_err(|_| Refused::Malformed)?;
    let emitted = turn.records().map_err(|_| Refused::Malformed)?;
    for records in &emitted {
        records::check(records)?;
        let topic = records.topic;
        state.topics.get(topic).ok_or(Refused::NoSuchTopic { topic })?;
    }
    let Turn { group, topic, offset, lane_epoch, .. } = turn;
    let checked = match state.groups.get(&group) {
        Some(found) => found.check(topic, offset, lane_epoch, &state.topics),
        None => Err(OutcomeRefused::NoSuchEvent),
    };
    if let Err(why) = checked {
        effects.push(Effect::OutcomeRefused { group, topic, offset, why });
        return Ok(());
    }
    let mut at = at + TURN_HEADER_BYTES;
    for (records, section) in emitted.iter().zip(turn.emitted) {
        at += EMITTED_HEADER_BYTES;
        let n_bytes = section.len() as u32;
        let placed = records::accept(state, at, records, section, effects);
        assert!(placed.is_ok(), "all of it was checked");
        at += n_bytes;
    }
    let found = changing(&mut state.groups, group).expect("just checked");
    found.settle(topic, offset..offset.next(), &mut state.room);
    effects.push(settled(group, topic, offset, false));
    Ok(())
}

/// Applies the command that gives up an event. Refused outcomes are effects, not answers.
///
/// # Errors
/// If the group does not exist or the letter does not hold its event.
pub(super) fn apply_dead_letter(
    state: &mut State,
    letter: DeadLetter,
    effects: &mut Vec<Effect>,
) -> Result<(), Refused> {
    let DeadLetter { group, topic, offset, lane_epoch, .. } = letter;
    let records = Bytes::from(letter.records);
    let parsed = Records::parse(records.clone()).map_err(|_| Refused::Malformed)?;
    records::check(&parsed)?;
    if parsed.n_events != 1 || parsed.topic != topic {
        return Err(Refused::Malformed);
    }
    let letter = DeadLetterView {
        topic,
        offset,
        reason: letter.reason,
        message: cut_message(&letter.message).to_owned(),
        attempts: letter.attempts,
        dead_at_ms: state.ts_ms,
        records,
    };
    let State { groups, topics, room, .. } = state;
    let found = changing(groups, group)?;
    effects.push(match found.bury(letter, lane_epoch, topics, room) {
        Ok(()) => settled(group, topic, offset, true),
        Err(why) => Effect::OutcomeRefused { group, topic, offset, why },
    });
    Ok(())
}

fn settled(group: GroupId, topic: TopicId, offset: Offset, dead: bool) -> Effect {
    Effect::Settled { group, topic, range: AckRange { start: offset, len: 1 }, dead }
}
