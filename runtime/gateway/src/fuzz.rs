//! A way in for the fuzz targets; built with the feature `fuzz` only.

use tidings_types::event::NewEvent;

use crate::incoming;

/// Stands in for an id that the publisher did not give.
const ID: &str = "fresh";

/// Reads the body of a publish of one event and hands on what it was taken for.
pub fn read_one(body: &[u8], take: impl FnOnce(&NewEvent<'_>)) {
    if let Ok(event) = incoming::read_one(body) {
        take(&event.as_new(ID, 0));
    }
}

/// The same for a body of one event a line. Their number; `None` if the body was refused.
pub fn read_lines(body: &[u8], mut take: impl FnMut(&NewEvent<'_>)) -> Option<usize> {
    let events = incoming::read_lines(body).ok()?;
    events.iter().for_each(|event| take(&event.as_new(ID, 0)));
    Some(events.len())
}
