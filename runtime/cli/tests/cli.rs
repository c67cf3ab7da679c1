//! Runs the built binary as a person or a script would.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    // What the machine's owner has set must not decide a test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

fn tidings(args: &[&str]) -> Output {
    command(args).output().expect("the binary was built for this test")
}

/// A node of its own; it is gone when this is.
struct Node {
    process: Child,
    url: String,
}

impl Node {
    fn serve(data: &Path) -> Self {
        let data = data.to_string_lossy();
        let mut serve = command(&["serve", "--port", "0", "--data", &data, "-o", "json"]);
        let serve = serve.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = serve.spawn().expect("the binary was built for this test");
        let mut ready = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut ready).expect("we print UTF-8");
        let ready: serde_json::Value =
            serde_json::from_str(&ready).expect("it says when it is ready");
        let url = ready.get("url").and_then(|url| url.as_str()).expect("and where").to_owned();
        Self { process, url }
    }

    /// Runs a client command that must succeed, and gives what it printed.
    fn ask(&self, args: &[&str]) -> String {
        let output = tidings(&[args, &["--server", &self.url]].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// Ends it as a service manager does, and gives its exit code.
    fn terminate(mut self) -> Option<i32> {
        let kill = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(kill.is_ok_and(|status| status.success()));
        self.process.wait().expect("it is our child").code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It fails if the node has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("we print UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("we print UTF-8")
}

#[test]
fn help_names_every_command() {
    let output = tidings(&["--help"]);
    assert!(output.status.success());
    let help = stdout(&output);
    for command in [
        "demo", "serve", "publish", "tail", "event", "topic", "group", "dead", "status", "bench",
        "log", "config", "verify",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
    }
}

/// Scripts tell bad usage (2) and bad configuration (78) from failure (1) by the exit code alone.
#[test]
fn bad_usage_and_bad_configuration_have_their_exit_codes() {
    for args in [
        &["frobnicate"][..],
        &["publish", "users"],
        &["publish", "users", "not json", "--type", "a.v1"],
        &["dead", "redrive", "mail"],
        &["dead", "show", "mail", "users"],
        &["topic", "ls", "-o", "yaml"],
        &["bench", "disk", "--size", "many"],
    ] {
        let output = tidings(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "data after bad usage: {args:?}");
    }
    let output = tidings(&["status", "--server", "nowhere"]);
    assert_eq!(output.status.code(), Some(78));
    let told = stderr(&output);
    assert!(told.starts_with("error[T0501]: --server: client.server: \"nowhere\""), "{told}");
    assert!(told.contains("\n  help: "), "{told}");
}

/// The first thing that happens to everyone: no node runs. We ask a port that we just let go.
#[test]
fn no_node_is_told_with_what_to_do() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let url = format!("http://{}", port.expect("loopback has a free port"));
    for args in [&["status"][..], &["topic", "ls"], &["publish", "users", "{}", "--type", "a.v1"]] {
        let output = tidings(&[args, &["--server", &url]].concat());
        assert_eq!(output.status.code(), Some(1), "surely nothing was done: {args:?}");
        let told = stderr(&output);
        assert!(told.starts_with(&format!("error[T0601]: no node answers at {url}: ")), "{told}");
        assert!(told.contains("tidings serve"), "{told}");
        assert!(output.stdout.is_empty());
    }
}

/// A node that takes a publish and says nothing has perhaps stored it. We listen and never answer.
#[test]
fn silence_after_a_publish_is_an_unknown_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let publish = ["publish", "users", "{}", "--type", "a.v1", "--timeout", "200ms"];
    let output = tidings(&[&publish[..], &["--server", &url]].concat());
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("error[T0602]: "), "{}", stderr(&output));
}

