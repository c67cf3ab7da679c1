//! The data of an entry with all its sections, as it comes from a disk or a peer.

use bytes::Bytes;
use tidings_types::layout::acks::Acks;
use tidings_types::layout::command::Command;
use tidings_types::layout::entry::{Entry, EntryBuilder, SectionKind};
use tidings_types::layout::headers;
use tidings_types::layout::records::{Event, Records, RecordsBuilder};
use tidings_types::layout::turn::Turn;

/// Nothing may panic, and what is understood must come back as itself when it is written again.
pub fn run(bytes: &[u8]) {
    let Ok(entry) = Entry::parse(Bytes::copy_from_slice(bytes)) else { return };
    let mut builder = EntryBuilder::with_capacity(bytes.len());
    for section in &entry.sections {
        builder.push(section.kind, &section.body);
        look_into(section.kind, section.body.clone());
    }
    let again = Entry::parse(builder.finish(entry.leader, entry.ts_ms));
    assert_eq!(again, Ok(entry));
}

fn look_into(kind: SectionKind, body: Bytes) {
    match kind {
        SectionKind::Records => {
            if let Ok(section) = Records::parse(body) {
                records(&section);
            }
        }
        SectionKind::Acks => {
            if let Ok(acks) = Acks::parse(body) {
                assert_eq!(Acks::parse(acks.encode()), Ok(acks));
            }
        }
        SectionKind::Turn => {
            if let Ok(turn) = Turn::parse(body) {
                turn.records().iter().flatten().for_each(records);
                assert_eq!(Turn::parse(turn.encode()), Ok(turn));
            }
        }
        SectionKind::Command => {
            if let Ok(command) = Command::parse(&body) {
                assert_eq!(Command::parse(&command.clone().encode()), Ok(command));
            }
        }
    }
}

/// Reads every event, as a reader of the topic does, and writes it again.
pub fn records(section: &Records) {
    let is_whole = section.check().is_ok();
    let mut builder = RecordsBuilder::with_capacity(section.events_bytes());
    let mut n_events = 0;
    for event in section.events() {
        let Ok(event) = event else { return };
        let _ = headers::iter(event.headers());
        assert_eq!(event.payload_bytes(), event.payload());
        builder.push(&event.as_new());
        n_events += 1;
    }
    if !is_whole {
        return;
    }
    let again = builder.finish(section.topic, section.producer, section.sequence);
    let again = Records::parse(again).expect("it was just written");
    assert_eq!(again.check(), Ok(()));
    let events = again.events().zip(section.events());
    // The key's hash is made anew: what came was a peer's word.
    let is_same = |(one, other): &(Result<Event, _>, Result<Event, _>)| match (one, other) {
        (Ok(one), Ok(other)) => one.as_new() == other.as_new(),
        _ => false,
    };
    assert_eq!(events.filter(is_same).count(), n_events);
}
