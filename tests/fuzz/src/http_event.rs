//! The body of a publish of one event.

use tidings_gateway::fuzz;
use tidings_types::event::NewEvent;
use tidings_types::id::{ProducerId, Sequence, TopicId};
use tidings_types::layout::headers;
use tidings_types::layout::records::{Records, RecordsBuilder};

/// Any bytes get an answer; what is taken comes out of the log as it went in, and is JSON.
pub fn run(bytes: &[u8]) {
    fuzz::read_one(bytes, stored);
}

/// Stores an event as a publish does and reads it back.
pub fn stored(event: &NewEvent<'_>) {
    let data: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(event.payload);
    assert!(data.is_ok(), "what is stored as JSON is JSON");
    assert!(headers::iter(event.headers).is_ok(), "headers that were put can be read");
    if event.check().is_err() {
        return;
    }
    let mut builder = RecordsBuilder::with_capacity(event.encoded_bytes());
    builder.push(event);
    let section = builder.finish(TopicId::new(1), ProducerId::NONE, Sequence::new(0));
    let records = Records::parse(section).expect("a checked event can be read back");
    assert_eq!(records.check(), Ok(()));
    let events: Vec<_> = records.events().collect();
    let read = events.first().and_then(|event| event.as_ref().ok()).expect("one event");
    assert_eq!((read.as_new(), events.len()), (*event, 1));
}
