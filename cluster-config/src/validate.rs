//! What the values must fulfil together, whatever place each came from.

use std::time::Duration;

use tidings_types::limits::SEGMENT_BYTES;

use crate::config::{Config, Secret};

const TOKEN_BYTES_MIN: usize = 16;
const DRAIN_WAIT_LONGEST: Duration = Duration::from_secs(600);
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const RETENTION_AGE_MIN: Duration = Duration::from_secs(60);
/// Whole segments go, and the one that is written and its predecessor cannot.
const RETENTION_BYTES_MIN: u64 = 4 * SEGMENT_BYTES;

/// All that does not fit, each with the key to change.
pub(crate) fn validate(config: &Config) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let mut check = |key, holds: bool, reason: String| {
        if !holds {
            wrong.push((key, reason));
        }
    };
    check("node.id", config.node.id.get() > 0, "0 is no node; count from 1".to_owned());
    check(
        "node.drain_wait",
        config.node.drain_wait <= DRAIN_WAIT_LONGEST,
        format!("more than {DRAIN_WAIT_LONGEST:?}"),
    );
    let http = &config.http;
    check(
        "http.address",
        http.address.is_loopback() || !http.token.is_empty(),
        format!("{} can be reached from outside, so http.token must be set", http.address),
    );
    check(
        "http.port",
        http.port < u16::MAX,
        "65535 leaves no room for the cluster port, which is the next one".to_owned(),
    );
    for (key, token) in [("http.token", &http.token), ("client.token", &config.client.token)] {
        let wanted = format!("needs {TOKEN_BYTES_MIN} or more visible ASCII characters");
        check(key, is_token(token), wanted);
    }
    let retention = &config.retention;
    check(
        "retention.age",
        retention.age >= RETENTION_AGE_MIN,
        format!("less than {RETENTION_AGE_MIN:?}"),
    );
    check(
        "retention.bytes",
        retention.bytes == 0 || retention.bytes >= RETENTION_BYTES_MIN,
        format!("less than {} MiB, four segments", RETENTION_BYTES_MIN >> 20),
    );
    check(
        "log.level",
        !config.log.level.trim().is_empty(),
        "a level is needed, such as info; off is one, too".to_owned(),
    );
    let server = config.client.server.as_str();
    check(
        "client.server",
        server.is_empty() || is_server(server),
        format!("{server:?} is not a URL of the form http://host:port"),
    );
    check(
        "client.timeout",
        config.client.timeout >= TIMEOUT_MIN,
        format!("less than {TIMEOUT_MIN:?}"),
    );
    wrong
}

fn is_token(token: &Secret) -> bool {
    let token = token.expose();
    let is_long = token.len() >= TOKEN_BYTES_MIN;
    token.is_empty() || (is_long && token.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn is_server(url: &str) -> bool {
    let host = url.strip_prefix("http://").map(|host| host.trim_end_matches('/'));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ', '@']))
}
