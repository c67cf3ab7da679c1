//! The routes' handlers: what each one asks the node, and how it answers.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidings_node::handle::NodeHandle;
use tidings_node::publish::Publisher;

use crate::body::Bodies;
use crate::incoming::json_problem;
use crate::limits::COMMAND_BYTES_MAX;
use crate::params::demand_json;
use crate::problem::Problem;

pub(crate) mod events;

pub(crate) mod groups;

pub(crate) mod letters;

pub(crate) mod probes;

pub(crate) mod publish;

pub(crate) mod services;

pub(crate) mod topics;

/// What all handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    shared: Arc<Shared>,
}

struct Shared {
    handle: NodeHandle,
    publisher: Publisher,
    bodies: Bodies,
}

impl Api {
    pub(crate) fn new(handle: NodeHandle) -> Self {
        let publisher = handle.publisher();
        Self { shared: Arc::new(Shared { handle, publisher, bodies: Bodies::default() }) }
    }

    fn handle(&self) -> &NodeHandle {
        &self.shared.handle
    }

    fn publisher(&self) -> &Publisher {
        &self.shared.publisher
    }

    fn bodies(&self) -> &Bodies {
        &self.shared.bodies
    }

    /// Reads a command's body.
    async fn read_json<T: DeserializeOwned>(
        &self,
        request: axum::extract::Request,
    ) -> Result<T, Problem> {
        demand_json(request.headers())?;
        let body = self.bodies().read(request.into_body(), COMMAND_BYTES_MAX).await?;
        serde_json::from_slice(&body.bytes).map_err(|error| json_problem(&error))
    }
}

/// What a handler answers.
type Answer = Result<Response, Problem>;

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("what a node shows is always JSON");
    let content_type = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn ok(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}
