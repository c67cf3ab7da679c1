//! The one trait that a service author implements for each type of event.

use std::pin::Pin;

use tidings_delivery::session::{Delivery, Verdict};
use tidings_node::service::Work;

use crate::desk::Desk;
use crate::event::Event;
use crate::failure::Handled;

/// Handles one type of event: `E`, or [`Batch<E>`](crate::batch::Batch) for a sink that commits.
///
/// ```
/// # use tidings::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
/// # struct UserSignedUp { user_id: Uuid }
/// struct Greeter;
///
/// impl Handle<UserSignedUp> for Greeter {
///     async fn handle(&mut self, user: UserSignedUp, cx: &mut Cx) -> Handled {
///         println!("welcome, {} (event {})", user.user_id, cx.event_id());
///         Ok(())
///     }
/// }
/// ```
///
/// - Order: events of one key come one after the other, the next one once this one has succeeded or
///   is a dead letter. Different keys are handled at once by as many workers as the plan says.
/// - Idempotence: an event comes at least once. Whoever changes something outside goes by
///   [`Cx::event_id`](crate::cx::Cx::event_id), which is the same at each attempt.
/// - Cancellation: at its deadline the handling is dropped at its await point, and the worker starts
///   anew with a fresh value, since this one may be half-changed.
/// - A panic is a failed attempt of this event alone; the worker starts anew.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handler for `{E}`",
    label = "its plan names `{E}`, so it must handle it",
    note = "add `impl Handle<{E}> for {Self}`"
)]
pub trait Handle<E: Input>: Sized + Send + 'static {
    /// Does with the event what the service is for.
    ///
    /// `Ok` acks it. An error by `?` brings it again after a back-off; one by `.fatal()?` makes it
    /// a dead letter.
    fn handle(&mut self, event: E, cx: &mut E::Cx) -> impl Future<Output = Handled> + Send;
}

/// What a handler can take: an event, or a batch of events of one type. Nothing else is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an event nor a `Batch` of events",
    label = "a handler takes an event",
    note = "add `#[derive(Event)]` with `#[event(topic = \"…\", kind = \"….v1\", key = field)]`"
)]
pub trait Input: Sized + Send + sealed::Sealed + 'static {
    /// The type of event.
    type Event: Event;
    /// What the handler knows of its surroundings: [`Cx`](crate::cx::Cx) or [`BatchCx`](crate::batch::BatchCx).
    type Cx: Send;

    /// How a worker of this service runs events of this type.
    #[doc(hidden)]
    fn runner<S: Handle<Self>>() -> Runner<S>;
}

/// Runs events of one type, for one service.
#[doc(hidden)]
pub enum Runner<S> {
    /// One after the other.
    Each(EachFn<S>),
    /// As many at once as there are.
    Batch(BatchFn<S>),
}

impl<S> Clone for Runner<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Runner<S> {}

/// The one allocation of a run: its future.
#[doc(hidden)]
pub type Run<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes events from `first` on, up to one of another type, which it yields, already started.
#[doc(hidden)]
pub type EachFn<S> =
    for<'a> fn(&'a mut S, &'a mut Desk, &'a mut Work, Delivery) -> Run<'a, Option<Delivery>>;

/// Takes events that have been started, and yields a verdict for each, in their order.
#[doc(hidden)]
pub type BatchFn<S> =
    for<'a> fn(&'a mut S, &'a mut Desk, &'a Work, Vec<Delivery>) -> Run<'a, Vec<Verdict>>;

mod sealed {
    use crate::batch::Batch;
    use crate::event::Event;

    /// Keeps other types from being a handler's input.
    pub trait Sealed {}

    impl<E: Event> Sealed for E {}

    impl<E: Event> Sealed for Batch<E> {}
}
