//! A records section: one published batch of one topic.
//!
//! ```text
//!    0 topic u32      4 count u32     8 producer 16 B
//!   24 sequence u64  32 codec u8     33 flags u8      34 0 u16
//!   36 crc32c u32 over what follows
//!   40 events, each:
//!        len u32 (of the rest) · key hash u64 · time u64 · id len u8 · type len u8
//!        key len u16 · headers len u16 · 0 u16 · id · type · key · headers · payload
//! ```
//!
//! The crc is made where the batch is encoded and checked wherever it is read back: a frame's crc
//! vouches for one disk only, this one for the whole way.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::take::{Malformed, Take};
pub use crate::event::EVENT_HEADER_BYTES;
use crate::event::NewEvent;
use crate::id::{ProducerId, Sequence, TopicId};
use crate::key::key_hash;

/// Size of the section's header.
pub const RECORDS_HEADER_BYTES: usize = 40;
/// Flag: some ids came from outside and are checked against the id window.
pub const FLAG_FOREIGN_IDS: u8 = 1;

/// Encodes events into one section, in place and once.
#[derive(Debug)]
pub struct RecordsBuilder {
    bytes: BytesMut,
    n_events: u32,
    flags: u8,
}

impl RecordsBuilder {
    /// An empty section with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(capacity.max(RECORDS_HEADER_BYTES));
        bytes.put_bytes(0, RECORDS_HEADER_BYTES);
        Self { bytes, n_events: 0, flags: 0 }
    }

    /// Appends an event that passed [`NewEvent::check`].
    pub fn push(&mut self, event: &NewEvent<'_>) {
        let len = event.encoded_bytes() - 4;
        let bytes = &mut self.bytes;
        bytes.reserve(len + 4);
        bytes.put_u32_le(u32::try_from(len).expect("a checked event is below 1 MiB"));
        bytes.put_u64_le(key_hash(event.key, event.id));
        bytes.put_u64_le(event.time_ms);
        bytes.put_u8(u8::try_from(event.id.len()).expect("a checked id is short"));
        bytes.put_u8(u8::try_from(event.kind.len()).expect("a checked type is short"));
        bytes.put_u16_le(u16::try_from(event.key.len()).expect("a checked key is short"));
        bytes.put_u16_le(u16::try_from(event.headers.len()).expect("checked headers are short"));
        bytes.put_u16_le(0);
        bytes.put_slice(event.id.as_bytes());
        bytes.put_slice(event.kind.as_bytes());
        bytes.put_slice(event.key);
        bytes.put_slice(event.headers);
        bytes.put_slice(event.payload);
        self.n_events += 1;
    }

    /// Marks that some id came from outside.
    pub fn mark_foreign_ids(&mut self) {
        self.flags |= FLAG_FOREIGN_IDS;
    }

    /// Events so far.
    pub const fn n_events(&self) -> u32 {
        self.n_events
    }

    /// Bytes so far, with the header.
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Seals the section. Producer and sequence are known only now, when the batch departs.
    pub fn finish(mut self, topic: TopicId, producer: ProducerId, sequence: Sequence) -> Bytes {
        let crc = crc32c::crc32c(self.bytes.get(RECORDS_HEADER_BYTES..).unwrap_or_default());
        let (mut header, _) = self.bytes.split_at_mut(RECORDS_HEADER_BYTES);
        header.put_u32_le(topic.get());
        header.put_u32_le(self.n_events);
        header.put_slice(&producer.get());
        header.put_u64_le(sequence.get());
        header.put_u8(0);
        header.put_u8(self.flags);
        header.put_u16_le(0);
        header.put_u32_le(crc);
        self.bytes.freeze()
    }
}

/// The same events as another batch of a producer. Only for a section that surely is in no log, or
/// its events would stand there twice.
pub fn renumber(section: Bytes, producer: ProducerId, sequence: Sequence) -> Bytes {
    let mut bytes = BytesMut::from(section);
    let mut header = bytes.get_mut(8..32).expect("a finished section has a header");
    header.put_slice(&producer.get());
    header.put_u64_le(sequence.get());
    bytes.freeze()
}

/// A section that was read back: its header, and the bytes of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// The topic it was published to.
    pub topic: TopicId,
    /// How many events it has.
    pub n_events: u32,
    /// Who published it; [`ProducerId::NONE`] in a turn.
    pub producer: ProducerId,
    /// The producer's number for it.
    pub sequence: Sequence,
    /// See the `FLAG_` constants.
    pub flags: u8,
    crc: u32,
    events: Bytes,
}

