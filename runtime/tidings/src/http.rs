//! The HTTP side of a node: the gateway, a service's own routes, and errors as problems.

use std::fmt;
use std::net::SocketAddr;

use axum::Router;
use axum::response::{IntoResponse, Response};
use tidings_config::config::Config;
use tidings_gateway::codes;
use tidings_gateway::problem::Problem;
use tidings_gateway::serve::{GatewayOptions, Running, serve};
use tidings_node::handle::NodeHandle;
use tokio::sync::oneshot;

use crate::error::Result;
use crate::publish::{PublishError, Publisher};

/// Routes of services, made once the node runs.
#[derive(Default)]
pub(crate) struct Routes {
    makers: Vec<Box<dyn FnOnce(Publisher) -> Router + Send>>,
}

impl Routes {
    pub(crate) fn add(&mut self, routes: impl FnOnce(Publisher) -> Router + Send + 'static) {
        self.makers.push(Box::new(routes));
    }

    fn make(self, publisher: &Publisher) -> Router {
        let routers = self.makers.into_iter().map(|make| make(publisher.clone()));
        routers.fold(Router::new(), Router::merge)
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("n_routers", &self.makers.len()).finish()
    }
}

/// The gateway that runs.
#[derive(Debug)]
pub(crate) struct Http {
    running: Running,
    end: oneshot::Sender<()>,
}

impl Http {
    pub(crate) fn start(config: &Config, handle: &NodeHandle, routes: Routes) -> Result<Self> {
        let token = &config.http.token;
        let token = (!token.is_empty()).then(|| token.expose().to_owned());
        let options = GatewayOptions { listen: config.http_address(), token };
        let routes = routes.make(&Publisher::new(handle.publisher()));
        let (end, ended) = oneshot::channel();
        // A sender that is dropped ends it, too: then nobody is left who could.
        let shutdown = async move { drop(ended.await) };
        let running = serve(options, handle.clone(), routes, shutdown)?;
        Ok(Self { running, end })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    pub(crate) async fn stop(self) {
        // It fails if the gateway has ended already.
        let _ = self.end.send(());
        self.running.ended().await;
    }
}

/// As the node's own routes answer: 4xx, 429 and 503 mean surely not stored, 504 means unknown.
impl From<&PublishError> for Problem {
    fn from(error: &PublishError) -> Self {
        match error {
            PublishError::Node(error) => Self::from(error),
            PublishError::Encode { .. } | PublishError::TopicName { .. } => {
                Self::new(codes::BAD_EVENT, error.to_string())
            }
            PublishError::Topic { .. } => Self::new(codes::UNAVAILABLE, error.to_string()),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        Self::from(&error)
    }
}

/// So that a route can say `publisher.publish(&event).await?`.
impl IntoResponse for PublishError {
    fn into_response(self) -> Response {
        Problem::from(&self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use tidings_delivery::error::PublishError as NodeError;
    use tidings_node::error::CommandError;
    use tidings_types::retry::Retry;

    use crate::codec::EncodeError;
    use crate::publish::PublishError;

    /// A route's status must say whether the event may be stored: 504 when, and only when, the
    /// error says so. That a topic could not be made says that it is not.
    #[test]
    fn statuses_keep_the_promise() {
        let source = EncodeError::new("no");
        let cases = [
            (PublishError::Encode { kind: "a.v1", source }, 422),
            (PublishError::Topic { topic: "a", source: CommandError::Unknown }, 503),
            (NodeError::Busy.into(), 429),
            (NodeError::StorageFull.into(), 503),
            (NodeError::Unknown.into(), 504),
        ];
        for (error, status) in cases {
            assert_eq!(status == 504, error.retry() == Retry::Unknown, "{error}");
            assert_eq!(error.into_response().status(), status);
        }
    }
}
