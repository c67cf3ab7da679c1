//! A connection that does not wait for ever: for a head, for the next request, for a reader.
//!
//! ```text
//!   open ─► head ─── request ──► busy ─── answered ──► idle ─── first byte ──► head
//!           ≤ 5 s                (its handler waits)   ≤ 120 s, ≤ 5 s while scarce
//! ```
//! hyper has a timer for heads; it also ends idle connections, as it runs between requests too, and
//! is made anew for each request. Here one sleep a second counts looks, and the hot path has none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::connections::Scarcity;
use crate::limits::{
    HEAD_WAIT_MAX, IDLE_WAIT_MAX, IDLE_WAIT_SCARCE_MAX, LINGER_BYTES_MAX, LINGER_WAIT_MAX,
    WATCH_EVERY, WRITE_WAIT_MAX,
};

/// What a connection's requests tell its stream.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    n_begun: AtomicU64,
    is_busy: AtomicBool,
    lingers: AtomicBool,
}

impl Exchange {
    /// A request's head is whole.
    pub(crate) fn begin(self: &Arc<Self>) -> Turn {
        self.n_begun.fetch_add(1, Ordering::Relaxed);
        self.is_busy.store(true, Ordering::Relaxed);
        Turn { exchange: Arc::clone(self) }
    }
}

/// One request, until its answer is sent.
#[derive(Debug)]
pub(crate) struct Turn {
    exchange: Arc<Exchange>,
}

impl Turn {
    /// The request was refused, perhaps before its body was read.
    pub(crate) fn refused(&self) {
        self.exchange.lingers.store(true, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.exchange.is_busy.store(false, Ordering::Relaxed);
    }
}

/// What the client owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A head that it has begun, or the first one.
    Head,
    /// Nothing.
    Idle,
}

/// How long a client is waited for; counted in looks, so that it needs no clock.
#[derive(Debug)]
struct Patience {
    phase: Phase,
    n_looks: u32,
    n_begun: u64,
}

impl Patience {
    const fn new() -> Self {
        Self { phase: Phase::Head, n_looks: 0, n_begun: 0 }
    }

    /// Bytes came, or none: follows what the requests told.
    fn follow(&mut self, exchange: &Exchange, came: bool) {
        let n_begun = exchange.n_begun.load(Ordering::Relaxed);
        if self.n_begun != n_begun {
            *self = Self { phase: Phase::Idle, n_looks: 0, n_begun };
        }
        let is_busy = exchange.is_busy.load(Ordering::Relaxed);
        if is_busy {
            self.n_looks = 0;
        } else if came && self.phase == Phase::Idle {
            self.phase = Phase::Head;
            self.n_looks = 0;
        }
    }

