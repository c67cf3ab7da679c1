//! The gateway as its clients see it, over real sockets, before a real node.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helper may panic")]

mod common;

use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use tidings_delivery::family::Strategy;
use tidings_delivery::retry::RetryPolicy;
use tidings_delivery::session::Verdict;
use tidings_node::service::{GiveUp, Handler, Policy, ServiceSpec, Work};
use tidings_types::layout::command::{Command, DeadReason, GroupStart};
use tidings_types::name::{GroupName, TopicName};
use tokio::sync::watch;

use crate::common::{Answer, Served, pause};

const EVENTS: &str = "/v1/topics/users/events";

fn served() -> Served {
    let served = Served::start(Router::new(), None);
    assert_eq!(served.post("/v1/topics", r#"{"name":"users"}"#).status, 201);
    served
}

fn end_of(served: &Served, topic: &str) -> u64 {
    served.get(&format!("/v1/topics/{topic}")).json()["end"].as_u64().unwrap()
}

/// What is published is read back as it was, page by page, in both formats.
#[test]
fn events_come_back() {
    let served = served();
    assert_eq!(served.post("/v1/topics", r#"{"name":"users"}"#).status, 200, "there is one");

    let one = served.post(
        EVENTS,
        r#"{"id":"e-0","type":"a.v1","key":"k","time":"2026-01-02T03:04:05.678Z","data":{"n": 1.50}}"#,
    );
    assert_eq!(one.status, 201, "{one:?}");
    assert_eq!(one.json(), json!({"id": "e-0", "topic": "users", "offset": 0}));
    let lines: String = (1..=24).map(|n| format!("{{\"type\":\"a.v1\",\"data\":{n}}}\n")).collect();
    let many = served.post_lines(EVENTS, &lines);
    assert_eq!(many.status, 201, "{many:?}");
    assert_eq!(many.json(), json!({"topic": "users", "first_offset": 1, "count": 24}));

    let page = served.get(&format!("{EVENTS}?from=0&limit=2")).json();
    assert_eq!((&page["topic"], &page["next"]), (&json!("users"), &json!(2)));
    let first = &page["events"][0];
    assert_eq!(first["id"], "e-0");
    assert_eq!(first["key"], "k");
    assert_eq!(first["time"], "2026-01-02T03:04:05.678Z");
    assert_eq!(page["events"][1]["id"].as_str().map(str::len), Some(36), "an id was made");

    let (mut from, mut data) = (0, Vec::new());
    loop {
        let path = format!("{EVENTS}?from={from}&limit=10");
        let page = served.ask("GET", &path, "accept: application/x-ndjson\r\n", "");
        assert!(page.head.contains("content-type: application/x-ndjson"));
        if page.body.is_empty() {
            break;
        }
        for line in page.text().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["offset"], from);
            data.push(event["data"].clone());
            from += 1;
        }
        assert!(page.head.contains(&format!("tidings-next: {from}")), "{}", page.head);
    }
    assert_eq!(data[0], json!({"n": 1.5}));
    assert_eq!(data[1..], (1..=24).map(Value::from).collect::<Vec<_>>());
    let beyond = served.get(&format!("{EVENTS}?from=1000000")).json();
    assert_eq!(beyond["events"], json!([]));
}

/// Bad input is refused with a code that names it, and nothing of it is stored: we try what people
/// send by mistake, and what others send on purpose.
#[test]
fn bad_input_stores_nothing() {
    let served = served();
    let event = r#"{"type":"a.v1","data":1}"#;
    let long_key = format!(r#"{{"type":"a.v1","key":"{}","data":1}}"#, "k".repeat(1_025));
    let large = format!(r#"{{"type":"a.v1","data":"{}"}}"#, "x".repeat(1 << 20));
    let json = "content-type: application/json\r\n";
    let cases = [
        ("/v1/topics/nothing/events", json, event, 404, "T0122"),
        ("/v1/topics/Users/events", json, event, 400, "T0209"),
        ("/v1/topics/..%2Fx/events", json, event, 400, "T0209"),
        ("/v1/topics/a%00/events", json, event, 400, "T0209"),
        ("/v1/topics/%ff/events", json, event, 400, "T0209"),
        (EVENTS, "", event, 415, "T0204"),
        (EVENTS, "content-type: text/plain\r\n", event, 415, "T0204"),
        (
            EVENTS,
            "content-type: application/json\r\ncontent-encoding: gzip\r\n",
            event,
            415,
            "T0204",
        ),
        (EVENTS, json, "", 400, "T0201"),
        (EVENTS, json, "{\"type\":", 400, "T0201"),
        (EVENTS, json, r#"{"data":1}"#, 422, "T0203"),
        (EVENTS, json, r#"{"type":"a b","data":1}"#, 422, "T0120"),
        (EVENTS, json, r#"{"type":"a","id":"","data":1}"#, 422, "T0120"),
        (EVENTS, json, r#"{"type":"a","key":"a\nb","data":1}"#, 422, "T0120"),
        (EVENTS, json, &long_key, 422, "T0120"),
        (EVENTS, json, r#"{"type":"a","time":"noon","data":1}"#, 422, "T0120"),
        (EVENTS, json, &large, 413, "T0120"),
    ];
    for (path, headers, body, status, code) in cases {
        let answer = served.ask("POST", path, headers, body);
        let shown = &body[..body.len().min(60)];
        assert_eq!((answer.status, &*answer.code()), (status, code), "{path} {shown}");
    }

    // Line 7 of 10: the batch is refused whole, and the line is named.
    for (bad, status) in [("{\"type\":", 400), (r#"{"type":"a","key":"\u0001","data":1}"#, 422)] {
        let lines: Vec<_> = (1..=10).map(|n| if n == 7 { bad } else { event }).collect();
        let answer = served.post_lines(EVENTS, &lines.join("\n"));
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["line"], 7);
        assert_eq!(answer.code().len(), 5);
    }
    let half = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(600 << 10));
    let answer = served.post_lines(EVENTS, &format!("{half}\n{half}"));
    assert_eq!((answer.status, &*answer.code()), (413, "T0121"));
    assert_eq!(end_of(&served, "users"), 0, "nothing of all this is stored");

    // The largest event that may be sent can be stored and read.
    let largest = format!(r#"{{"id":"e","type":"a","data":"{}"}}"#, "x".repeat((1 << 20) - 64));
    assert_eq!(served.post(EVENTS, &largest).status, 201);
    assert!(served.get(EVENTS).body.len() > 1 << 20);
}

/// A body that is too large is refused before it is read, and the client gets to see why even if
/// it goes on sending; one that ends early was never published.
#[test]
fn bodies_are_bounded() {
    let served = served();
    let head = |length: &str| {
        format!(
            "POST {EVENTS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             {length}\r\n\r\n"
        )
    };
    // Declared: answered although not a byte of it was sent.
    let mut stream = served.connect();
    stream.write_all(head("content-length: 1073741824").as_bytes()).unwrap();
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.status, &*answer.code()), (413, "T0205"));

    // Not declared, and sent to the end without looking for an answer.
    let mut stream = served.connect();
    stream.write_all(head("transfer-encoding: chunked").as_bytes()).unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    for _ in 0..4 {
        stream.write_all(chunk.as_bytes()).unwrap();
    }
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.status, &*answer.code()), (413, "T0205"));

    let mut stream = served.connect();
    stream.write_all(head("content-length: 100").as_bytes()).unwrap();
    stream.write_all(br#"{"type":"a","data":1}"#).unwrap();
    drop(stream);
    assert_eq!(served.post(EVENTS, r#"{"type":"a","data":2}"#).status, 201);
    assert_eq!(served.get(EVENTS).json()["events"][0]["data"], 2);

    let long = format!("x: {}\r\n", "x".repeat(64 << 10));
    let mut stream = served.connect();
    let sent = stream.write_all(format!("GET /livez HTTP/1.1\r\n{long}\r\n").as_bytes());
    let mut answer = Vec::new();
    if sent.is_ok() && stream.read_to_end(&mut answer).is_ok() {
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Each route answers, errors are problems everywhere, and probes tell what they are for.
#[test]
fn routes_answer() {
    let served = served();
    for path in
        ["/livez", "/readyz", "/metrics", "/v1/status", "/v1/topics", "/v1/groups", "/v1/dead"]
    {
        assert_eq!(served.get(path).status, 200, "{path}");
    }
    assert_eq!(served.get("/readyz?verbose").json()["ready"], true);
    assert_eq!(served.get("/v1/topics").json()[0]["name"], "users");
    assert_eq!(served.get("/v1/dead").json(), json!({"letters": [], "more": 0}));
    assert_eq!(served.get("/v1/problems/T0122").json()["status"], 404);
    for (method, path, status) in [
        ("GET", "/v1/topics/nothing", 404),
        ("GET", "/v1/groups/nothing", 404),
        ("GET", "/v1/groups/nothing/dead", 404),
        ("GET", "/v1/groups/g/dead/users/0", 404),
        ("GET", "/v1/groups/g/dead/users/x", 400),
        ("GET", "/v1/dead?group=UP", 400),
        ("GET", "/v1/dead?grp=g", 400),
        ("GET", "/v1/dead?since=yesterday", 400),
        ("GET", "/v1/dead?after=users@0", 400),
        ("GET", "/v1/groups/g/dead?group=g", 400),
        ("GET", "/v1/groups/g/dead?after=users", 400),
        ("PUT", "/v1/groups/g/dead/users/0", 415),
        ("GET", "/v1/events/nothing", 404),
        ("GET", "/v1/problems/T9999", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/startupz", 404),
        ("DELETE", "/v1/topics", 405),
        ("PUT", "/v1/topics/users/events", 405),
        ("GET", "/v1/topics/users/events?from=x", 400),
        ("GET", "/v1/topics/users/events?form=1", 400),
        ("POST", "/v1/topics", 415),
        ("POST", "/v1/groups/g/dead/redrive", 415),
        ("POST", "/v1/groups/g/pause", 415),
        ("POST", "/v1/groups/g/resume", 415),
        ("POST", "/v1/groups/g/seek", 415),
    ] {
        let answer = served.ask(method, path, "", "");
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.code().len(), 5);
    }
    let allowed = served.ask("DELETE", "/v1/topics", "", "");
    assert!(allowed.head.contains("allow: get,head,post"), "{}", allowed.head);
    let answer = served.post("/v1/groups/g/dead/redrive", "{}");
    assert_eq!((answer.status, &*answer.code()), (422, "T0203"));
    assert_eq!(served.post("/v1/groups/g/pause", "{}").status, 404);
    assert_eq!(served.post("/v1/groups/g/pause", r#"{"for":"1h"}"#).status, 422);
    let metrics = served.get("/metrics");
    let line = "tidings_edge_requests_total{route=\"/v1/topics/{topic}\",code=\"404\"} 1";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    assert!(metrics.text().ends_with("# EOF\n"));
}

/// Does as each event says.
struct Obedient {
    released: watch::Receiver<bool>,
}

impl Handler for Obedient {
    fn run<'a>(&'a mut self, work: &'a mut Work) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            while let Some(delivery) = work.next() {
                let verdict = match (delivery.event.payload(), delivery.attempt) {
                    (b"\"panic once\"", 1) => panic!("meant to happen"),
                    (b"\"give up\"", _) => {
                        Verdict::Dead { reason: DeadReason::Fatal, message: "as told".to_owned() }
                    }
                    (b"\"wait\"", _) => {
                        self.released.wait_for(|&released| released).await.unwrap();
                        Verdict::Done
                    }
                    _ => Verdict::Done,
                };
                work.finish(verdict);
            }
        })
    }
}

fn obedient(released: watch::Receiver<bool>) -> ServiceSpec {
    let retry = RetryPolicy { min: Duration::from_millis(1), ..RetryPolicy::default() };
    ServiceSpec {
        tasks: Vec::new(),
        strategy: Strategy::OneForOne,
        group: GroupName::new("readers").unwrap(),
        topics: vec![TopicName::new("users").unwrap()],
        start: GroupStart::Earliest,
        everywhere: false,
        workers: 2,
        new_handler: Arc::new(move |_| Box::new(Obedient { released: released.clone() })),
        policy: Arc::new(move |_| Policy {
            retry,
            timeout: Duration::from_secs(30),
            give_up: GiveUp::DeadLetter,
        }),
    }
}

/// The value of one line of metrics.
#[track_caller]
fn value(metrics: &str, name: &str) -> f64 {
    let of_name = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    metrics.lines().find_map(of_name).unwrap_or_else(|| panic!("{name} is not in\n{metrics}"))
}

/// Scrapes until a line has this value.
#[track_caller]
fn metrics_when(served: &Served, name: &str, is_there: impl Fn(f64) -> bool) -> String {
    for _ in 0..2_000 {
        let answer = served.get("/metrics");
        if is_there(value(answer.text(), name)) {
            return answer.text().to_owned();
        }
        pause();
    }
    panic!("{name} does not get there:\n{}", served.get("/metrics").text());
}

/// Dashboards find each number under its exact name, and a scrape shows what is true now: we let
/// events succeed, panic, be given up and wait, and nobody asks for anything but the metrics.
#[test]
fn metrics_have_their_names_and_are_current() {
    const LAG: &str = r#"tidings_group_lag_events{group="readers"}"#;
    const OLDEST: &str = r#"tidings_group_oldest_unsettled_seconds{group="readers"}"#;
    let (release, released) = watch::channel(false);
    let served = Served::start_with(vec![obedient(released)], Router::new(), None);
    // Dropped before the node is, so that a failed test ends.
    let release = release;
    for what in ["go on", "panic once", "give up", "wait"] {
        let event = json!({"type": "a.v1", "key": what, "data": what});
        assert_eq!(served.post(EVENTS, &event.to_string()).status, 201);
    }
    metrics_when(&served, LAG, |lag| lag == 1.0);
    let first = metrics_when(&served, OLDEST, |seconds| 0.0 < seconds);
    assert!(value(&first, OLDEST) < 60.0, "{first}");
    release.send(true).unwrap();
    metrics_when(&served, LAG, |lag| lag == 0.0);
    let text = metrics_when(&served, "tidings_log_bytes", |n_bytes| 0.0 < n_bytes);

    let version = env!("CARGO_PKG_VERSION");
    for (name, expected) in [
        (OLDEST, 0.0),
        (r#"tidings_events_published_total{topic="users"}"#, 4.0),
        (r#"tidings_attempts_total{group="readers",outcome="done"}"#, 3.0),
        (r#"tidings_attempts_total{group="readers",outcome="failed"}"#, 1.0),
        (r#"tidings_attempts_total{group="readers",outcome="dead"}"#, 1.0),
        (r#"tidings_handler_duration_seconds_count{group="readers",outcome="done"}"#, 3.0),
        (r#"tidings_dead_letters_total{group="readers"}"#, 1.0),
        (r#"tidings_worker_restarts_total{group="readers"}"#, 1.0),
        (r#"tidings_in_flight_bytes{stage="publish"}"#, 0.0),
        (r#"tidings_shard_leader{shard="0"}"#, 1.0),
        ("tidings_elections_total", 1.0),
        (r#"tidings_edge_requests_total{route="/v1/topics/{topic}/events",code="201"}"#, 4.0),
        (&format!("tidings_build_info{{version=\"{version}\"}}"), 1.0),
    ] {
        assert_eq!(value(&text, name), expected, "{name} in\n{text}");
    }
    assert!(0.0 <= value(&text, r#"tidings_in_flight_bytes{stage="write"}"#), "{text}");
    for name in ["publish", "commit", "fsync"] {
        let of = |what| value(&text, &format!("tidings_{name}_duration_seconds_{what}"));
        assert!(1.0 <= of("count"), "{text}");
        assert!(0.0 < of("sum") && of("sum") < 60.0 * of("count"), "{text}");
    }
}

/// A group that is paused hands nothing out and says why; resumed it goes on where it was.
#[test]
fn paused_group_waits() {
    const DONE: &str = r#"tidings_attempts_total{group="readers",outcome="done"}"#;
    let (_release, released) = watch::channel(true);
    let served = Served::start_with(vec![obedient(released)], Router::new(), None);
    let post = |what: &str| {
        let event = json!({"type": "a.v1", "key": what, "data": what});
        assert_eq!(served.post(EVENTS, &event.to_string()).status, 201);
    };
    post("one");
    metrics_when(&served, r#"tidings_group_lag_events{group="readers"}"#, |lag| lag == 0.0);
    for _ in 0..2 {
        let paused = served.post("/v1/groups/readers/pause", "{}").json();
        assert_eq!(paused["state"], "paused");
        let why = paused["reason"].as_str().unwrap();
        assert!(why.contains("`tidings group resume readers`"), "{why}");
    }
    (0..5).for_each(|n| post(&format!("later {n}")));
    let shown = served.get("/v1/groups/readers").json();
    assert_eq!((&shown["state"], &shown["lag"]), (&json!("paused"), &json!(5)));
    assert_eq!(value(served.get("/metrics").text(), DONE), 1.0);
    for (body, status) in [
        (r#"{"topic":"users","to":7}"#, 404),
        (r#"{"topic":"orders","to":0}"#, 404),
        (r#"{"topic":"users","to":"yesterday"}"#, 422),
        (r#"{"topic":"users"}"#, 422),
    ] {
        assert_eq!(served.post("/v1/groups/readers/seek", body).status, status, "{body}");
    }
    for (to, place) in [("0", 0), ("\"start\"", 0), ("\"end\"", 6), ("\"1h\"", 0), ("3", 3)] {
        let body = format!(r#"{{"topic":"users","to":{to},"dry_run":true}}"#);
        let told = served.post("/v1/groups/readers/seek", &body).json();
        assert_eq!((&told["from"], &told["to"]), (&json!(1), &json!(place)), "{to}: {told}");
        assert_eq!(told["redelivers"], u64::from(place == 0), "{to}: {told}");
    }
    // Publishers' clocks differ: whoever asks for a moment gets all of it.
    for millis in [100, 900, 200, 300, 400] {
        let time = format!("2096-10-02T07:06:40.{millis}Z");
        let event = json!({"type": "a.v1", "key": "k", "data": 1, "time": time});
        assert_eq!(served.post(EVENTS, &event.to_string()).status, 201);
    }
    let body = r#"{"topic":"users","to":"2096-10-02T07:06:40.250Z","dry_run":true}"#;
    let told = served.post("/v1/groups/readers/seek", body).json();
    assert_eq!((&told["to"], &told["skips"]), (&json!(7), &json!(6)));
    let resumed = served.post("/v1/groups/readers/resume", "{}").json();
    assert_eq!(resumed["state"], "running");
    metrics_when(&served, r#"tidings_group_lag_events{group="readers"}"#, |lag| lag == 0.0);
    assert_eq!(value(served.get("/metrics").text(), DONE), 11.0);
}

/// Dead letters are a workplace: they are found, edited and sent back over HTTP, and a dry run does
/// nothing.
#[test]
fn dead_letters_are_worked_on() {
    let (_release, released) = watch::channel(true);
    let served = Served::start_with(vec![obedient(released)], Router::new(), None);
    for key in ["ann", "bob"] {
        let event = json!({"type": "a.v1", "key": key, "data": "give up"});
        assert_eq!(served.post(EVENTS, &event.to_string()).status, 201);
    }
    metrics_when(&served, r#"tidings_dead_letters_total{group="readers"}"#, |n| n == 2.0);
    let page = served.get("/v1/groups/readers/dead?limit=1&reason=fatal&since=5m&text=as%20told");
    let page = page.json();
    assert_eq!((&page["letters"][0]["event"]["key"], &page["more"]), (&json!("ann"), &json!(1)));
    let next = served.get("/v1/groups/readers/dead?after=users@0&type=a.v1").json();
    assert_eq!((&next["letters"][0]["event"]["key"], &next["more"]), (&json!("bob"), &json!(0)));
    for nobody in ["reason=undecodable", "until=5m", "type=b.v1", "topic=orders", "text=else"] {
        let none = served.get(&format!("/v1/dead?{nobody}")).json();
        assert_eq!(none, json!({"letters": [], "more": 0}), "{nobody}");
    }

    let put = |path: &str, body: &str| {
        served.ask("PUT", path, "content-type: application/json\r\n", body)
    };
    let path = "/v1/groups/readers/dead/users/0";
    for (path, body, status) in [
        (path, "{}", 422),
        (path, r#"{"data":1,"data_base64":"AA=="}"#, 422),
        (path, r#"{"data_base64":"?"}"#, 422),
        (path, r#"{"data":"#, 400),
        ("/v1/groups/readers/dead/users/5", r#"{"data":1}"#, 404),
    ] {
        assert_eq!(put(path, body).status, status, "{path} {body}");
    }
    let edited = put(path, r#"{"data":"go on"}"#);
    assert_eq!(edited.status, 200, "{}", edited.text());
    assert_eq!(edited.json()["event"]["data"], "go on");
    assert_eq!(edited.json()["original"]["data"], "give up");
    assert_eq!(edited.json()["tried"][0]["outcome"], "dead");

    let which = r#"{"where":{"topic":"users","until":"0s"},"dry_run":true}"#;
    let dry = served.post("/v1/groups/readers/dead/redrive", which).json();
    assert_eq!(dry, json!({"redriven": 2, "dry_run": true}));
    let both = r#"{"all":true}"#;
    let done = served.post("/v1/groups/readers/dead/redrive", both).json();
    assert_eq!(done, json!({"redriven": 2, "dry_run": false}));
    metrics_when(&served, r#"tidings_dead_letters_total{group="readers"}"#, |n| n == 3.0);
    let is_through = || served.get("/v1/groups/readers").json()["redriven"] == 0;
    assert!((0..2_000).any(|_| is_through() || !pause()), "one waits for ever");
    let left = served.get("/v1/dead").json();
    assert_eq!(left["letters"][0]["event"]["key"], "bob");
}

/// With a token nothing but the probes is open; without one only this machine's names are.
#[test]
fn strangers_get_nothing() {
    const TOKEN: &str = "0123456789abcdef";
    let hello = || Router::new().route("/hello", get(|| async { "hello" }));
    let served = Served::start(hello(), Some(TOKEN));
    for path in ["/hello", "/metrics", "/v1/status", "/v1/topics", EVENTS, "/v1/nothing", "/x"] {
        for headers in ["", "authorization: Bearer 0123456789abcdeg\r\n"] {
            let answer = served.ask("GET", path, headers, "");
            assert_eq!((answer.status, &*answer.code()), (401, "T0212"), "{path}");
            assert!(answer.head.contains("www-authenticate: bearer"));
        }
    }
    let with = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(served.ask("GET", "/hello", &with, "").text(), "hello");
    assert_eq!(served.ask("GET", "/v1/topics", &with, "").status, 200);
    assert_eq!(served.get("/livez").status, 200);
    drop(served);

    let served = Served::start(hello(), None);
    let mut stream = served.connect();
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
        .unwrap();
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.status, &*answer.code()), (421, "T0213"));
}

/// Services' threads that are all blocked hold up neither probes nor publishing: we block them and
/// ask. A request that was handed over is finished even if its client has gone.
#[test]
fn blocked_services_block_only_themselves() {
    let (begun, has_begun) = channel();
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let (finished, has_finished) = channel();
    let block = move || {
        let (begun, released, finished) = (begun.clone(), Arc::clone(&released), finished.clone());
        async move {
            begun.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
            finished.send(()).unwrap();
            "released"
        }
    };
    let served = Served::start(Router::new().route("/block", get(block)), None);
    assert_eq!(served.post("/v1/topics", r#"{"name":"users"}"#).status, 201);
    // Dropped before the node is, so that a failed test ends.
    let release = release;
    let n_threads = served.ambient.metrics().num_workers();
    let mut streams: Vec<_> = (0..n_threads).map(|_| served.connect()).collect();
    for stream in &mut streams {
        stream
            .write_all(b"GET /block HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        has_begun.recv().unwrap();
    }
    // All threads of the services stand still.
    assert_eq!(served.get("/readyz").status, 200);
    assert_eq!(served.post(EVENTS, r#"{"type":"a","data":1}"#).status, 201);

    let gone = streams.pop();
    drop(gone);
    for _ in 0..n_threads {
        release.send(()).unwrap();
    }
    for _ in 0..n_threads {
        has_finished.recv().unwrap();
    }
    for mut stream in streams {
        assert_eq!(Answer::read(&mut stream).text(), "released");
    }
}

/// Ending answers what runs, closes what is idle, and takes nothing new.
#[test]
fn ending_cuts_nothing_off() {
    let (begun, has_begun) = channel();
    let (release, released) = watch::channel(false);
    let wait = move || {
        let (begun, mut released) = (begun.clone(), released.clone());
        async move {
            begun.send(()).unwrap();
            released.wait_for(|&released| released).await.unwrap();
            "answered"
        }
    };
    let mut served = Served::start(Router::new().route("/wait", get(wait)), None);
    let mut idle = served.connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let mut waiting = served.connect();
    waiting.write_all(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    has_begun.recv().unwrap();

    // Dropped before the node is, so that a failed test ends.
    let release = release;
    served.end();
    // The idle one is closed while the other still waits.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    release.send(true).unwrap();
    assert_eq!(Answer::read(&mut waiting).text(), "answered");
    let running = served.running.take().unwrap();
    served.ambient.block_on(running.ended());
    assert!(std::net::TcpStream::connect(served.addr).is_err(), "nobody listens any more");
}

/// F45: what a purge took must be answered with 410 and the offset to go on from, and must never be
/// skipped in silence; who does not say where to begin is given what is left. We purge behind a
/// checkpoint, as retention does.
#[test]
fn f45_purged_events_are_gone_and_said_to_be() {
    let served = Served::start_in_memory();
    assert_eq!(served.post("/v1/topics", r#"{"name":"users"}"#).status, 201);
    let publish = |n: u32| {
        let event = json!({"type": "a.v1", "key": "k", "data": n}).to_string();
        assert_eq!(served.post(EVENTS, &event).status, 201);
    };
    (0..3).for_each(publish);
    let core = served.core.as_ref().unwrap();
    served.ambient.block_on(core.command(Command::Checkpoint)).unwrap();
    (3..5).for_each(publish);
    let index = served.ambient.block_on(core.checkpoints())[0];
    assert_eq!(
        served.get(&format!("{EVENTS}?from=0")).json()["events"].as_array().unwrap().len(),
        5
    );
    served.ambient.block_on(core.command(Command::Purge { index })).unwrap();

    for from in 0..3 {
        let gone = served.get(&format!("{EVENTS}?from={from}"));
        assert_eq!((gone.status, &*gone.code()), (410, "T0302"));
        assert_eq!(gone.json()["start"], 3);
    }
    for (query, offsets) in
        [("", &[3, 4][..]), ("?from=3", &[3, 4]), ("?from=4", &[4]), ("?from=5", &[])]
    {
        let page = served.get(&format!("{EVENTS}{query}"));
        assert_eq!(page.status, 200, "{query}");
        let events = page.json()["events"].as_array().unwrap().clone();
        let found: Vec<_> = events.iter().map(|event| event["offset"].as_u64().unwrap()).collect();
        assert_eq!(found, offsets, "{query}");
    }
    let topic = served.get("/v1/topics/users").json();
    assert_eq!((&topic["start"], &topic["end"]), (&json!(3), &json!(5)));
}
