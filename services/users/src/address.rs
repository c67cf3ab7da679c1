//! Mail addresses, as far as they can be judged without sending to them.

use thiserror::Error;

/// The longest address that mail servers take.
const ADDRESS_BYTES_MAX: usize = 254;

/// Why a text is no mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadAddress {
    /// It is too long.
    #[error("email has {n_bytes} bytes; it must have at most {ADDRESS_BYTES_MAX}")]
    TooLong {
        /// What it has.
        n_bytes: usize,
    },
    /// It has a character that no address has.
    #[error("email has the character {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
    /// It is not something, one `@`, and a domain.
    #[error("email must be of the form name@domain")]
    Form,
}

/// Checks the form of an address. Whether somebody reads it, only a mail can tell.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(address: &str) -> Result<(), BadAddress> {
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(BadAddress::TooLong { n_bytes: address.len() });
    }
    let is_foreign = |c: &char| c.is_whitespace() || c.is_control() || "<>,;:\"".contains(*c);
    if let Some(found) = address.chars().find(is_foreign) {
        return Err(BadAddress::Character { found });
    }
    match address.split_once('@') {
        Some((name, domain)) if !name.is_empty() && is_domain(domain) => Ok(()),
        _ => Err(BadAddress::Form),
    }
}

fn is_domain(domain: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    domain.contains('.') && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn addresses_are_told_from_other_text() {
        for good in ["ada@example.org", "a.b+c@mail.example.co.uk", "ü@exämple.de"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(250));
        let bad = [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@example",
            "ada@.org",
            "a@b@c.de",
            "a b@c.de",
            "ada@example.org\r\nbcc: all@example.org",
            "<ada@example.org>",
            long.as_str(),
        ];
        for bad in bad {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