impl Records {
    /// Reads the header. The events are checked by [`Records::check`].
    ///
    /// # Errors
    /// If the bytes are too short or of a codec from the future.
    pub fn parse(section: Bytes) -> Result<Self, Malformed> {
        let mut take = Take::new("records section", section);
        let topic = TopicId::new(take.u32()?);
        let n_events = take.u32()?;
        let producer = ProducerId::new(take.array()?);
        let sequence = Sequence::new(take.u64()?);
        if take.u8()? != 0 {
            return Err(take.malformed("unknown codec"));
        }
        let flags = take.u8()?;
        take.u16()?;
        let crc = take.u32()?;
        Ok(Self { topic, n_events, producer, sequence, flags, crc, events: take.rest() })
    }

    /// Checks the crc, the number of events and each event's layout.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), Malformed> {
        let malformed = |why| Malformed { what: "records section", why };
        if crc32c::crc32c(&self.events) != self.crc {
            return Err(malformed("crc does not match"));
        }
        let mut n_events = 0;
        for event in self.events() {
            event?;
            n_events += 1;
        }
        if n_events == self.n_events { Ok(()) } else { Err(malformed("count does not match")) }
    }

    /// The events in order, as slices of the section. Ends behind the first malformed one.
    pub fn events(&self) -> Events {
        Events { take: Take::new("event", self.events.clone()), has_failed: false }
    }

    /// Bytes of all events.
    pub fn events_bytes(&self) -> usize {
        self.events.len()
    }
}

/// Iterates over the events of a section.
#[derive(Debug)]
pub struct Events {
    take: Take,
    has_failed: bool,
}

impl Iterator for Events {
    type Item = Result<Event, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed || self.take.n_left() == 0 {
            return None;
        }
        let event = Event::take(&mut self.take);
        self.has_failed = event.is_err();
        Some(event)
    }
}

/// An event as it is stored: a slice of its section, shared and not copied.
///
/// It travels between nodes as it stands in a section, and is checked when it arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<u8>", try_from = "Vec<u8>")]
pub struct Event {
    /// Takes the event to its lane.
    pub key_hash: u64,
    /// The publisher's wall time in milliseconds since 1970.
    pub time_ms: u64,
    id_end: u32,
    kind_end: u32,
    key_end: u32,
    headers_end: u32,
    /// Id, type, key, headers, payload.
    body: Bytes,
}

impl Event {
    fn take(take: &mut Take) -> Result<Self, Malformed> {
        let len = take.u32()? as usize;
        let mut take = Take::new("event", take.bytes(len)?);
        let key_hash = take.u64()?;
        let time_ms = take.u64()?;
        let id_end = u32::from(take.u8()?);
        let kind_end = id_end + u32::from(take.u8()?);
        let key_end = kind_end + u32::from(take.u16()?);
        let headers_end = key_end + u32::from(take.u16()?);
        take.u16()?;
        if take.n_left() < headers_end as usize {
            return Err(take.malformed("too short"));
        }
        let malformed = take.malformed("id or type is not UTF-8");
        let body = take.rest();
        let words = body.get(..kind_end as usize).unwrap_or_default();
        // Ids and types are visible ASCII, so that any cut between them is sound.
        if !words.is_ascii() {
            return Err(malformed);
        }
        Ok(Self { key_hash, time_ms, id_end, kind_end, key_end, headers_end, body })
    }

    fn part(&self, start: u32, end: u32) -> &[u8] {
        self.body.get(start as usize..end as usize).expect("checked when it was taken")
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        str::from_utf8(self.part(0, self.id_end)).expect("checked when it was taken")
    }

    /// The event's type.
    pub fn kind(&self) -> &str {
        str::from_utf8(self.part(self.id_end, self.kind_end)).expect("checked when it was taken")
    }

    /// The event's key; empty if it has none.
    pub fn key(&self) -> &[u8] {
        self.part(self.kind_end, self.key_end)
    }

    /// The event's headers; see [`headers`](super::headers).
    pub fn headers(&self) -> &[u8] {
        self.part(self.key_end, self.headers_end)
    }

    /// The event's content.
    pub fn payload(&self) -> &[u8] {
        self.body.get(self.headers_end as usize..).expect("checked when it was taken")
    }

    /// The event's content, sharing the section's memory.
    pub fn payload_bytes(&self) -> Bytes {
        self.body.slice(self.headers_end as usize..)
    }

    /// What it takes in a section.
    pub fn encoded_bytes(&self) -> usize {
        EVENT_HEADER_BYTES + self.body.len()
    }

    /// The same event as one that is published again, or elsewhere.
    pub fn as_new(&self) -> NewEvent<'_> {
        NewEvent {
            id: self.id(),
            kind: self.kind(),
            key: self.key(),
            time_ms: self.time_ms,
            headers: self.headers(),
            payload: self.payload(),
        }
    }
}