#[test]
fn bench_disk_ends_with_one_object() {
    let dir = tempfile::tempdir().expect("the system has room for temporary files");
    let data = dir.path().to_string_lossy();
    let args =
        ["bench", "disk", "--for", "200ms", "--events", "20", "--size", "512", "--data", &data];
    let output = tidings(&[&args[..], &["-o", "json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let last = stdout(&output).lines().last().map(str::to_owned).expect("there is a result");
    let measured: serde_json::Value = serde_json::from_str(&last).expect("it is JSON");
    for field in ["wall_s", "events_per_s", "p50_us", "p99_us", "p999_us"] {
        assert!(measured[field].as_f64().is_some_and(|value| value > 0.0), "{field}: {measured}");
    }
    assert!(measured["events"].as_u64().is_some_and(|n_events| (1..=20).contains(&n_events)));
    assert_eq!(measured["size"], 512);
    assert!(measured["durable"].as_str().is_some_and(|text| text.contains("fdatasync")));
    assert_eq!(dir.path().read_dir().expect("it is ours").count(), 0, "a file was left lying");
}

#[test]
fn configuration_is_shown_with_its_origin() {
    let output = tidings(&["config", "show", "--port", "7290", "-o", "jsonl"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(
        shown.contains(r#"{"key":"http.port","value":"7290","default":"7270","origin":"--port"}"#)
    );

    let reference = tidings(&["config", "reference", "-q"]);
    let file = include_str!("../../../cluster-config/reference.toml");
    assert_eq!(stdout(&reference), file);
}

/// What a person does first must work from end to end, and what one command prints the next one
/// must take. We publish in every way, read it back, ask for a story, and end the node.
#[test]
fn events_go_in_and_come_out() {
    let dir = tempfile::tempdir().expect("the system has room for temporary files");
    let data = dir.path().join("node");
    let node = Node::serve(&data);

    // One by one and from a file; the broken line is named and what came before it is stored.
    assert!(node.ask(&["topic", "create", "orders"]).contains("orders"));
    let stored = node.ask(&["publish", "orders", r#"{"n":1}"#, "--type", "order.v1", "-o", "json"]);
    let stored: serde_json::Value = serde_json::from_str(&stored).expect("it is JSON");
    assert_eq!(stored["offset"], 0);
    let file = dir.path().join("orders.jsonl");
    let lines = r#"{"type":"order.v1","key":"k","data":{"n":2}}"#.to_owned() + "\n";
    std::fs::write(&file, lines.repeat(3)).expect("the directory is ours");
    let file_arg = file.to_string_lossy();
    assert!(node.ask(&["publish", "orders", "--file", &file_arg]).starts_with("stored 3 events"));
    std::fs::write(&file, lines + "{broken\n").expect("the directory is ours");
    let args = ["publish", "orders", "--file", &file_arg, "--server", &node.url];
    let output = tidings(&args);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("line 2: not JSON"), "{}", stderr(&output));

    // All four come back, in order, and one has a story.
    let tail = node.ask(&["tail", "orders", "--from", "start", "--no-follow", "-o", "jsonl"]);
    let events: Vec<serde_json::Value> =
        tail.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let numbers: Vec<_> = events.iter().map(|event| event["data"]["n"].clone()).collect();
    assert_eq!(numbers, [1, 2, 2, 2]);
    let id = stored["id"].as_str().expect("it has an id");
    assert!(node.ask(&["event", id]).starts_with("orders @0"));
    assert!(node.ask(&["topic", "ls"]).contains("orders"));
    assert!(node.ask(&["status"]).contains("ready"));

    // What is not there is told with its code, and a second process is kept out.
    let output = tidings(&["topic", "show", "nothing", "--server", &node.url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error[T"), "{}", stderr(&output));
    let data_arg = data.to_string_lossy();
    let second = tidings(&["serve", "--port", "0", "--data", &data_arg]);
    assert_eq!(second.status.code(), Some(78));
    assert!(stderr(&second).contains("error[T0107]"), "{}", stderr(&second));

    // It ends in order, and its log is sound.
    assert_eq!(node.terminate(), Some(0));
    let checked = tidings(&["log", "check", &data_arg, "-o", "json"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    assert!(stdout(&checked).contains(r#""verdict":"sound""#), "{}", stdout(&checked));
}
