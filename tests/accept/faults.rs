//! What a bad disk does to a node, and what must not come of it: rows F21 to F24 and F33.
//!
//! Who fails is the kernel, as strace plays it; the node is the unchanged binary under a load that
//! records every answer. After each fault the same directory is started without one, and everything
//! that was acknowledged must be there.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::http::Client;
use crate::load::{Load, Outcome, Request, judge, refusals};
use crate::node::Process;
use crate::probe::Probes;
use crate::traced::{Fault, Files, NEXT};
use crate::{Failed, Item};

/// Requests a second.
const RATE: u64 = 300;
/// A call fails so long after it began, so that answers to what was durable before have arrived.
const HELD: Duration = Duration::from_millis(400);
/// What an answer may take from the node to us, on a machine that is busy.
const ON_ITS_WAY: Duration = Duration::from_millis(250);
/// The call of the log's thread that fails first: some way into the load.
const WHEN: u32 = 300;
/// In the words of the problem: no space for events is left.
const STORAGE_FULL: &str = "503 T0124";

const DEMO: [&str; 3] = ["demo", "--rate", "0"];

/// A call on the open segment fails once: the process ends at once, and nothing is acknowledged from
/// then on. With `again` it fails for ever: the next start, where that fails, must end as well.
pub(crate) async fn ends(binary: PathBuf, call: &str, again: Option<&str>) -> Result<Item, Failed> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::new(&binary, &DEMO, &folder.path().join("data"))?;
    let held = HELD.as_micros();
    let for_ever = if again.is_some() { "+" } else { "" };
    let inject = format!("{call}:delay_enter={held}:when={WHEN}{for_ever}");
    let fault = Fault::new(inject, Files::Open, folder.path());
    fault.plant(&mut node, &binary);
    node.start()?;
    node.ready().await?;
    let load = Load::start(node.port, RATE);
    let (status, ended) = node.ended(Duration::from_secs(30)).await?;
    sleep(ON_ITS_WAY).await;
    let requests = load.stop().await?;
    let (began, n_struck) = fault.struck()?.ok_or("the fault did not strike")?;

    let failed = began + HELD;
    let took = ended.duration_since(failed).unwrap_or_default();
    let is_acked = |request: &&Request| request.outcome == Outcome::Acknowledged;
    let acked = requests.iter().filter(is_acked);
    // In the failed call's batch, or behind it: answered after it began, and not because the answer
    // was on its way; or not even sent before it began.
    let acked_since = acked
        .clone()
        .filter(|request| began < request.sent || began + ON_ITS_WAY < request.answered)
        .count();
    let acked_before = acked.filter(|request| request.answered <= began).count();
    let waiting = requests.iter().filter(|r| r.sent < failed && began < r.answered).count();

    let mut again_says = String::new();
    let mut ends_again = true;
    if let Some(again) = again {
        let fault = Fault::new(format!("{again}:when=1+"), Files::All, folder.path());
        fault.plant(&mut node, &binary);
        node.start()?;
        let (status, _) = node.ended(Duration::from_secs(20)).await?;
        ends_again = !status.success();
        again_says = format!(" next_start={status}");
    }
    let (judged, exit) = without_fault(&mut node, &binary, &requests).await?;
    let holds = !status.success()
        && ends_again
        && took < Duration::from_secs(1)
        && acked_since == 0
        && acked_before > 0
        && waiting > 0
        && judged.holds
        && exit;
    let line = format!(
        "end={status} after={took:.0?} failed_calls={n_struck} acknowledged_before={acked_before} \
         waiting_in_it={waiting} acknowledged_since={acked_since}{again_says} restart: {}",
        judged.line
    );
    Ok(Item { line, holds })
}

/// Calls are slow or interrupted: the node lives, answers, reads; nothing is lost in the end.
pub(crate) async fn lives(
    binary: PathBuf,
    inject: &str,
    files: Files,
    lasts: Duration,
) -> Result<Item, Failed> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::new(&binary, &DEMO, &folder.path().join("data"))?;
    let fault = Fault::new(inject, files, folder.path());
    fault.plant(&mut node, &binary);
    node.start()?;
    node.ready().await?;
    let load = Load::start(node.port, RATE);
    let is_stored = |request: &Request| request.outcome == Outcome::Acknowledged;
    let first = within(Duration::from_secs(30), || load.so_far().into_iter().find(is_stored));
    first.await.ok_or("there is nothing to read")?;
    let probes = Probes::start(node.port);
    sleep(lasts).await;
    let seen = probes.stop().await?;
    let requests = load.stop().await?;
    let (since, n_struck) = fault.struck()?.ok_or("the fault did not strike")?;
    let acked_since = requests
        .iter()
        .filter(|request| request.outcome == Outcome::Acknowledged && since < request.answered)
        .count();
    let slowest = requests.iter().filter_map(took).max().unwrap_or_default();
    let others = refusals(&requests);
    node.kill()?;
    let (judged, exit) = without_fault(&mut node, &binary, &requests).await?;
    let holds = seen.holds && judged.holds && exit && acked_since > 0 && is_typed(&requests);
    let line = format!(
        "meddled_calls={n_struck} acknowledged_since={acked_since} slowest_publish={slowest:.0?} \
         refused={others:?} {} restart: {}",
        seen.line, judged.line
    );
    Ok(Item { line, holds })
}

