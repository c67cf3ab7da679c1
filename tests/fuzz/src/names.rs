//! Names of topics and groups, as they come in paths, bodies and commands.

use tidings_types::name::{GroupName, TopicName};

/// A name that is taken must keep to the grammar, and one that keeps to it must be taken.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let is_good = (1..=128).contains(&text.len())
        && text.split('.').all(|token| {
            !token.is_empty()
                && token.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        });
    let (topic, group) = (TopicName::new(text), GroupName::new(text));
    assert_eq!((topic.is_ok(), group.is_ok()), (is_good, is_good), "{text:?}");
    let json = serde_json::to_string(text).expect("text is JSON");
    let read: Result<TopicName, _> = serde_json::from_str(&json);
    assert_eq!(read.ok(), topic.clone().ok());
    match topic {
        Ok(name) => assert_eq!((name.as_str(), name.to_string().as_str()), (text, text)),
        Err(bad) => assert!(bad.to_string().len() < 120, "a message is short"),
    }
}
