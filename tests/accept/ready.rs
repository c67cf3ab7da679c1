//! How soon a node is ready: on an empty directory, and on a log of some GiB.

use std::path::PathBuf;
use std::time::Instant;

use crate::http::Client;
use crate::node::Process;
use crate::{Failed, Item};

/// Each event of the filling load.
const EVENT_BYTES: usize = 16 * 1024;
/// Events in one request.
const REQUEST_EVENTS: usize = 60;

pub(crate) async fn run(binary: PathBuf, gib: u64) -> Result<Item, Failed> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::new(&binary, &["demo", "--rate", "0"], &folder.path().join("data"))?;
    let empty = start(&mut node).await?;
    let mut client = Client::new(node.port);
    client.send("POST", "/v1/topics", "application/json", r#"{"name":"filling"}"#).await?;
    let pad = "x".repeat(EVENT_BYTES);
    let line = format!(r#"{{"type":"filling.v1","data":"{pad}"}}"#);
    let body = vec![line; REQUEST_EVENTS].join("\n");
    let n_requests = (gib << 30) / (EVENT_BYTES * REQUEST_EVENTS) as u64;
    for _ in 0..n_requests {
        let path = "/v1/topics/filling/events";
        let answer = client.send("POST", path, "application/x-ndjson", body.clone()).await?;
        if answer.status != 201 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("filling answered {}: {text}", answer.status).into());
        }
    }
    node.kill()?;
    let full = start(&mut node).await?;
    let end = Client::new(node.port).get("/v1/topics/filling").await?.json()?["end"].clone();
    let is_whole = end == n_requests * REQUEST_EVENTS as u64;
    node.terminate().await?;
    let holds = is_whole && empty < 0.150 && full < 1.5;
    let (empty, full) = (empty * 1e3, full * 1e3);
    let line = format!(
        "empty directory {empty:.0} ms, {gib} GiB after a SIGKILL {full:.0} ms, events there: {is_whole}"
    );
    Ok(Item { line, holds })
}

async fn start(node: &mut Process) -> Result<f64, Failed> {
    let began = Instant::now();
    node.start()?;
    node.ready().await?;
    Ok(began.elapsed().as_secs_f64())
}
