//! The load: publishers that keep to a rate over keep-alive connections, and say what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidings_check::history::Seen;
use tidings_types::seam::{Rng, SplitMix};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::command::verify::caller::{Caller, Told};
use crate::command::verify::fate::Fates;
use crate::command::verify::journal::{Address, TOPIC_NUMBER};
use crate::command::verify::payload::{key_text, make};
use crate::command::verify::recorder::Recorder;
use crate::command::verify::services::{KIND, TOPIC};

/// Connections, each with one call out at most.
const PUBLISHERS: u32 = 48;
/// One call in so many is a batch.
const BATCH_EVERY: u64 = 16;
const BATCH_MIN: u64 = 2;
const BATCH_MAX: u64 = 16;
/// How soon a publisher looks again for a node that does not listen.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Longer than any call takes.
const STOP_WAIT_MAX: Duration = Duration::from_secs(12);

/// What is published, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) seed: u64,
    /// Events a second.
    pub(super) rate: u64,
    pub(super) wall: Duration,
    pub(super) n_keys: u64,
    pub(super) size: usize,
    pub(super) fates: Fates,
}

impl Shape {
    /// Events that are due within the time of the load.
    pub(super) fn n_events(&self) -> u64 {
        (self.wall.as_secs_f64() * self.rate as f64) as u64
    }
}

/// A load that is on. It ends with this.
pub(super) struct Load {
    shared: Arc<Shared>,
    publishers: JoinSet<()>,
}

struct Shared {
    shape: Shape,
    began: Instant,
    recorder: Recorder,
    address: watch::Receiver<Address>,
    is_over: AtomicBool,
    next_event: AtomicU64,
    next_op: AtomicU64,
    n_acknowledged: AtomicU64,
    /// The newest life that acknowledged anything, and how many acknowledgements there were.
    acks: watch::Sender<(u64, u64)>,
}

impl Load {
    /// Starts.
    pub(super) fn start(
        shape: Shape,
        recorder: Recorder,
        address: watch::Receiver<Address>,
    ) -> Self {
        let shared = Arc::new(Shared {
            shape,
            began: Instant::now(),
            recorder,
            address,
            is_over: AtomicBool::new(false),
            next_event: AtomicU64::new(0),
            next_op: AtomicU64::new(0),
            n_acknowledged: AtomicU64::new(0),
            acks: watch::Sender::default(),
        });
        let mut publishers = JoinSet::new();
        for number in 0..PUBLISHERS {
            publishers.spawn(Publisher::new(number, Arc::clone(&shared)).run());
        }
        Self { shared, publishers }
    }

    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.shared.began
    }

    /// Tells of each acknowledgement: the life that gave it, and how many there were.
    pub(super) fn acks(&self) -> watch::Receiver<(u64, u64)> {
        self.shared.acks.subscribe()
    }

    /// Events that were acknowledged so far.
    pub(super) fn n_acknowledged(&self) -> u64 {
        self.shared.n_acknowledged.load(Ordering::Relaxed)
    }

    /// Sends no more, and waits for the answers that are out.
    pub(super) async fn stop(mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let all = async { while self.publishers.join_next().await.is_some() {} };
        // Of a slow load some may still wait for their moment: nothing of theirs is out.
        let _ = timeout(STOP_WAIT_MAX, all).await;
    }
}

struct Publisher {
    number: u32,
    shared: Arc<Shared>,
    rng: SplitMix,
    caller: Caller,
    address: watch::Receiver<Address>,
}

impl Publisher {
    fn new(number: u32, shared: Arc<Shared>) -> Self {
        let rng = SplitMix::new(shared.shape.seed ^ (u64::from(number) << 40));
        let address = shared.address.clone();
        Self { number, shared, rng, caller: Caller::default(), address }
    }

    async fn run(mut self) {
        loop {
            let n_events = match self.rng.below(BATCH_EVERY) {
                0 => BATCH_MIN + self.rng.below(BATCH_MAX - BATCH_MIN + 1),
                _ => 1,
            };
            let first = self.shared.next_event.fetch_add(n_events, Ordering::Relaxed);
            let due = Duration::from_secs_f64(first as f64 / self.shared.shape.rate as f64);
            if self.shared.shape.wall <= due {
                return;
            }
            // What was due while the node was away is sent when it is back, all at once.
            sleep_until(self.shared.began + due).await;
            let Some(life) = self.connected().await else { return };
            self.call(first, n_events, life).await;
        }
    }

    /// Waits for a connection; gives the life that it is to. `None` at the end of the load.
    async fn connected(&mut self) -> Option<u64> {
        while !self.shared.is_over.load(Ordering::Relaxed) {
            let Address { life, port } = *self.address.borrow_and_update();
            if let Some(port) = port
                && self.caller.connect(port).await.is_ok()
            {
                return Some(life);
            }
            // A change is waited for, but not for ever: the load may end.
            let _ = timeout(LOOK_AGAIN, self.address.changed()).await;
        }
        None
    }

    async fn call(&mut self, first: u64, n_events: u64, life: u64) {
        let Shared { shape, recorder, .. } = &*self.shared;
        let numbers = first..first + n_events;
        let events: Vec<_> =
            numbers.map(|event| (event, shape.fates.key(event, shape.n_keys))).collect();
        let mut body = String::new();
        for (event, key) in &events {
            let (key_text, data) = (key_text(*key), make(*event, *key, shape.size));
            body += &format!("{{\"type\":\"{KIND}\",\"key\":\"{key_text}\",\"data\":{data}}}\n");
        }
        let op = self.shared.next_op.fetch_add(1, Ordering::Relaxed);
        let (publisher, topic) = (self.number, TOPIC_NUMBER);
        recorder.record(Seen::Publish { op, publisher, events, topic, place: None });
        let path = format!("/v1/topics/{TOPIC}/events");
        match self.caller.publish(&path, 1 < n_events, body).await {
            Told::Stored { first } => {
                self.shared.recorder.record(Seen::Published { op, first });
                self.shared.acknowledged(life, n_events);
            }
            Told::Refused { error } => {
                self.shared.recorder.record(Seen::Refused { op, error });
                // It would only be refused again.
                sleep(LOOK_AGAIN).await;
            }
            Told::Unknown { error } => self.shared.recorder.record(Seen::Unknown { op, error }),
        }
    }
}

impl Shared {
    fn acknowledged(&self, life: u64, n_events: u64) {
        self.n_acknowledged.fetch_add(n_events, Ordering::Relaxed);
        self.acks
            .send_modify(|(newest, n_acks)| (*newest, *n_acks) = (life.max(*newest), *n_acks + 1));
    }
}
