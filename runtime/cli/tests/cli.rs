//! Runs the built binary as a person or a script would.

use std::net::TcpListener;
use std::process::{Command, Output};

fn tidings(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    // What the machine's owner has set must not decide a test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command.args(args).output().expect("the binary was built for this test")
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
    for command in
        ["publish", "tail", "event", "topic", "group", "dead", "status", "bench", "config"]
    {
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
