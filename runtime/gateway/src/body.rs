//! Takes a request's body within its bounds: size, time, and the memory of all bodies together.
//!
//! A body that is declared too large is refused before any of it is read. Memory is counted as it
//! arrives, so that a client who declares much and sends little holds little.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::codes;
use crate::limits::{BODIES_BYTES_MAX, BODY_WAIT_MAX};
use crate::problem::Problem;

/// The memory that all bodies share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    free: Arc<Semaphore>,
}

/// A whole body; gives its memory back when dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(BODIES_BYTES_MAX)) }
    }
}

impl Bodies {
    /// Reads a body of at most `bytes_max`.
    ///
    /// # Errors
    /// If it is too large, too slow, cut off, or finds no memory. Nothing was done with it.
    pub(crate) async fn read(&self, body: Body, bytes_max: usize) -> Result<Whole, Problem> {
        // What was declared is the lower bound of what comes.
        let n_declared = body.size_hint().lower();
        if usize::try_from(n_declared).map_or(true, |n_bytes| n_bytes > bytes_max) {
            return Err(too_large(n_declared, bytes_max));
        }
        match timeout(BODY_WAIT_MAX, self.collect(body, bytes_max)).await {
            Ok(whole) => whole,
            Err(_) => {
                let detail = format!("body did not arrive within {BODY_WAIT_MAX:?}");
                Err(Problem::new(codes::BODY_SLOW, detail))
            }
        }
    }

    async fn collect(&self, mut body: Body, bytes_max: usize) -> Result<Whole, Problem> {
        let mut whole = Whole { bytes: Bytes::new(), _held: None };
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::new(codes::BODY_LOST, error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let n_bytes = whole.bytes.len() + joined.len() + data.len();
            if n_bytes > bytes_max {
                return Err(too_large(n_bytes as u64, bytes_max));
            }
            self.hold(&mut whole, data.len())?;
            // Most bodies are one piece, which is taken as it is.
            if whole.bytes.is_empty() && joined.is_empty() {
                whole.bytes = data;
                continue;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&std::mem::take(&mut whole.bytes));
            }
            joined.extend_from_slice(&data);
        }
        if !joined.is_empty() {
            whole.bytes = joined.freeze();
        }
        Ok(whole)
    }

    fn hold(&self, whole: &mut Whole, n_bytes: usize) -> Result<(), Problem> {
        let n_permits = u32::try_from(n_bytes).expect("a piece is smaller than the largest body");
        let permit = Arc::clone(&self.free).try_acquire_many_owned(n_permits).map_err(|_| {
            let detail = format!("bodies of {BODIES_BYTES_MAX} bytes are being read already");
            Problem::new(codes::TOO_MANY_REQUESTS, detail)
        })?;
        match &mut whole._held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

fn too_large(n_bytes: u64, bytes_max: usize) -> Problem {
    let detail = format!("body of {n_bytes} bytes or more exceeds {bytes_max} bytes");
    Problem::new(codes::BODY_TOO_LARGE, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body in pieces that declares nothing and, once empty, ends or says nothing more.
    struct Pieces {
        pieces: VecDeque<Bytes>,
        ends: bool,
    }

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.pieces.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn pieces(pieces: &[&'static str], ends: bool) -> Body {
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
        Body::new(Pieces { pieces, ends })
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_joined_and_bounded() {
        let bodies = Bodies::default();
        let whole = bodies.read(pieces(&["ab", "", "cd", "e"], true), 5).await.unwrap();
        assert_eq!(whole.bytes, "abcde");
        assert_eq!(bodies.free.available_permits(), BODIES_BYTES_MAX - 5);
        drop(whole);

        // Undeclared and declared, one byte too many is refused, and the memory comes back.
        let undeclared = bodies.read(pieces(&["abc", "def"], true), 5).await.unwrap_err();
        let declared = bodies.read(Body::from("abcdef"), 5).await.unwrap_err();
        for refused in [undeclared, declared] {
            assert_eq!(refused.code(), codes::BODY_TOO_LARGE);
        }
        assert_eq!(bodies.free.available_permits(), BODIES_BYTES_MAX);

        // A client who stops in the middle is given up.
        let slow = bodies.read(pieces(&["abc"], false), 5).await.unwrap_err();
        assert_eq!(slow.code(), codes::BODY_SLOW);
        assert_eq!(bodies.free.available_permits(), BODIES_BYTES_MAX);
    }

    /// All bodies together have a bound: we hold nearly all of it and try to take more.
    #[tokio::test]
    async fn bodies_share_one_memory() {
        let bodies = Bodies::default();
        let n_held = u32::try_from(BODIES_BYTES_MAX - 1).unwrap();
        let held = Arc::clone(&bodies.free).try_acquire_many_owned(n_held).unwrap();
        let refused = bodies.read(Body::from("ab"), 5).await.unwrap_err();
        assert_eq!(refused.code(), codes::TOO_MANY_REQUESTS);
        drop(held);
        assert!(bodies.read(Body::from("ab"), 5).await.is_ok());
    }
}
