//! What a service needs, in one line.
//!
//! `use tidings::prelude::*;` is meant to be written at the top of a service, star and all.

pub use serde::{Deserialize, Serialize};
pub use tidings_derive::Event;
pub use uuid::Uuid;

pub use crate::batch::{Batch, BatchCx};
pub use crate::cx::Cx;
pub use crate::event::Event;
pub use crate::failure::{Failure, Handled, OrElse};
pub use crate::handle::Handle;
pub use crate::node::Node;
pub use crate::plan::GiveUp::{self, DeadLetter, PauseKey};
pub use crate::plan::{Plan, Restart, Retry, Strategy};
pub use crate::publish::{PublishError, Published, Publisher};
pub use crate::service::Service;
pub use crate::units::Units;
