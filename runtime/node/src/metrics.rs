//! What the node counts, under the names that dashboards rely on.
//!
//! Handles are atomics, so counting takes no lock; labels are looked up once for each batch. No
//! label is an event's id or key.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Label of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfTopic {
    pub(crate) topic: String,
}

/// Label of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfGroup {
    pub(crate) group: String,
}

/// Labels of one group's outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfOutcome {
    pub(crate) group: String,
    pub(crate) outcome: &'static str,
}

/// Label of a place on an event's way where bytes wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStage {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfShard {
    shard: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    route: &'static str,
    code: u16,
}

/// See the module's description.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) published: Family<OfTopic, Counter>,
    pub(crate) publish_seconds: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) fsync_seconds: Histogram,
    pub(crate) log_bytes: Gauge,
    in_flight: Family<OfStage, Gauge>,
    /// Of it: admitted and not answered.
    pub(crate) publish_bytes: Gauge,
    /// Of it: handed to the log and not durable.
    pub(crate) write_bytes: Gauge,
    pub(crate) group_lag: Family<OfGroup, Gauge>,
    pub(crate) group_oldest_seconds: Family<OfGroup, Gauge<f64, AtomicU64>>,
    pub(crate) handler_seconds: Family<OfOutcome, Histogram>,
    pub(crate) attempts: Family<OfOutcome, Counter>,
    pub(crate) dead_letters: Family<OfGroup, Counter>,
    pub(crate) worker_restarts: Family<OfGroup, Counter>,
    pub(crate) handlers_blocked: Family<OfGroup, Counter>,
    pub(crate) elections: Counter,
    shard_leader: Family<OfShard, Gauge>,
    /// Of it: the one shard that there is.
    pub(crate) is_leader: Gauge,
    edge_requests: Family<OfRequest, Counter>,
}

/// Bounds of the histograms of durations: 50 µs, doubling, up to about 100 s.
fn seconds() -> Histogram {
    Histogram::new((0..22).map(|power| 0.000_05 * f64::from(1_u32 << power)))
}

impl Metrics {
    /// Nothing counted yet.
    pub(crate) fn new(node: &str) -> Self {
        let in_flight = Family::<OfStage, Gauge>::default();
        let shard_leader = Family::<OfShard, Gauge>::default();
        let mut metrics = Self {
            registry: Registry::with_prefix("tidings"),
            published: Family::default(),
            publish_seconds: seconds(),
            commit_seconds: seconds(),
            fsync_seconds: seconds(),
            log_bytes: Gauge::default(),
            publish_bytes: in_flight.get_or_create_owned(&OfStage { stage: "publish" }),
            write_bytes: in_flight.get_or_create_owned(&OfStage { stage: "write" }),
            in_flight,
            group_lag: Family::default(),
            group_oldest_seconds: Family::default(),
            handler_seconds: Family::new_with_constructor(seconds),
            attempts: Family::default(),
            dead_letters: Family::default(),
            worker_restarts: Family::default(),
            handlers_blocked: Family::default(),
            elections: Counter::default(),
            is_leader: shard_leader.get_or_create_owned(&OfShard { shard: 0 }),
            shard_leader,
            edge_requests: Family::default(),
        };
        metrics.register(node);
        metrics
    }

    fn register(&mut self, node: &str) {
        let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let r = &mut self.registry;
        r.register("build", "What runs", Info::new(build));
        r.register("node", "Which node", Info::new(vec![("name", node.to_owned())]));
        r.register("events_published", "Events stored durably", self.published.clone());
        let text = "From a batch's departure to its answer";
        r.register("publish_duration_seconds", text, self.publish_seconds.clone());
        let text = "From handing entries to the log to their being durable";
        r.register("commit_duration_seconds", text, self.commit_seconds.clone());
        let text = "One write of the log and its fdatasync";
        r.register("fsync_duration_seconds", text, self.fsync_seconds.clone());
        r.register("log_bytes", "Bytes of the log on disk", self.log_bytes.clone());
        let text = "Bytes that wait: publish, for their answer; write, for the disk";
        r.register("in_flight_bytes", text, self.in_flight.clone());
        r.register("group_lag_events", "Events not settled", self.group_lag.clone());
        let text = "Age of the oldest event that is not settled, by its publisher's clock";
        let ages = self.group_oldest_seconds.clone();
        r.register("group_oldest_unsettled_seconds", text, ages);
        let text = "Time that handlers took with one event";
        r.register("handler_duration_seconds", text, self.handler_seconds.clone());
        r.register("attempts", "Attempts to handle an event", self.attempts.clone());
        r.register("dead_letters", "Events given up", self.dead_letters.clone());
        let text = "Workers and tasks started anew";
        r.register("worker_restarts", text, self.worker_restarts.clone());
        let text = "Times that a handler held its thread for 3 s";
        r.register("handlers_blocked", text, self.handlers_blocked.clone());
        r.register("elections", "Times that this node began to lead", self.elections.clone());
        let text = "1 while this node leads the shard";
        r.register("shard_leader", text, self.shard_leader.clone());
        r.register("edge_requests", "Requests answered over HTTP", self.edge_requests.clone());
    }

    /// Counts one answered HTTP request; `route` is its pattern and never its path.
    pub fn edge_request(&self, route: &'static str, code: u16) {
        self.edge_requests.get_or_create(&OfRequest { route, code }).inc();
    }

    /// All of it as OpenMetrics text. Some gauges are read only when somebody looks: see
    /// [`NodeHandle::refresh_gauges`](crate::handle::NodeHandle::refresh_gauges).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    pub(crate) fn observe(histogram: &Histogram, took: Duration) {
        histogram.observe(took.as_secs_f64());
    }
}
