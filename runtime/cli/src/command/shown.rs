//! How an event is shown to people.

use tidings::api::EventInfo;

/// One line about the event, one with its content.
pub(crate) fn event(topic: &str, event: &EventInfo) -> String {
    let key = event.key.as_ref().map(|key| format!("  key={key}")).unwrap_or_default();
    let EventInfo { offset, kind, time, id, .. } = event;
    format!("{topic} @{offset}{key}  {kind}  {time}  id {id}\n{}", content(event))
}

/// The content on one line, in base64 if it is not JSON.
pub(crate) fn content(event: &EventInfo) -> String {
    match (&event.data, &event.data_base64) {
        (Some(data), _) => data.get().to_owned(),
        (None, Some(encoded)) => format!("base64:{encoded}"),
        (None, None) => "null".to_owned(),
    }
}
