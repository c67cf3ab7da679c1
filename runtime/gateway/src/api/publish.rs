//! `POST /v1/topics/{topic}/events`: one event, or a batch that is stored whole or not at all.
//!
//! The promise lies in the status: 201 is sent only after the log's answer, and an error that may
//! have stored something is 504. A client that goes away meanwhile stops nothing that was handed
//! over, and nothing is handed over before its body is whole.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use tidings_delivery::error::PublishError;
use tidings_node::error::FindError;
use tidings_types::event::{ID_BYTES, NewEvent};
use tidings_types::id::TopicId;
use tidings_types::limits::PUBLISH_WAIT_MAX;
use tidings_types::name::TopicName;
use tokio::time::timeout;

use crate::api::{Answer, Api, json};
use crate::codes;
use crate::incoming::{Incoming, read_lines, read_one};
use crate::limits::{ADMISSION_WAIT_MAX, BODY_BYTES_MAX, REQUEST_ENCODED_BYTES_MAX};
use crate::params::{Content, Segments, publish_content, topic};
use crate::problem::Problem;

/// The publisher gives up by itself; this is for the case that it does not.
const ANSWER_WAIT_MAX: Duration = PUBLISH_WAIT_MAX.saturating_add(Duration::from_secs(2));

#[derive(Serialize)]
struct PublishedOne<'a> {
    id: &'a str,
    topic: &'a str,
    offset: u64,
}

#[derive(Serialize)]
struct PublishedAll<'a> {
    topic: &'a str,
    first_offset: u64,
    count: u32,
}

/// Stores what the body holds.
pub(crate) async fn publish(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    request: Request,
) -> Answer {
    let name = topic(name)?;
    let content = publish_content(request.headers())?;
    let id = find_topic(&api, &name).await?;
    let body = api.bodies().read(request.into_body(), BODY_BYTES_MAX).await?;
    match content {
        Content::One => publish_one(&api, &name, id, &body.bytes).await,
        Content::Lines => publish_all(&api, &name, id, &body.bytes).await,
    }
}

async fn find_topic(api: &Api, name: &TopicName) -> Result<TopicId, Problem> {
    if let Some(topic) = api.publisher().known_topic(name) {
        return Ok(topic);
    }
    // The table of names may lag behind the log, so the log's word decides.
    match api.handle().topic(name).await {
        Ok(_) => Ok(api.publisher().topic(name).await?),
        Err(FindError::NotFound { .. }) => {
            Err(PublishError::NoSuchTopic { name: name.clone() }.into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn publish_one(api: &Api, name: &TopicName, topic: TopicId, body: &[u8]) -> Answer {
    let publisher = api.publisher();
    let incoming = read_one(body)?;
    let mut id = [0; ID_BYTES];
    let id = if incoming.id.is_none() { publisher.new_id(&mut id) } else { "" };
    let event = incoming.as_new(id, publisher.wall_ms());
    let receipt = match timeout(ADMISSION_WAIT_MAX, publisher.submit(topic, &event)).await {
        Ok(receipt) => receipt?,
        Err(_) => return Err(PublishError::Busy.into()),
    };
    let offset = timeout(ANSWER_WAIT_MAX, receipt).await.map_err(|_| PublishError::Unknown)??;
    let published = PublishedOne { id: event.id, topic: name.as_str(), offset: offset.get() };
    Ok(json(StatusCode::CREATED, &published))
}

async fn publish_all(api: &Api, name: &TopicName, topic: TopicId, body: &[u8]) -> Answer {
    let publisher = api.publisher();
    let incoming = read_lines(body)?;
    let mut buffers = vec![[0; ID_BYTES]; incoming.len()];
    let ids = buffers
        .iter_mut()
        .zip(&incoming)
        .map(|(buffer, event)| if event.id.is_none() { publisher.new_id(buffer) } else { "" });
    let now_ms = publisher.wall_ms();
    let events: Vec<_> =
        incoming.iter().zip(ids).map(|(event, id)| event.as_new(id, now_ms)).collect();
    check_all(&incoming, &events)?;

    let answer = timeout(ANSWER_WAIT_MAX, publisher.publish_all(topic, &events)).await;
    let placed = answer.map_err(|_| PublishError::Unknown)??;
    let published = PublishedAll {
        topic: name.as_str(),
        first_offset: placed.first.get(),
        count: placed.n_events,
    };
    Ok(json(StatusCode::CREATED, &published))
}

/// Checks each event, so that the bad one is named, and all of them together.
fn check_all(incoming: &[Incoming<'_>], events: &[NewEvent<'_>]) -> Result<(), Problem> {
    for (came, event) in incoming.iter().zip(events) {
        event.check().map_err(|error| came.blame(error.into()))?;
    }
    let n_bytes: usize = events.iter().map(NewEvent::encoded_bytes).sum();
    if n_bytes > REQUEST_ENCODED_BYTES_MAX {
        let detail =
            format!("batch of {n_bytes} bytes, encoded, exceeds {REQUEST_ENCODED_BYTES_MAX} bytes");
        return Err(Problem::new(codes::BATCH_TOO_LARGE, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(body: &str) -> Result<(), Problem> {
        let incoming = read_lines(body.as_bytes())?;
        let events: Vec<_> = incoming.iter().map(|event| event.as_new("e-1", 1)).collect();
        check_all(&incoming, &events)
    }

    /// Of a bad batch nothing is stored, and its line or its size is named.
    #[test]
    fn batches_are_checked_as_a_whole() {
        let good = r#"{"type":"a","data":1}"#;
        assert_eq!(checked(&format!("{good}\n{good}")), Ok(()));
        for bad in [
            r#"{"type":"a","data":1,"key":"a\nb"}"#,
            r#"{"type":"a b","data":1}"#,
            r#"{"type":"a","data":1,"id":""}"#,
        ] {
            let problem = checked(&format!("{good}\n\n{bad}\n{good}")).unwrap_err();
            assert_eq!(problem.status(), 422, "{bad}");
            assert!(problem.detail().starts_with("line 3: "), "{}", problem.detail());
        }
        let half =
            format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(REQUEST_ENCODED_BYTES_MAX / 2));
        assert_eq!(checked(&half), Ok(()));
        let problem = checked(&format!("{half}\n{half}")).unwrap_err();
        assert_eq!(problem.code(), codes::BATCH_TOO_LARGE);
        let whole = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(REQUEST_ENCODED_BYTES_MAX));
        let problem = checked(&format!("{good}\n{whole}")).unwrap_err();
        assert_eq!(problem.status(), 413);
        assert!(problem.detail().starts_with("line 2: "), "{}", problem.detail());
    }
}
