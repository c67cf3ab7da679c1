//! A node is SIGKILLed again and again under a load of sign-ups; nothing acknowledged may be lost.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::load::{Load, judge};
use crate::node::Process;
use crate::{Failed, Item};

/// Between a start and the next SIGKILL.
const LIFE: Duration = Duration::from_millis(1_500);

pub(crate) async fn run(binary: PathBuf, kills: u32, rate: u64) -> Result<Item, Failed> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::new(&binary, &["demo", "--rate", "0"], &folder.path().join("data"))?;
    node.start()?;
    node.ready().await?;
    let began = Instant::now();
    let load = Load::start(node.port, rate);
    let mut slowest = Duration::ZERO;
    for _ in 0..kills {
        sleep(LIFE).await;
        node.kill()?;
        node.start()?;
        slowest = slowest.max(node.ready().await?);
    }
    sleep(LIFE).await;
    let requests = load.stop().await?;
    let took = began.elapsed().as_secs_f64();
    node.settled().await?;
    let judged = judge(&mut node, &requests).await?;
    let status = node.terminate().await?;
    let line = format!(
        "kills={kills} took={took:.1}s {} slowest_start={slowest:.0?} exit={status}",
        judged.line
    );
    Ok(Item { line, holds: judged.holds && status.success() })
}
