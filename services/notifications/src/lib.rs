//! The notifications service: a mail for each sign-up, sent once.
//!
//! ```text
//!   topic users ──▶ Notifications ──▶ Mailer: outbox.jsonl
//!                        └──────────▶ topic mail (mail.sent.v1, in one step with the ack)
//! ```
//!
//! - Sending a mail cannot be undone, and an event comes at least once. So the mailer is told the
//!   event's id, and sends one mail for it, however often it is told, also after a restart.
//! - The mail is on its way before the event is acked. A crash between the two brings the event
//!   again, and the mailer recognises it; the other way round a crash would lose the mail.
//! - `mail.sent.v1` is emitted and not published: it stands in the same log entry as the ack. Others
//!   hear of a mail once, and only if it was sent.
//! - An address to which no mail can ever go makes a dead letter at once. A mailer that is down
//!   makes the mail wait, each user's for itself.

// In reading order; each module uses only those above it.
pub mod event;

pub mod mailer;

pub mod outbox;

pub mod service;

use tidings::prelude::Node;

use crate::outbox::Outbox;
use crate::service::Notifications;

/// Adds the service to a node; its mails go to the file `outbox.jsonl` in the node's directory.
#[must_use]
pub fn add_to(node: Node) -> Node {
    let outbox = Outbox::at(node.data_dir().join("outbox.jsonl"));
    // All workers share the outbox: it is one file.
    node.service(move || Notifications::new(outbox.clone()))
}
