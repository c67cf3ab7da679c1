//! The users service: sign-up over HTTP, and the directory of users as a read model.
//!
//! ```text
//!   POST /users ──▶ topic users ──▶ Users (a projection) ──▶ users.redb ──▶ GET /users/{id}
//! ```
//!
//! - A sign-up *is* its event. The route publishes it and writes nothing else: with a second write
//!   beside the publish, a crash between the two would leave one without the other. So 201 means
//!   that the event is stored durably, and everything else follows from it, here as in the other
//!   services.
//! - The directory is derived from the events. It may be deleted: under another group name the
//!   service reads all retained events again and builds it anew.
//! - It is behind by milliseconds. Who asks for a user right after the sign-up would see that, so
//!   `GET` waits up to a second for a user that it does not know yet.
//! - That two users have one address is not refused: it would need a decision per address, in order,
//!   which is another service with the address as its key.

// In reading order; each module uses only those above it.
pub mod event;

pub mod address;

pub mod directory;

pub mod service;

pub mod routes;

use tidings::prelude::Node;

use crate::directory::Directory;
use crate::routes::routes;
use crate::service::Users;

/// Adds the service and its routes to a node.
#[must_use]
pub fn add_to(node: Node) -> Node {
    let directory = Directory::at(node.services_dir().join("users.redb"));
    let shown = directory.clone();
    node.service(move || Users::new(directory.clone()))
        .routes(move |publisher| routes(publisher, shown))
}
