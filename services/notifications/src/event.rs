//! What this service hears of, and what it tells.

use tidings::prelude::{Deserialize, Event, Serialize};

/// Somebody signed up: the fields that a mail needs.
#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
pub struct UserSignedUp {
    /// Who.
    pub user_id: String,
    /// Where mail reaches the user.
    pub email: String,
    /// What to call the user.
    #[serde(default)]
    pub name: String,
}

/// A mail went out.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "mail", kind = "mail.sent.v1", key = user_id)]
pub struct MailSent {
    /// To whom.
    pub user_id: String,
    /// The event that the mail is about.
    pub about: String,
}
