//! `GET /v1/topics/{topic}/events`: a page of events; `GET /v1/events/{id}`: one event's story.
//!
//! Reading settles nothing: a reader keeps its own place. It goes on at `next`, which comes in the
//! page and as the header `tidings-next`, until a page is empty.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use tidings_node::api::EventInfo;
use tidings_types::name::TopicName;
use tidings_types::offset::Offset;

use crate::api::{Answer, Api, ok};
use crate::limits::{PAGE_EVENTS_DEFAULT, PAGE_EVENTS_MAX, READ_BYTES_AIM, READ_EVENTS_FIRST};
use crate::page::Page;
use crate::params::{Asked, Segments, page_format, topic};
use crate::problem::Problem;

/// Where the next page begins.
const NEXT: HeaderName = HeaderName::from_static("tidings-next");

/// Which events are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    from: Option<u64>,
    limit: Option<usize>,
}

/// One page.
pub(crate) async fn read(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    Asked(wanted): Asked<Wanted>,
    headers: HeaderMap,
) -> Answer {
    let name = topic(name)?;
    let from = match wanted.from {
        Some(from) => Offset::new(from),
        None => Offset::new(api.handle().topic(&name).await?.start),
    };
    let format = page_format(&headers);
    let events_max = wanted.limit.unwrap_or(PAGE_EVENTS_DEFAULT).clamp(1, PAGE_EVENTS_MAX);
    let page = fill(&api, &name, Page::new(format, &name, from, events_max)).await?;
    let next = HeaderValue::from(page.next().get());
    let content_type = HeaderValue::from_static(format.media_type());
    let headers = [(header::CONTENT_TYPE, content_type), (NEXT, next)];
    Ok((StatusCode::OK, headers, page.finish()).into_response())
}

/// Reads until the page is full or the topic ends, in steps whose size follows the events' size:
/// ten thousand events of a mebibyte must not meet in memory.
async fn fill(api: &Api, name: &TopicName, mut page: Page) -> Result<Page, Problem> {
    let mut n_step = READ_EVENTS_FIRST;
    while !page.is_full() {
        let n_events = n_step.min(page.n_left());
        let events = api.handle().read(name, page.next(), n_events).await?;
        if events.is_empty() {
            break;
        }
        let n_bytes: usize = events.iter().map(|(_, event)| event.encoded_bytes()).sum();
        n_step = next_step(events.len(), n_bytes);
        for (offset, event) in &events {
            if page.is_full() {
                break;
            }
            page.push(&EventInfo::new(*offset, event));
        }
    }
    Ok(page)
}

/// How many events the next read takes, if they are as large as those of the last one.
fn next_step(n_events: usize, n_bytes: usize) -> usize {
    let bytes_each = n_bytes.div_ceil(n_events.max(1)).max(1);
    (READ_BYTES_AIM / bytes_each).clamp(1, PAGE_EVENTS_MAX)
}

/// One event's way.
pub(crate) async fn story(State(api): State<Api>, Segments(id): Segments<String>) -> Answer {
    ok(&api.handle().story(&id).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_size_of_events() {
        assert_eq!(next_step(16, 16 * 1_024), 1_024);
        assert_eq!(next_step(16, 16 << 20), 1);
        assert_eq!(next_step(1, 0), PAGE_EVENTS_MAX);
        assert_eq!(next_step(1, usize::MAX), 1);
    }
}
