//! How a handler says that it could not: `?` means again later, `.fatal()?` means never.
//!
//! | written | the event |
//! |---|---|
//! | `?` | comes again after a back-off, until its attempts are used up |
//! | `.retry_in(delay)?` | comes again after that delay, until its attempts are used up |
//! | `.fatal()?` | is a dead letter now |
//! | `.skip(reason)?` | is settled as if it had succeeded; its story says why |
//!
//! The lazy way is the safe one: whoever thinks of nothing writes `?`, and nothing is lost.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// What a handler returns. Returning is acking; there is no other way, so none is forgotten.
pub type Handled = Result<(), Failure>;

/// Why an attempt failed, and whether another one may help.
///
/// It is no [`Error`] itself, so that every error converts into it with `?`.
pub struct Failure {
    means: Means,
    source: Box<dyn Error + Send + Sync>,
}

/// What becomes of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    Again,
    AgainIn(Duration),
    Fatal,
    Skip,
}

impl Failure {
    /// May succeed later: the event is tried again after a back-off.
    pub fn again(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { means: Means::Again, source: reason.into() }
    }

    /// May succeed once this has passed, as when a server says when to come back: the event is tried
    /// again then. It counts as an attempt, and the event's key waits for it.
    pub fn again_in(delay: Duration, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { means: Means::AgainIn(delay), source: reason.into() }
    }

    /// Can never succeed: the event becomes a dead letter at once.
    pub fn fatal(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { means: Means::Fatal, source: reason.into() }
    }

    /// There is nothing to do about it: the event is settled like one that succeeded, and what the
    /// turn emitted is not published. The reason is in the event's story and in the log.
    pub fn skip(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { means: Means::Skip, source: reason.into() }
    }

    /// Whether it makes its event a dead letter at once.
    pub const fn is_fatal(&self) -> bool {
        matches!(self.means, Means::Fatal)
    }

    pub(crate) const fn means(&self) -> Means {
        self.means
    }

    /// Means the same of one event of a batch, and says the same.
    pub(crate) fn of_one(&self) -> Self {
        Self { means: self.means, source: self.to_string().into() }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::again(error)
    }
}

/// The error and what caused it, in one line: this is what dead letters and logs show.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.means {
            Means::Again => write!(f, "again: {self}"),
            Means::AgainIn(delay) => write!(f, "again in {delay:?}: {self}"),
            Means::Fatal => write!(f, "fatal: {self}"),
            Means::Skip => write!(f, "skip: {self}"),
        }
    }
}

/// Says what a failure means for its event.
pub trait OrElse: Sized {
    /// What is inside.
    type Value;

    #[doc(hidden)]
    fn or_failure(self, means: impl FnOnce(Failure) -> Failure) -> Result<Self::Value, Failure>;

    /// Gives the event up if this is a failure: `user.email.parse::<Address>().fatal()?`.
    ///
    /// # Errors
    /// The failure, now a fatal one.
    #[track_caller]
    fn fatal(self) -> Result<Self::Value, Failure> {
        self.or_failure(|failure| Failure { means: Means::Fatal, ..failure })
    }

    /// Tries the event again after this delay if this is a failure:
    /// `mailer.send(&mail).await.retry_in(5.mins())?`.
    ///
    /// # Errors
    /// The failure, now one with a delay.
    #[track_caller]
    fn retry_in(self, delay: Duration) -> Result<Self::Value, Failure> {
        self.or_failure(|failure| Failure { means: Means::AgainIn(delay), ..failure })
    }

    /// Settles the event without an effect if this is a failure:
    /// `find(user.id).skip("the user is gone")?`.
    ///
    /// # Errors
    /// The failure, now a reason to skip.
    #[track_caller]
    fn skip(self, reason: &str) -> Result<Self::Value, Failure> {
        self.or_failure(|failure| Failure::skip(format!("{reason}: {failure}")))
    }
}

impl<T, E: Into<Failure>> OrElse for Result<T, E> {
    type Value = T;

    fn or_failure(self, means: impl FnOnce(Failure) -> Failure) -> Result<T, Failure> {
        self.map_err(|error| means(error.into()))
    }
}

impl<T> OrElse for Option<T> {
    type Value = T;

    #[track_caller]
    fn or_failure(self, means: impl FnOnce(Failure) -> Failure) -> Result<T, Failure> {
        let place = Location::caller();
        let absent = || Failure::again(format!("nothing where a value must be, at {place}"));
        self.ok_or_else(|| means(absent()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, Handled, Means, OrElse};

    /// `?` must mean again and `.fatal()?` must mean never, for errors, absent values and failures.
    #[test]
    fn question_mark_is_again_and_fatal_is_never() {
        let number = |text: &str| -> Handled {
            text.parse::<u8>()?;
            Ok(())
        };
        let failure = number("x").expect_err("x is no number");
        assert!(!failure.is_fatal());
        assert_eq!(format!("{failure:?}"), "again: invalid digit found in string");

        assert!(number("x").fatal().expect_err("still not").is_fatal());
        assert!("x".parse::<u8>().fatal().expect_err("still not").is_fatal());
        let absent = None::<u8>.fatal().expect_err("there is none");
        assert!(absent.to_string().starts_with("nothing where a value must be, at "));
        assert_eq!(Some(7).fatal().ok(), Some(7));
        assert!(!Failure::again("no answer").is_fatal());

        let delay = Duration::from_secs(60);
        let later = number("x").retry_in(delay).expect_err("still not");
        assert_eq!(later.means(), Means::AgainIn(delay));
        assert_eq!(format!("{later:?}"), "again in 60s: invalid digit found in string");
        assert_eq!(number("x").skip("no number").expect_err("still not").means(), Means::Skip);
        assert_eq!(None::<u8>.skip("gone").expect_err("there is none").means(), Means::Skip);
    }

    #[test]
    fn causes_are_shown() {
        #[derive(Debug, thiserror::Error)]
        #[error("mail was not sent")]
        struct NotSent(#[source] std::num::ParseIntError);

        let cause = "x".parse::<u8>().expect_err("x is no number");
        let shown = Failure::from(NotSent(cause)).to_string();
        assert_eq!(shown, "mail was not sent: invalid digit found in string");
    }
}