impl From<Event> for Vec<u8> {
    fn from(event: Event) -> Self {
        let mut builder = RecordsBuilder::with_capacity(event.encoded_bytes());
        builder.push(&event.as_new());
        builder.bytes.split_off(RECORDS_HEADER_BYTES).into()
    }
}

impl TryFrom<Vec<u8>> for Event {
    type Error = Malformed;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let mut take = Take::new("event", bytes.into());
        let event = Self::take(&mut take)?;
        take.end()?;
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event<'a>(id: &'a str, key: &'a [u8], payload: &'a [u8]) -> NewEvent<'a> {
        NewEvent { id, kind: "t.v1", key, time_ms: 9, headers: b"", payload }
    }

    #[test]
    fn section_has_its_golden_bytes() {
        let mut builder = RecordsBuilder::with_capacity(0);
        builder.push(&event("i", b"k", b"pp"));
        let section = builder.finish(TopicId::new(1), ProducerId::new([7; 16]), Sequence::new(2));
        let mut golden = b"\x01\0\0\0\x01\0\0\0".to_vec();
        golden.extend([7; 16]);
        golden.extend(b"\x02\0\0\0\0\0\0\0\0\0\0\0");
        golden.extend(&section[36..40]);
        golden.extend(b"\x20\0\0\0");
        golden.extend(key_hash(b"k", "i").to_le_bytes());
        golden.extend(b"\x09\0\0\0\0\0\0\0\x01\x04\x01\0\0\0\0\0it.v1kpp");
        assert_eq!(section, golden);
        assert_eq!(section[36..40], crc32c::crc32c(&section[40..]).to_le_bytes());
    }

    /// A batch under another number must be what it would have been if sealed with it.
    #[test]
    fn renumbered_section_is_as_if_sealed_anew() {
        let sealed = |producer, sequence| {
            let mut builder = RecordsBuilder::with_capacity(0);
            builder.push(&event("i", b"k", b"pp"));
            builder.finish(TopicId::new(1), ProducerId::new(producer), Sequence::new(sequence))
        };
        let other = renumber(sealed([7; 16], 2), ProducerId::new([8; 16]), Sequence::new(3));
        assert_eq!(other, sealed([8; 16], 3));
    }

    proptest! {
        /// What was pushed must come back, in order, and any flipped bit must be noticed.
        #[test]
        fn sections_come_back(
            parts in prop::collection::vec(("[a-z]{1,9}", "[a-z]{0,9}", any::<Vec<u8>>()), 0..9),
            flip in any::<prop::sample::Index>(),
        ) {
            let mut builder = RecordsBuilder::with_capacity(64);
            for (id, key, payload) in &parts {
                builder.push(&event(id, key.as_bytes(), payload));
            }
            let section = builder.finish(TopicId::new(1), ProducerId::NONE, Sequence::new(0));
            let records = Records::parse(section.clone()).unwrap();
            prop_assert_eq!(records.check(), Ok(()));
            let events: Vec<_> = records.events().map(Result::unwrap).collect();
            prop_assert_eq!(events.len(), parts.len());
            for (stored, (id, key, payload)) in events.iter().zip(&parts) {
                prop_assert_eq!(stored.as_new(), event(id, key.as_bytes(), payload));
                prop_assert_eq!(stored.encoded_bytes(), stored.as_new().encoded_bytes());
            }

            let n_event_bytes = section.len() - RECORDS_HEADER_BYTES;
            if n_event_bytes > 0 {
                let mut flipped = section.to_vec();
                flipped[RECORDS_HEADER_BYTES + flip.index(n_event_bytes)] ^= 1;
                let records = Records::parse(flipped.into()).unwrap();
                prop_assert!(records.check().is_err());
            }
        }

        /// An event must be the same on another node, and no bytes from there may be trusted.
        #[test]
        fn events_travel(id in "[a-z]{1,9}", key in "[a-z]{0,9}", bytes in any::<Vec<u8>>()) {
            let mut builder = RecordsBuilder::with_capacity(0);
            builder.push(&event(&id, key.as_bytes(), &bytes));
            let section = builder.finish(TopicId::new(1), ProducerId::NONE, Sequence::new(0));
            let sent = Records::parse(section).unwrap().events().next().unwrap().unwrap();
            let mut encoded = crate::codec::encode(&sent);
            prop_assert_eq!(crate::codec::decode::<Event>(&encoded), Ok(sent));
            encoded.pop();
            prop_assert!(crate::codec::decode::<Event>(&encoded).is_err());
            let _ = crate::codec::decode::<Event>(&bytes).map(|event| event.payload().len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            if let Ok(records) = Records::parse(bytes.into()) {
                let _ = records.check();
            }
        }
    }
}
