//! A progress bar on standard error, for people and on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// A bar over so many steps of this unit; hidden where nobody would see it.
pub(crate) fn bar(output: &Output, n_steps: u64, unit: &str) -> ProgressBar {
    let form = format!("{{bar:30}} {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  {{eta}}");
    start(output, ProgressBar::new(n_steps), &form)
}

/// A bar over so many events, or a plain counter if nobody knows how many there will be.
pub(crate) fn events(output: &Output, n_events: Option<u64>) -> ProgressBar {
    match n_events {
        Some(n_events) => bar(output, n_events, "events"),
        None => start(output, ProgressBar::no_length(), "{human_pos} events  {per_sec}"),
    }
}

/// A bar over so many bytes, or a plain counter if nobody knows how many there will be.
pub(crate) fn bytes(output: &Output, n_bytes: Option<u64>) -> ProgressBar {
    match n_bytes {
        Some(n_bytes) => {
            let form = "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";
            start(output, ProgressBar::new(n_bytes), form)
        }
        None => start(output, ProgressBar::no_length(), "{bytes}  {bytes_per_sec}"),
    }
}

fn start(output: &Output, bar: ProgressBar, form: &str) -> ProgressBar {
    if !output.is_for_people() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_style(ProgressStyle::with_template(form).expect("our own templates are well formed"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
