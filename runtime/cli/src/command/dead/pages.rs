//! All dead letters of a group that fit, page by page, and sending them back at a rate.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tidings::api::{DeadLetterInfo, RedriveInfo};
use tokio::time::{MissedTickBehavior, interval};

use crate::command::dead::meant::{Fit, Meant};
use crate::command::place::Place;
use crate::command::progress::bar;
use crate::context::Context;
use crate::failure::Failure;
use crate::server::{JSON, Server, segment};

#[derive(Deserialize)]
pub(super) struct LetterList {
    pub(super) letters: Vec<DeadLetterInfo>,
    /// So many more fit and are not on the list.
    #[serde(default)]
    pub(super) more: usize,
}

pub(super) fn place_of(letter: &DeadLetterInfo) -> Place {
    Place { topic: letter.topic.clone(), offset: letter.event.offset }
}

/// Gives each letter of a group that fits.
///
/// # Errors
/// If a page cannot be read, or `take` fails.
pub(super) async fn each(
    server: &Server,
    group: &str,
    fit: &Fit,
    mut take: impl FnMut(DeadLetterInfo) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut behind: Option<Place> = None;
    loop {
        let after: Vec<_> = behind.iter().map(|place| ("after", place.to_string())).collect();
        let path = format!("/v1/groups/{}/dead{}", segment(group), fit.query(&after));
        let LetterList { letters, more } = server.get(&path).await?;
        behind = letters.last().map(place_of);
        letters.into_iter().try_for_each(&mut take)?;
        if more == 0 || behind.is_none() {
            return Ok(());
        }
    }
}

/// Sends letters back, no more than `rate` a second. Says how many went.
///
/// # Errors
/// If one cannot be sent; what went before went.
pub(super) async fn redrive_at(
    context: &Context,
    group: &str,
    meant: &Meant,
    rate: u32,
) -> Result<RedriveInfo, Failure> {
    let (server, output) = (context.server()?, &context.output);
    let mut places = meant.events.clone();
    if places.is_empty() {
        each(&server, group, &meant.fit, |letter| {
            places.push(place_of(&letter));
            Ok(())
        })
        .await?;
    }
    let n_each = (rate / 10).max(1);
    let mut ticks = interval(Duration::from_secs(n_each.into()) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let progress = bar(output, places.len() as u64, "letters");
    let mut all = RedriveInfo { redriven: 0, dry_run: false };
    let path = format!("/v1/groups/{}/dead/redrive", segment(group));
    for letters in places.chunks(n_each as usize) {
        ticks.tick().await;
        let body = json!({ "letters": letters }).to_string();
        let RedriveInfo { redriven, .. } = server.post(&path, JSON, body).await?;
        all.redriven += redriven;
        progress.inc(letters.len() as u64);
    }
    progress.finish_and_clear();
    Ok(all)
}
