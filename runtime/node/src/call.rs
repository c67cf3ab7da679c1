//! Asking an actor, with the deadline that must never be forgotten.

use ractor::{ActorRef, Message, RpcReplyPort};
use tidings_types::limits::CALL_WAIT_MAX;

use crate::error::CallError;

/// Sends a request and waits for its answer, for no longer than [`CALL_WAIT_MAX`].
pub(crate) async fn call<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    request: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, CallError> {
    let (reply, answer) = tokio::sync::oneshot::channel();
    actor.cast(request(reply.into())).map_err(|_| CallError::Stopped)?;
    answered(answer).await
}

/// Waits for an answer that was asked for, for no longer than [`CALL_WAIT_MAX`].
pub(crate) async fn answered<T>(answer: tokio::sync::oneshot::Receiver<T>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_WAIT_MAX, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(CallError::Stopped),
        Err(_) => Err(CallError::NoAnswer { waited_max: CALL_WAIT_MAX }),
    }
}

/// Answers a request. A caller who stopped waiting is no error.
pub(crate) fn answer<T: Send + 'static>(port: RpcReplyPort<T>, value: T) {
    let _ = port.send(value);
}
