//! What the node counts, under the names that dashboards rely on.
//!
//! Handles are atomics, so counting takes no lock; labels are looked up once for each batch. No
//! label is an event's id or key.

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    route: String,
    code: u16,
}

/// See the module's description.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) published: Family<OfTopic, Counter>,
    pub(crate) publish_seconds: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) log_bytes: Gauge,
    pub(crate) admitted_bytes: Gauge,
    pub(crate) group_lag: Family<OfGroup, Gauge>,
    pub(crate) handler_seconds: Family<OfOutcome, Histogram>,
    pub(crate) attempts: Family<OfOutcome, Counter>,
    pub(crate) dead_letters: Family<OfGroup, Counter>,
    pub(crate) worker_restarts: Family<OfGroup, Counter>,
    pub(crate) elections: Counter,
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
        let mut metrics = Self {
            registry: Registry::with_prefix("tidings"),
            published: Family::default(),
            publish_seconds: seconds(),
            commit_seconds: seconds(),
            log_bytes: Gauge::default(),
            admitted_bytes: Gauge::default(),
            group_lag: Family::default(),
            handler_seconds: Family::new_with_constructor(seconds),
            attempts: Family::default(),
            dead_letters: Family::default(),
            worker_restarts: Family::default(),
            elections: Counter::default(),
            is_leader: Gauge::default(),
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
        let text = "From handing a write to the log to its being durable";
        r.register("commit_duration_seconds", text, self.commit_seconds.clone());
        r.register("log_bytes", "Bytes of the log on disk", self.log_bytes.clone());
        let text = "Bytes of events that wait for their answer";
        r.register("in_flight_bytes", text, self.admitted_bytes.clone());
        r.register("group_lag_events", "Events not settled", self.group_lag.clone());
        let text = "Time that handlers took with one event";
        r.register("handler_duration_seconds", text, self.handler_seconds.clone());
        r.register("attempts", "Attempts to handle an event", self.attempts.clone());
        r.register("dead_letters", "Events given up", self.dead_letters.clone());
        r.register("worker_restarts", "Workers started anew", self.worker_restarts.clone());
        r.register("elections", "Times that this node began to lead", self.elections.clone());
        r.register("shard_leader", "1 while this node leads", self.is_leader.clone());
        r.register("edge_requests", "Requests answered over HTTP", self.edge_requests.clone());
    }

    /// Counts one answered HTTP request; `route` is its pattern and never its path.
    pub fn edge_request(&self, route: &str, code: u16) {
        self.edge_requests.get_or_create(&OfRequest { route: route.to_owned(), code }).inc();
    }

    /// All of it as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    pub(crate) fn observe(histogram: &Histogram, took: Duration) {
        histogram.observe(took.as_secs_f64());
    }
}