/// The disk is full for a while: publishing is refused by name, acks and reads go on, and once
/// there is space publishing does. Full it is by strace, or by a file that fills
/// `disk`.
pub(crate) async fn full(binary: PathBuf, disk: Option<PathBuf>) -> Result<Item, Failed> {
    let folder = tempfile::tempdir()?;
    let is_real = disk.is_some();
    let data = disk.unwrap_or(folder.path().to_owned()).join("data");
    let mut node = Process::new(&binary, &DEMO, &data)?;
    // Each try fails at its first call, one a second, for long enough that publishes, which wait for
    // 5 s before they give up, are refused and what was acknowledged is settled meanwhile.
    let fault = Fault::new("pwritev:error=ENOSPC:when=4..16", Files::AfterNext, folder.path());
    if !is_real {
        fault.plant(&mut node, &binary);
    }
    node.start()?;
    node.ready().await?;
    let load = Load::start(node.port, RATE);
    let ballast = data.with_file_name("ballast");
    // With a segment ahead acks, turns and dead letters go on; without one they wait.
    let next = data.join(NEXT);
    let ahead = within(Duration::from_secs(60), || next.exists().then_some(())).await;
    ahead.ok_or("the next segment was not prepared")?;
    if is_real {
        fill(&ballast)?;
    }
    let is_full = |request: &Request| kind(request) == STORAGE_FULL;
    let first = within(Duration::from_secs(30), || load.so_far().into_iter().find(is_full));
    let first = first.await.ok_or("no publish was refused for want of space")?;
    // What was acknowledged before is delivered and acked, on a disk that is full.
    node.settled().await?;
    let mut client = Client::new(node.port);
    let page = client.get("/v1/topics/users/events?from=0&limit=5").await?;
    let ready = client.get("/readyz").await?;
    let is_still_full = load.so_far().iter().rev().take(20).any(is_full);
    if is_real {
        std::fs::remove_file(&ballast)?;
    }
    let is_back = |request: &Request| {
        request.outcome == Outcome::Acknowledged && first.answered < request.sent
    };
    let back = within(Duration::from_secs(60), || load.so_far().into_iter().find(is_back));
    let back = back.await.ok_or("publishing did not come back")?;
    let requests = load.stop().await?;
    let was_full = back.answered.duration_since(first.answered).unwrap_or_default();
    node.kill()?;
    let (judged, exit) = without_fault(&mut node, &binary, &requests).await?;
    let holds = judged.holds
        && exit
        && page.status == 200
        && ready.status == 503
        && is_still_full
        && is_typed(&requests);
    let line = format!(
        "refused={:?} full_for={was_full:.1?} settled_while_full={is_still_full} read={} readyz={} \
         restart: {}",
        refusals(&requests),
        page.status,
        ready.status,
        judged.line
    );
    Ok(Item { line, holds })
}

/// The same directory without a fault: everything must be there.
async fn without_fault(
    node: &mut Process,
    binary: &Path,
    requests: &[Request],
) -> Result<(crate::load::Judgement, bool), Failed> {
    node.become_program(binary, DEMO.map(str::to_owned).to_vec());
    node.start()?;
    node.ready().await?;
    node.settled().await?;
    let judged = judge(node, requests).await?;
    let status = node.terminate().await?;
    Ok((judged, status.success()))
}

fn took(request: &Request) -> Option<Duration> {
    request.answered.duration_since(request.sent).ok()
}

fn kind(request: &Request) -> String {
    match &request.outcome {
        Outcome::Refused(status, code) => format!("{status} {code}"),
        Outcome::Acknowledged | Outcome::Unknown => String::new(),
    }
}

/// Every refusal was one that README names: too much in flight, or no leader, full, ending.
fn is_typed(requests: &[Request]) -> bool {
    let is_typed = |request: &Request| match &request.outcome {
        Outcome::Refused(status, code) => matches!(status, 429 | 503) && !code.is_empty(),
        Outcome::Acknowledged | Outcome::Unknown => true,
    };
    requests.iter().all(is_typed)
}

async fn within<T>(wait: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        let found = look();
        if found.is_some() || began.elapsed() > wait {
            return found;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Takes what is free, but for what services may need for their own files.
fn fill(ballast: &Path) -> Result<(), Failed> {
    const LEFT: u64 = 8 << 20;
    const STEP: usize = 1 << 20;
    let folder = ballast.parent().ok_or("it lies in a folder")?;
    let (mut file, step) = (File::create(ballast)?, vec![1; STEP]);
    // Looked at each time, because the node takes some meanwhile.
    loop {
        let stat = rustix::fs::statvfs(folder)?;
        if stat.f_bavail * stat.f_frsize <= LEFT + STEP as u64 {
            return Ok(());
        }
        file.write_all(&step)?;
    }
}
