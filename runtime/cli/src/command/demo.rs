//! `tidings demo`: a node with the three example services, and sign-ups coming in over HTTP.

mod traffic;

mod tally;

use std::time::{Duration, Instant};

use tidings::Node;
use tidings::node::Running;
use tidings_config::config::Config;
use tidings_config::load;
use tidings_config::load::Loaded;
use tidings_config::origin::Origin;
use tidings_config::quantity::parse_duration;

use crate::command::demo::tally::{Seen, Tally};
use crate::command::demo::traffic::Traffic;
use crate::command::process;
use crate::context::{Context, NodeFlags};
use crate::failure::Failure;
use crate::output::{Output, word};
use crate::server::Server;

const DATA_DIR: &str = ".tidings/demo";
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How long the services may take, once no more sign-ups come, to have handled them all.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(30);
const SETTLE_LOOK: Duration = Duration::from_millis(50);

/// How to run it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sign-ups a second; 0 waits for yours
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=100_000))]
    rate: u64,
    /// End after this time
    #[arg(long = "for", value_parser = parse_duration, value_name = "DURATION")]
    wall: Option<Duration>,
    #[command(flatten)]
    flags: NodeFlags,
}

/// Runs the command.
pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let loaded = load(context.node_options(&args.flags))?;
    process::start_logging(&loaded, "warn")?;
    let config = with_own_directory(loaded);
    process::run(demo(context, args, config))
}

/// The demo's data must not mix with that of a real node in the same folder.
fn with_own_directory(loaded: Loaded) -> Config {
    let is_default = loaded.origin("node.data_dir") == Origin::Default;
    let mut config = loaded.config;
    if is_default {
        config.node.data_dir = DATA_DIR.into();
    }
    config
}

async fn demo(context: &Context, args: Args, config: Config) -> Result<(), Failure> {
    let mut end = process::End::listen()?;
    let node = tidings_users::add_to(Node::with(config.clone()));
    let node = tidings_analytics::add_to(tidings_notifications::add_to(node));
    let (running, took) = process::start(node).await?;
    let output = &context.output_of_node(running.addr());
    welcome(output, &config, &running, took, args.rate);

    let server = Server::new(&process::client_config(&config, &running));
    let before = Seen::look(&server, &config).await?;
    let traffic = Traffic::start(&server, args.rate);
    let deadline = args.wall.map(|wall| Instant::now() + wall);
    let was_ended = show(output, &server, &traffic, deadline, &mut end).await;
    let signed_up = traffic.stop().await;
    let tally = if was_ended {
        Seen::look(&server, &config).await?.since(&before, signed_up)
    } else {
        settle(&server, &config, &before, signed_up).await?
    };
    running.stop().await;
    output.one(&tally, ToString::to_string)?;
    let check = format!("tidings log check {}", word(&config.node.data_dir.to_string_lossy()));
    output.next_here(&["tidings demo", &check]);
    if was_ended { Ok(()) } else { tally.verdict() }
}

fn welcome(output: &Output, config: &Config, running: &Running, took: Duration, rate: u64) {
    let (node, data) = (config.node_name(), config.node.data_dir.display());
    let (url, version) = (process::url(running), env!("CARGO_PKG_VERSION"));
    output.say(&format!(
        "tidings {version}   node {node}   data: {data}\n  \
           sign-ups       curl {url}/users -H 'content-type: application/json' \\\n                 \
             -d '{{\"email\":\"ada@example.org\",\"name\":\"Ada\"}}'\n  \
           users          publishes each to topic users; {rate} a second come by themselves\n  \
           notifications  sends a mail for each: {data}/outbox.jsonl\n  \
           analytics      counts them: {url}/analytics/signups\n  \
           events         {url}/v1/topics/users/events     metrics  {url}/metrics\n\
         ready in {} ms.",
        took.as_millis(),
    ));
    output.next(&["tidings tail users", "tidings group ls", "tidings status"]);
}

/// Shows how it goes until the end; `true` if a signal ended it.
async fn show(
    output: &Output,
    server: &Server,
    traffic: &Traffic,
    deadline: Option<Instant>,
    end: &mut process::End,
) -> bool {
    let mut n_before = 0;
    loop {
        let next_show = Instant::now() + SHOW_EVERY;
        let until = deadline.map_or(next_show, |deadline| deadline.min(next_show));
        tokio::select! {
            () = end.wait() => return true,
            () = tokio::time::sleep_until(until.into()) => {}
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return false;
        }
        let n_signed_up = traffic.n_signed_up();
        if output.is_for_people() {
            // What cannot be shown now can be in a second.
            if let Ok(line) = tally::line(server, n_signed_up - n_before).await {
                output.say(&line);
            }
        }
        n_before = n_signed_up;
    }
}

/// Waits until each service has handled every sign-up.
async fn settle(
    server: &Server,
    config: &Config,
    before: &Seen,
    signed_up: traffic::Counts,
) -> Result<Tally, Failure> {
    let began = Instant::now();
    loop {
        let tally = Seen::look(server, config).await?.since(before, signed_up);
        if tally.is_settled() || began.elapsed() > SETTLE_WAIT_MAX {
            return Ok(tally);
        }
        tokio::time::sleep(SETTLE_LOOK).await;
    }
}
