//! What this service hears of: the fields that it needs, and no others.
//!
//! It shares no type with the services that publish these events. What they share is the name and
//! the JSON; fields that are not listed here are passed over, so they may come and go.

use tidings::prelude::{Deserialize, Event, Serialize};

/// Somebody signed up.
#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
pub struct UserSignedUp {
    /// Who.
    pub user_id: String,
    /// Where mail reaches the user.
    pub email: String,
}

/// A mail went out.
#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "mail", kind = "mail.sent.v1", key = user_id)]
pub struct MailSent {
    /// To whom.
    pub user_id: String,
}
