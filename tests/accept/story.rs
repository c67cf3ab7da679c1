//! One sign-up's way, as a person sees it: outbox, analytics, and the event's story.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::http::Client;
use crate::node::Process;
use crate::{Failed, Item};

pub(crate) async fn run(binary: PathBuf) -> Result<Item, Failed> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::new(&binary, &["demo", "--rate", "0"], &folder.path().join("data"))?;
    node.start()?;
    node.ready().await?;
    let mut client = Client::new(node.port);
    let body = r#"{"email":"ada@example.org","name":"Ada"}"#;
    let began = Instant::now();
    let answer = client.send("POST", "/users", "application/json", body).await?;
    if answer.status != 201 {
        return Err(format!("POST /users answered {}", answer.status).into());
    }
    let outbox = node.data.join("outbox.jsonl");
    let (mut mail_after, mut count_after) = (None, None);
    while (mail_after.is_none() || count_after.is_none()) && began.elapsed().as_secs() < 5 {
        let has_mail = std::fs::read_to_string(&outbox).is_ok_and(|text| text.contains("ada@"));
        if has_mail && mail_after.is_none() {
            mail_after = Some(began.elapsed());
        }
        let shown = client.get("/analytics/signups").await?.json()?;
        if shown["total"] == 1 && count_after.is_none() {
            count_after = Some(began.elapsed());
        }
        sleep(Duration::from_millis(1)).await;
    }
    let (mail, count) = mail_after.zip(count_after).ok_or("the sign-up did not come through")?;
    let bad = client.send("POST", "/users", "application/json", r#"{"email":"ada","name":"A"}"#);
    let bad = bad.await?.status;

    let mailed: serde_json::Value = serde_json::from_str(std::fs::read_to_string(&outbox)?.trim())?;
    let id = mailed["event_id"].as_str().ok_or("the mail has no event_id")?.to_owned();
    node.settled().await?;
    let server = format!("http://127.0.0.1:{}", node.port);
    let told = Command::new(&binary).args(["event", &id, "--server", &server]).output()?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let tells = ["notifications", "analytics"].iter().all(|group| text.contains(group));
    let status = node.terminate().await?;
    let holds = tells
        && told.status.success()
        && status.success()
        && bad == 422
        && mail.max(count) < bound();
    let line = format!(
        "in the outbox after {mail:.1?}, counted after {count:.1?}, bad address {bad}, \
         story tells both groups: {tells}, exit={status}"
    );
    Ok(Item { line, holds })
}

/// What a person is promised, on a build made for speed; a debug build gets room.
const fn bound() -> Duration {
    if cfg!(debug_assertions) { Duration::from_millis(2_000) } else { Duration::from_millis(50) }
}
