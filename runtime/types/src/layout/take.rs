//! Reading numbers and slices from the front of some bytes, never past their end.

use bytes::Bytes;
use thiserror::Error;

/// Bytes that do not follow their layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed {what}: {why}")]
pub struct Malformed {
    /// What was read.
    pub what: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Takes one thing after the other from the front.
#[derive(Clone, Debug)]
pub struct Take {
    bytes: Bytes,
    what: &'static str,
}

macro_rules! number {
    ($name:ident, $type:ty) => {
        /// The next number.
        ///
        /// # Errors
        /// If the bytes end before.
        pub fn $name(&mut self) -> Result<$type, Malformed> {
            let (number, _) = self.bytes.split_first_chunk().ok_or(self.malformed("too short"))?;
            let number = <$type>::from_le_bytes(*number);
            self.bytes.advance_by(size_of::<$type>());
            Ok(number)
        }
    };
}

trait Advance {
    fn advance_by(&mut self, n_bytes: usize);
}

impl Advance for Bytes {
    fn advance_by(&mut self, n_bytes: usize) {
        bytes::Buf::advance(self, n_bytes);
    }
}

impl Take {
    /// Reads from the front of `bytes`; `what` names them in errors.
    pub const fn new(what: &'static str, bytes: Bytes) -> Self {
        Self { bytes, what }
    }

    number!(u8, u8);
    number!(u16, u16);
    number!(u32, u32);
    number!(u64, u64);

    /// The next 16 bytes.
    ///
    /// # Errors
    /// If the bytes end before.
    pub fn array(&mut self) -> Result<[u8; 16], Malformed> {
        let (&array, _) = self.bytes.split_first_chunk().ok_or(self.malformed("too short"))?;
        self.bytes.advance_by(16);
        Ok(array)
    }

    /// The next `n_bytes`, shared and not copied.
    ///
    /// # Errors
    /// If the bytes end before.
    pub fn bytes(&mut self, n_bytes: usize) -> Result<Bytes, Malformed> {
        if self.bytes.len() < n_bytes {
            return Err(self.malformed("too short"));
        }
        Ok(self.bytes.split_to(n_bytes))
    }

    /// All that is left.
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    /// How much is left.
    pub fn n_left(&self) -> usize {
        self.bytes.len()
    }

    /// Asserts that nothing is left.
    ///
    /// # Errors
    /// If something is.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.malformed("longer than it says")) }
    }

    /// An error about these bytes.
    pub const fn malformed(&self, why: &'static str) -> Malformed {
        Malformed { what: self.what, why }
    }
}