    /// Counts a look. Whether it is enough.
    fn look(&mut self, is_scarce: bool) -> bool {
        self.n_looks += 1;
        let wait_max = match self.phase {
            Phase::Head => HEAD_WAIT_MAX,
            Phase::Idle if is_scarce => IDLE_WAIT_SCARCE_MAX,
            Phase::Idle => IDLE_WAIT_MAX,
        };
        // The sleep runs through all phases, so the first look may come up to one interval early.
        wait_max <= WATCH_EVERY * self.n_looks
    }
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    inner: S,
    exchange: Arc<Exchange>,
    scarcity: Scarcity,
    patience: Patience,
    watch: Option<Pin<Box<Sleep>>>,
    write_deadline: Option<Pin<Box<Sleep>>>,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Patient<S> {
    pub(crate) fn new(inner: S, exchange: Arc<Exchange>, scarcity: Scarcity) -> Self {
        Self {
            inner,
            exchange,
            scarcity,
            patience: Patience::new(),
            watch: None,
            write_deadline: None,
            linger: None,
        }
    }

    fn poll_patience(&mut self, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.patience.follow(&self.exchange, false);
        loop {
            if self.exchange.is_busy.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            let watch = self.watch.get_or_insert_with(|| Box::pin(sleep(WATCH_EVERY)));
            ready!(watch.as_mut().poll(ctx));
            watch.set(sleep(WATCH_EVERY));
            if self.patience.look(self.scarcity.is_scarce()) {
                return Poll::Ready(Err(timed_out("client sent no request in time")));
            }
        }
    }

    /// Follows one attempt to write: a client that takes nothing for too long is given up.
    fn poll_written(
        &mut self,
        ctx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.write_deadline = None;
            return written;
        }
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(WRITE_WAIT_MAX)));
        ready!(deadline.as_mut().poll(ctx));
        Poll::Ready(Err(timed_out("client takes nothing")))
    }
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let n_before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(ctx, buffer);
        if polled.is_pending() {
            return this.poll_patience(ctx);
        }
        this.patience.follow(&this.exchange, n_before < buffer.filled().len());
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(ctx, bytes);
        this.poll_written(ctx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(ctx, slices);
        this.poll_written(ctx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(ctx)
    }

    /// Closing while the client still sends would make a reset of it, and with the reset the answer
    /// that says why would be thrown away. So a refused client is listened to for a little longer.
    fn poll_shutdown(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(ctx))?;
            this.linger = Some((Box::pin(sleep(LINGER_WAIT_MAX)), 0));
        }
        if !this.exchange.lingers.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let (deadline, n_discarded) = this.linger.as_mut().expect("set above");
        let mut scratch = [0; 8 * 1024];
        while *n_discarded < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.inner).poll_read(ctx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *n_discarded += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(deadline.as_mut().poll(ctx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::connections::Connections;

    fn connect(n_bytes: usize) -> (DuplexStream, Patient<DuplexStream>, Arc<Exchange>) {
        let (client, server) = duplex(n_bytes);
        let exchange = Arc::new(Exchange::default());
        let scarcity = Connections::of_process().scarcity();
        (client, Patient::new(server, Arc::clone(&exchange), scarcity), exchange)
    }

    /// A client that sends nothing is gone in less than 6 s; while its request runs it may be
    /// silent for as long as that takes.
    #[tokio::test(start_paused = true)]
    async fn silent_clients_are_given_up() {
        let (_client, mut stream, exchange) = connect(64);
        let turn = exchange.begin();
        let while_busy = timeout(IDLE_WAIT_MAX * 2, stream.read_u8()).await;
        assert!(while_busy.is_err());
        drop(turn);

        let (_client, mut stream, _) = connect(64);
        let started = Instant::now();
        let given_up = timeout(IDLE_WAIT_MAX, stream.read_u8()).await.expect("it is given up");
        let error = given_up.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() <= HEAD_WAIT_MAX);
    }

    /// A client that reads nothing of its answer is given up, too.
    #[tokio::test(start_paused = true)]
    async fn deaf_clients_are_given_up() {
        let (_client, mut stream, _) = connect(64);
        let started = Instant::now();
        let given_up = timeout(IDLE_WAIT_MAX, stream.write_all(&[0; 65])).await;
        let error = given_up.expect("it is given up").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), WRITE_WAIT_MAX);
    }

    /// A refused client may send on for a little while, so that it gets to read the refusal; one
    /// that was served is closed at once.
    #[tokio::test(start_paused = true)]
    async fn refused_clients_are_listened_to() {
        let (mut client, mut stream, exchange) = connect(64);
        exchange.begin().refused();
        let started = Instant::now();
        let sending = async { client.write_all(&[0; 1_000]).await.unwrap() };
        let both = async { tokio::join!(stream.shutdown(), sending) };
        timeout(IDLE_WAIT_MAX, both).await.expect("somebody listens").0.unwrap();
        assert_eq!(started.elapsed(), LINGER_WAIT_MAX);

        let (_client, mut stream, _) = connect(64);
        let started = Instant::now();
        stream.shutdown().await.unwrap();
        assert_eq!(started.elapsed(), std::time::Duration::ZERO);
    }

    fn looks_until_given_up(patience: &mut Patience, is_scarce: bool) -> u32 {
        (1..=1_000).find(|_| patience.look(is_scarce)).unwrap()
    }

    /// A client that sends nothing, and one that begins a head and stops, get 5 s; an idle one that
    /// was served gets 120 s, unless connections are scarce.
    #[test]
    fn patience_depends_on_what_is_owed() {
        let exchange = Arc::new(Exchange::default());
        let mut patience = Patience::new();
        assert_eq!(looks_until_given_up(&mut patience, false), 5);

        let mut patience = Patience::new();
        patience.follow(&exchange, true);
        drop(exchange.begin());
        patience.follow(&exchange, false);
        assert_eq!(looks_until_given_up(&mut patience, false), 120);

        drop(exchange.begin());
        patience.follow(&exchange, false);
        assert_eq!(looks_until_given_up(&mut patience, true), 5);

        drop(exchange.begin());
        patience.follow(&exchange, false);
        patience.follow(&exchange, true);
        assert_eq!(looks_until_given_up(&mut patience, false), 5);
    }

    /// Dripping one byte a second does not renew the wait for a head; a request that runs does.
    #[test]
    fn drips_do_not_renew_it() {
        let exchange = Arc::new(Exchange::default());
        let mut patience = Patience::new();
        let n_looks = (1..=1_000).find(|_| {
            patience.follow(&exchange, true);
            patience.look(false)
        });
        assert_eq!(n_looks, Some(5));

        let turn = exchange.begin();
        patience.follow(&exchange, true);
        assert_eq!((patience.phase, patience.n_looks), (Phase::Idle, 0));
        drop(turn);
        patience.follow(&exchange, false);
        assert_eq!(patience.phase, Phase::Idle);
    }
}
