//! `/v1/topics` and `/v1/topics/{topic}`: list, show, create.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tidings_types::name::TopicName;

use crate::api::{Answer, Api, json, ok};
use crate::params::{Segments, topic};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: TopicName,
}

/// All topics.
pub(crate) async fn list(State(api): State<Api>) -> Answer {
    ok(&api.handle().topics().await?)
}

/// One topic.
pub(crate) async fn show(State(api): State<Api>, Segments(name): Segments<String>) -> Answer {
    ok(&api.handle().topic(&topic(name)?).await?)
}

/// Makes a topic: 201 if it is new, 200 if there was one of that name.
pub(crate) async fn create(State(api): State<Api>, request: Request) -> Answer {
    let Create { name } = api.read_json(request).await?;
    let is_new = api.handle().create_topic(name.clone()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &api.handle().topic(&name).await?))
}
