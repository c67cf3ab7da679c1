//! How the content of an event becomes bytes: JSON as a rule, bincode where a type says so.
//!
//! JSON can be read by `tidings tail`, by `curl` and by services in other languages; bincode is
//! smaller and faster, and only Rust reads it.

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tidings_types::codec;

/// The content cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("content cannot be encoded: {reason}")]
pub struct EncodeError {
    /// What the codec said.
    pub reason: String,
}

/// The bytes are not the content of this type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("content cannot be decoded: {reason}")]
pub struct DecodeError {
    /// What the codec said.
    pub reason: String,
}

impl EncodeError {
    /// For an event type that is implemented by hand.
    pub fn new(reason: impl Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

impl DecodeError {
    /// For an event type that is implemented by hand.
    pub fn new(reason: impl Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// Content as JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Json {
    /// Appends a value to `target`.
    ///
    /// # Errors
    /// If the type's `Serialize` fails, or a map has keys that are no strings.
    pub fn encode<T: Serialize>(value: &T, target: &mut Vec<u8>) -> Result<(), EncodeError> {
        serde_json::to_writer(target, value).map_err(EncodeError::new)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If the bytes are not JSON, or other JSON than the type's.
    pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
        serde_json::from_slice(payload).map_err(DecodeError::new)
    }
}

/// Content as bincode, in its legacy layout.
#[derive(Clone, Copy, Debug)]
pub struct Bincode;

impl Bincode {
    /// Appends a value to `target`.
    ///
    /// # Errors
    /// If the type's `Serialize` fails, or a sequence does not tell its length.
    pub fn encode<T: Serialize>(value: &T, target: &mut Vec<u8>) -> Result<(), EncodeError> {
        codec::encode_into(value, target).map_err(EncodeError::new)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If the bytes are not exactly one value of the type.
    pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
        codec::decode(payload).map_err(DecodeError::new)
    }
}
