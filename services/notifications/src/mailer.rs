//! What sends mails, as the service sees it.

use std::error::Error;
use std::str::FromStr;

use thiserror::Error;

/// Sends mails.
///
/// Idempotence is its duty: it sends one mail for an event's id, however often it is asked, and also
/// if it was asked before a restart. When `send` returns `Ok`, the mail is not lost by a crash.
///
/// Cancel safety: a `send` that was dropped may have sent its mail; asking again does not repeat it.
pub trait Mailer: Clone + Send + Sync + 'static {
    /// Why a mail could not be sent.
    type Error: Error + Send + Sync + 'static;

    /// Sends a mail, unless that was done before.
    ///
    /// # Errors
    /// The mail may be sent later: the caller tries again.
    fn send(&self, mail: &Mail) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// To whom.
    pub to: Address,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub body: String,
    /// The event that it is about.
    pub event_id: String,
}

/// A mail address: something, one `@`, and something.
///
/// Whoever published it may have had another idea of addresses, so it is checked here, too; line
/// breaks above all, which would let an address add headers to a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text is no mail address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid address: {reason}")]
pub struct BadAddress {
    reason: &'static str,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(BadAddress { reason: "it has a space or a line break" });
        }
        let (name, domain) = text.split_once('@').ok_or(BadAddress { reason: "missing '@'" })?;
        if name.is_empty() || domain.is_empty() || domain.contains('@') {
            return Err(BadAddress { reason: "it is not of the form name@domain" });
        }
        Ok(Self(text.to_owned()))
    }
}
