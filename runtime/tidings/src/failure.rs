//! How a handler says that it could not: `?` means again later, `.fatal()?` means never.
//!
//! The lazy way is the safe one: whoever thinks of nothing writes `?`, and nothing is lost.

use std::error::Error;
use std::fmt;
use std::panic::Location;

/// What a handler returns. Returning is acking; there is no other way, so none is forgotten.
pub type Handled = Result<(), Failure>;

/// Why an attempt failed, and whether another one may help.
///
/// It is no [`Error`] itself, so that every error converts into it with `?`.
pub struct Failure {
    is_fatal: bool,
    source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// May succeed later: the event is tried again after a back-off.
    pub fn again(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { is_fatal: false, source: reason.into() }
    }

    /// Can never succeed: the event becomes a dead letter at once.
    pub fn fatal(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { is_fatal: true, source: reason.into() }
    }

    /// Whether it makes its event a dead letter at once.
    pub const fn is_fatal(&self) -> bool {
        self.is_fatal
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
        let verdict = if self.is_fatal { "fatal" } else { "again" };
        write!(f, "{verdict}: {self}")
    }
}

/// Makes a failure one that no further attempt can help.
pub trait Fatal {
    /// What is inside.
    type Value;

    /// Gives the event up if this is a failure: `user.email.parse::<Address>().fatal()?`.
    ///
    /// # Errors
    /// The failure, now a fatal one.
    fn fatal(self) -> Result<Self::Value, Failure>;
}

impl<T, E: Into<Failure>> Fatal for Result<T, E> {
    type Value = T;

    fn fatal(self) -> Result<T, Failure> {
        self.map_err(|error| Failure { is_fatal: true, ..error.into() })
    }
}

impl<T> Fatal for Option<T> {
    type Value = T;

    #[track_caller]
    fn fatal(self) -> Result<T, Failure> {
        let place = Location::caller();
        self.ok_or_else(|| Failure::fatal(format!("nothing where a value must be, at {place}")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Fatal, Handled};

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
