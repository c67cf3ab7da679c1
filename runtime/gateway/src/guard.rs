//! Who may ask: everyone on this machine, or whoever has the token.
//!
//! Deny by default: with a token every path demands it, users' routes too; only the two probes are
//! open. Without one the node listens on loopback alone, and there a page in a browser is the
//! stranger: it may reach this machine under a name of its own (DNS rebinding), so that any name
//! but localhost is refused.

use std::fmt;
use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use crate::codes;
use crate::limits::TOKEN_BYTES_MIN;
use crate::problem::Problem;

/// Paths that are open to everyone: who restarts or routes to a node has no token.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// A secret that requests must show.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// `None` if it is too short or could not be written in a header.
    pub(crate) fn new(token: String) -> Option<Self> {
        let is_good = token.len() >= TOKEN_BYTES_MIN && token.bytes().all(|b| b.is_ascii_graphic());
        is_good.then_some(Self(token))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Option<Token>,
}

impl Guard {
    pub(crate) fn new(token: Option<Token>) -> Self {
        Self { token }
    }

    /// Lets a request through or says why not.
    pub(crate) fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
        if OPEN.contains(&path) {
            return Ok(());
        }
        match &self.token {
            Some(token) => check_token(token, headers),
            None => check_host(headers),
        }
    }
}

fn check_token(token: &Token, headers: &HeaderMap) -> Result<(), Problem> {
    let no_token = |detail| Err(Problem::new(codes::NO_TOKEN, detail));
    let Some(shown) = headers.get(header::AUTHORIZATION) else {
        return no_token("request has no authorization header");
    };
    let Some((scheme, shown)) = shown.as_bytes().split_at_checked("Bearer ".len()) else {
        return no_token("authorization is not of the form `Bearer TOKEN`");
    };
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return no_token("authorization is not of the form `Bearer TOKEN`");
    }
    // How much of a wrong token is right must not show in the time that this takes. Its length may.
    if bool::from(token.0.as_bytes().ct_eq(shown.trim_ascii())) {
        return Ok(());
    }
    no_token("token is not the node's")
}

fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    // HTTP/1.0 has no such header, and browsers always send it.
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let host = host.to_str().unwrap_or_default();
    if is_local(without_port(host)) {
        return Ok(());
    }
    let shown: String = host.chars().take(80).collect();
    let detail = format!("host {shown:?} is not localhost or an address");
    Err(Problem::new(codes::FOREIGN_HOST, detail))
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn is_local(name: &str) -> bool {
    let is_below =
        || name.rsplit('.').next().is_some_and(|top| top.eq_ignore_ascii_case("localhost"));
    name.parse::<IpAddr>().is_ok() || is_below()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard() -> Guard {
        Guard::new(Token::new(TOKEN.to_owned()))
    }

    fn status(guard: &Guard, path: &str, name: HeaderName, value: &str) -> u16 {
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        guard.check(path, &headers).map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    /// With a token everything but the probes demands it: we try no token and many wrong ones.
    #[test]
    fn the_token_is_demanded_everywhere() {
        let guard = guard();
        for path in ["/v1/topics", "/metrics", "/users", "/", "/livez/x", "/startupz", "/nothing"] {
            let bare = guard.check(path, &HeaderMap::new());
            assert_eq!(bare.unwrap_err().status(), 401, "{path}");
            let ask = |value: &str| status(&guard, path, header::AUTHORIZATION, value);
            assert_eq!(ask(&format!("Bearer {TOKEN}")), 200);
            assert_eq!(ask(&format!("bearer {TOKEN}")), 200);
            for wrong in [
                "",
                "Bearer",
                "Bearer ",
                TOKEN,
                "Bearer 0123456789abcdeF",
                "Bearer 0123456789abcde",
                "Bearer 0123456789abcdef0",
                "Basic 0123456789abcdef",
            ] {
                assert_eq!(ask(wrong), 401, "{wrong:?}");
            }
        }
        for open in OPEN {
            assert!(guard.check(open, &HeaderMap::new()).is_ok());
        }
    }

    #[test]
    fn weak_tokens_are_refused_and_none_is_shown() {
        for weak in ["", "short", "0123456789abcde", "0123456789 abcdef", "0123456789abcdé\u{e9}"]
        {
            assert!(Token::new(weak.to_owned()).is_none(), "{weak}");
        }
        assert!(!format!("{:?}", guard()).contains(TOKEN));
    }

    /// A page of another site that points its own name at this machine must get nothing.
    #[test]
    fn other_names_for_this_machine_are_refused() {
        let guard = Guard::new(None);
        for (host, expected) in [
            ("127.0.0.1:7270", 200),
            ("localhost:7270", 200),
            ("LOCALHOST", 200),
            ("n1.localhost:7270", 200),
            ("[::1]:7270", 200),
            ("10.0.0.7", 200),
            ("evil.example:7270", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("", 421),
        ] {
            assert_eq!(status(&guard, "/v1/topics", header::HOST, host), expected, "{host}");
        }
        assert!(guard.check("/v1/topics", &HeaderMap::new()).is_ok());
    }
}
