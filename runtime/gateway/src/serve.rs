//! Listens, serves connections, and ends without cutting off an answer.
//!
//! Our own loop over hyper, because `axum::serve` sets no timer: a client that never sends a head
//! would hold its connection for ever. A full table of files makes the loop wait, not spin.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tidings_node::handle::NodeHandle;
use tidings_types::limits::DRAIN_WAIT_MAX;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::connections::{Connections, Scarcity, Seat};
use crate::front::Front;
use crate::guard::{Guard, Token};
use crate::limits::{
    ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN, BACKLOG, HEAD_BYTES_MAX, READ_AHEAD_BYTES_MAX,
    TOKEN_BYTES_MIN,
};
use crate::stream::{Exchange, Patient, Turn};

/// Where to listen, and for whom.
#[derive(Clone)]
pub struct GatewayOptions {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What requests must show. Without one only loopback is listened on.
    pub token: Option<String>,
}

impl fmt::Debug for GatewayOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "..");
        f.debug_struct("GatewayOptions")
            .field("listen", &self.listen)
            .field("token", &token)
            .finish()
    }
}

/// Listening failed.
#[derive(Debug, Error)]
pub enum BindError {
    /// Everyone in reach could publish and read.
    #[error(
        "listening on {address}, which others can reach, needs a token; set one or listen on \
         loopback"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
    },
    /// The token could be guessed, or not be sent.
    #[error("token must have at least {TOKEN_BYTES_MIN} visible ASCII characters")]
    BadToken,
    /// The system said no.
    #[error("cannot listen on {address}: {error}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

impl BindError {
    /// The configuration must change; the system is not to blame. Such a process ends with 78.
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Exposed { .. } | Self::BadToken)
    }

    /// The error's stable code, under which people look it up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => "T0240",
            Self::BadToken => "T0241",
            Self::Io { .. } => "T0242",
        }
    }
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    local_addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Waits until it has ended: `shutdown` was asked for, and all running requests were answered
    /// or the drain's time was over.
    pub async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "gateway ended early");
        }
    }
}

/// Serves HTTP until `shutdown`: our routes, and users' routes at all other paths.
///
/// It listens when this returns. Its tasks run on the node's core runtime, users' routes on the
/// ambient one. Connections that are idle when it ends are closed, requests that run are answered.
///
/// # Errors
/// If the address is exposed without a token, or cannot be listened on.
pub fn serve(
    options: GatewayOptions,
    handle: NodeHandle,
    user_routes: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Running, BindError> {
    let guard = Guard::new(checked_token(&options)?);
    let address = options.listen;
    let core = handle.core().clone();
    let entered = core.enter();
    let listener = listen(address).map_err(|error| BindError::Io { address, error })?;
    let local_addr = listener.local_addr().map_err(|error| BindError::Io { address, error })?;
    drop(entered);
    let front = Arc::new(Front::new(guard, handle, user_routes));
    let task = core.spawn(run(listener, front, Connections::of_process(), shutdown));
    Ok(Running { local_addr, task })
}

fn checked_token(options: &GatewayOptions) -> Result<Option<Token>, BindError> {
    match &options.token {
        Some(token) => Token::new(token.clone()).map(Some).ok_or(BindError::BadToken),
        None if options.listen.ip().is_loopback() => Ok(None),
        None => Err(BindError::Exposed { address: options.listen }),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port that was in use a moment ago must not keep a restarted node from its address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serve,
    /// Answer what runs and close.
    Drain,
    /// Close.
    Abort,
}

async fn run(
    listener: TcpListener,
    front: Arc<Front>,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (tell, told) = watch::channel(Stage::Serve);
    tokio::select! {
        () = shutdown => {}
        never = accept(&listener, &front, &connections, &told) => match never {},
    }
    drop(listener);
    // Nobody hears it if there is no connection.
    let _ = tell.send(Stage::Drain);
    if !connections.ended(DRAIN_WAIT_MAX).await {
        tracing::warn!("requests still run after {DRAIN_WAIT_MAX:?}; their connections are closed");
        let _ = tell.send(Stage::Abort);
    }
}

async fn accept(
    listener: &TcpListener,
    front: &Arc<Front>,
    connections: &Connections,
    told: &watch::Receiver<Stage>,
) -> Infallible {
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let place = connections.place().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                if let Some(seat) = connections.seat(place, peer.ip()) {
                    let connection = Connection {
                        stream,
                        front: Arc::clone(front),
                        exchange: Arc::default(),
                        told: told.clone(),
                    };
                    let scarcity = connections.scarcity();
                    tokio::runtime::Handle::current().spawn(connection.serve(seat, scarcity));
                }
            }
            // The client was gone before it was accepted.
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, ?pause, "cannot accept connections; waiting");
                drop(place);
                sleep(pause).await;
                pause = next_pause(pause);
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(ACCEPT_PAUSE_MAX)
}

struct Connection {
    stream: TcpStream,
    front: Arc<Front>,
    exchange: Arc<Exchange>,
    told: watch::Receiver<Stage>,
}

impl Connection {
    /// Serves one connection to its end. `_seat` is given back then.
    async fn serve(self, _seat: Seat, scarcity: Scarcity) {
        let Self { stream, front, exchange, mut told } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection ended at once");
            return;
        }
        let stream = Patient::new(stream, Arc::clone(&exchange), scarcity);
        let service = service_fn(move |request| {
            let (front, turn) = (Arc::clone(&front), exchange.begin());
            async move {
                let response = front.answer(request).await;
                if response.status().is_client_error() || response.status().is_server_error() {
                    turn.refused();
                }
                Ok::<_, Infallible>(response.map(|body| Answer { body, _turn: turn }))
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // `Patient` waits for heads.
            .header_read_timeout(None)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(READ_AHEAD_BYTES_MAX);
        let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
        loop {
            tokio::select! {
                ended = served.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended");
                    }
                    return;
                }
                changed = told.changed() => {
                    if changed.is_err() || *told.borrow() == Stage::Abort {
                        return;
                    }
                    served.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// An answer's body; when it is sent or dropped the connection is idle.
struct Answer {
    body: Body,
    _turn: Turn,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(ctx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(listen: &str, token: Option<&str>) -> GatewayOptions {
        let listen = listen.parse().unwrap();
        GatewayOptions { listen, token: token.map(str::to_owned) }
    }

    /// Nothing but loopback is open to everyone.
    #[test]
    fn exposure_needs_a_token() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            assert!(matches!(checked_token(&options(listen, None)), Ok(None)));
        }
        for listen in ["0.0.0.0:0", "[::]:0", "10.0.0.1:7270"] {
            let error = checked_token(&options(listen, None)).unwrap_err();
            assert!(matches!(error, BindError::Exposed { .. }) && error.is_configuration());
            assert!(matches!(
                checked_token(&options(listen, Some("0123456789abcdef"))),
                Ok(Some(_))
            ));
        }
        let error = checked_token(&options("127.0.0.1:0", Some("secret"))).unwrap_err();
        assert!(matches!(error, BindError::BadToken));
        assert!(!format!("{:?}", options("127.0.0.1:0", Some("secret"))).contains("secret"));
    }

    #[test]
    fn accepting_backs_off() {
        let pauses =
            std::iter::successors(Some(ACCEPT_PAUSE_MIN), |&pause| Some(next_pause(pause)));
        let pauses: Vec<_> = pauses.take(8).collect();
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&ACCEPT_PAUSE_MAX));
        assert!(is_of_one_client(&io::ErrorKind::ConnectionAborted.into()));
        assert!(!is_of_one_client(&io::Error::from_raw_os_error(24)), "EMFILE must make it wait");
    }
}
