//! Notes when a handler is being polled, so that one that does not give its thread back is seen.
//!
//! A handler that blocks or spins holds a thread of the user's runtime and its own worker: no deadline
//! can end it, since a deadline is polled on the same thread. It delays nothing of the node's core, and
//! its event stays with it. So it is only told of: [`watch`](super::watch) looks from the core's
//! threads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tidings_types::seam::Clock;

use crate::seat::Seat;

/// See the module's description.
pub(crate) struct Polled<'a, F> {
    inner: F,
    seat: &'a Seat,
    clock: &'a Arc<dyn Clock>,
}

impl<'a, F: Future + Unpin> Polled<'a, F> {
    pub(crate) const fn new(inner: F, seat: &'a Seat, clock: &'a Arc<dyn Clock>) -> Self {
        Self { inner, seat, clock }
    }
}

impl<F: Future + Unpin> Future for Polled<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.seat.poll_begins(self.clock.now());
        let _polling = Polling(self.seat);
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// A poll that goes on; a panic ends it, too.
struct Polling<'a>(&'a Seat);

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.poll_ends();
    }
}
