//! Writes a page of events: one JSON object, or one event on each line.

use bytes::Bytes;
use serde::Serialize;
use tidings_node::api::EventInfo;
use tidings_types::name::TopicName;
use tidings_types::offset::Offset;

use crate::limits::PAGE_BYTES_MAX;

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `{"topic", "events": [..], "next"}`.
    Json,
    /// One event on each line, nothing else.
    Lines,
}

impl Format {
    /// The media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
        }
    }
}

/// A page that grows.
#[derive(Debug)]
pub(crate) struct Page {
    format: Format,
    bytes: Vec<u8>,
    n_events: usize,
    events_max: usize,
    next: Offset,
}

impl Page {
    /// An empty page of a topic, from this offset on.
    pub(crate) fn new(format: Format, topic: &TopicName, from: Offset, events_max: usize) -> Self {
        let mut page = Self { format, bytes: Vec::new(), n_events: 0, events_max, next: from };
        if format == Format::Json {
            // A name has no character that JSON would escape.
            page.bytes.extend(format!("{{\"topic\":\"{topic}\",\"events\":[").bytes());
        }
        page
    }

    /// Nothing more goes onto it.
    pub(crate) fn is_full(&self) -> bool {
        self.n_events >= self.events_max || self.bytes.len() >= PAGE_BYTES_MAX
    }

    /// Events that still fit by number.
    pub(crate) fn n_left(&self) -> usize {
        self.events_max - self.n_events
    }

    /// Where the next page begins.
    pub(crate) fn next(&self) -> Offset {
        self.next
    }

    /// Adds an event.
    ///
    /// # Panics
    /// If the page is full, or the event comes before one that is on it.
    pub(crate) fn push(&mut self, event: &EventInfo) {
        assert!(!self.is_full(), "a full page takes no event");
        assert!(self.next.get() <= event.offset, "events come in order");
        if self.format == Format::Json && self.n_events > 0 {
            self.bytes.push(b',');
        }
        append(&mut self.bytes, event);
        if self.format == Format::Lines {
            self.bytes.push(b'\n');
        }
        self.n_events += 1;
        self.next = Offset::new(event.offset).next();
    }

    /// The whole page.
    pub(crate) fn finish(mut self) -> Bytes {
        if self.format == Format::Json {
            self.bytes.extend(format!("],\"next\":{}}}", self.next).bytes());
        }
        self.bytes.into()
    }
}

/// Appends a value as one line of JSON without its end.
///
/// Data that was published with line breaks between its tokens still has them. They are the only
/// raw line breaks that JSON can have, so spaces in their place change nothing.
pub(crate) fn append(target: &mut Vec<u8>, value: &impl Serialize) {
    let n_before = target.len();
    serde_json::to_writer(&mut *target, value).expect("what a node shows is always JSON");
    for byte in target.iter_mut().skip(n_before) {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn event(offset: u64, data: &str) -> EventInfo {
        EventInfo {
            offset,
            id: format!("e-{offset}"),
            kind: "a.v1".to_owned(),
            key: None,
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            data: Some(RawValue::from_string(data.to_owned()).unwrap()),
            data_base64: None,
            headers: Vec::new(),
        }
    }

    fn page(format: Format) -> Page {
        Page::new(format, &TopicName::new("users").unwrap(), Offset::new(4), 3)
    }

    #[test]
    fn pages_are_json_in_both_formats() {
        assert_eq!(page(Format::Lines).finish(), "");
        assert_eq!(page(Format::Json).finish(), r#"{"topic":"users","events":[],"next":4}"#);

        for format in [Format::Json, Format::Lines] {
            let mut page = page(format);
            page.push(&event(4, "{\n \"text\":\r\n\"a\\nb\"}"));
            page.push(&event(7, "null"));
            assert_eq!((page.next(), page.n_left()), (Offset::new(8), 1));
            let bytes = page.finish();
            let text = str::from_utf8(&bytes).unwrap();
            let events: Vec<EventInfo> = if format == Format::Lines {
                assert_eq!(text.matches('\n').count(), 2, "a line for each event: {text}");
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            } else {
                let mut page: serde_json::Value = serde_json::from_str(text).unwrap();
                assert_eq!(page["next"], 8);
                serde_json::from_value(page["events"].take()).unwrap()
            };
            assert_eq!(events.iter().map(|event| event.offset).collect::<Vec<_>>(), [4, 7]);
            let data: serde_json::Value =
                serde_json::from_str(events[0].data.as_ref().unwrap().get()).unwrap();
            assert_eq!(data["text"], "a\nb", "the text inside a string is untouched");
        }
    }

    /// A page is bounded by its events and by its bytes; the reader goes on where it ended.
    #[test]
    fn pages_end() {
        let mut page = page(Format::Lines);
        (4..7).for_each(|offset| page.push(&event(offset, "1")));
        assert!(page.is_full());

        let mut page = Page::new(Format::Json, &TopicName::new("t").unwrap(), Offset::ZERO, 10_000);
        let large = format!("\"{}\"", "x".repeat(PAGE_BYTES_MAX / 3));
        for offset in 0..3 {
            assert!(!page.is_full());
            page.push(&event(offset, &large));
        }
        assert!(page.is_full());
        assert_eq!(page.next(), Offset::new(3));
    }
}
