//! What this service tells the world.

use tidings::prelude::{Deserialize, Event, Serialize};

/// Somebody signed up.
///
/// Other services do not use this type: they write down the fields that they need, because what two
/// services share is the name and the JSON, and not a crate that they must upgrade together.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
pub struct UserSignedUp {
    /// The new user's id, and the key: what happens to one user is handled in order.
    pub user_id: String,
    /// Where mail reaches the user.
    pub email: String,
    /// What to call the user.
    #[serde(default)]
    pub name: String,
}
