//! The one place that speaks bincode: commands, checkpoints, messages between nodes.
//!
//! bincode 2 in its legacy layout, whose bytes are bincode 1's and wincode's. Decoding has a limit,
//! because a length that rot or an attacker wrote would otherwise be allocated before it is read,
//! and all bytes must be read, because a longer type's bytes would otherwise pass for a shorter one.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::limits::{CHECKPOINT_BYTES_MAX, FRAME_BYTES_MAX};

/// Bytes that are not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The codec's own word.
    #[error("bytes do not decode: {reason}")]
    Codec {
        /// Why not.
        reason: String,
    },
    /// Something follows the value.
    #[error("{n_left} bytes are left behind the value")]
    Trailing {
        /// How much.
        n_left: usize,
    },
}

/// A value that cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("value does not encode: {reason}")]
pub struct EncodeError {
    /// The codec's own word.
    pub reason: String,
}

/// Encodes a value. The types that are encoded have no case that fails.
///
/// # Panics
/// If a type's `Serialize` reports an error, which none of ours does.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::legacy())
        .expect("no field of an encoded type has a case that fails")
}

/// Appends a value of a type that is not ours, and so may fail to encode.
///
/// # Errors
/// If the type's `Serialize` reports an error, or a sequence does not tell its length.
pub fn encode_into<T: Serialize>(value: &T, target: &mut Vec<u8>) -> Result<(), EncodeError> {
    let written = bincode::serde::encode_into_std_write(value, target, bincode::config::legacy());
    written.map(drop).map_err(|error| EncodeError { reason: error.to_string() })
}

/// Decodes a message or a command: at most a frame.
///
/// # Errors
/// If the bytes are not exactly one value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let config = bincode::config::legacy().with_limit::<FRAME_BYTES_MAX>();
    whole(bytes, bincode::serde::decode_from_slice(bytes, config))
}

/// Decodes a checkpoint.
///
/// # Errors
/// If the bytes are not exactly one value.
pub fn decode_checkpoint<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let config = bincode::config::legacy().with_limit::<{ 2 * CHECKPOINT_BYTES_MAX }>();
    whole(bytes, bincode::serde::decode_from_slice(bytes, config))
}

fn whole<T>(
    bytes: &[u8],
    decoded: Result<(T, usize), bincode::error::DecodeError>,
) -> Result<T, DecodeError> {
    let (value, n_read) =
        decoded.map_err(|error| DecodeError::Codec { reason: error.to_string() })?;
    let n_left = bytes.len() - n_read;
    if n_left > 0 {
        return Err(DecodeError::Trailing { n_left });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_takes_all_bytes_or_none() {
        let mut bytes = encode(&(7_u32, "seven".to_owned()));
        assert_eq!(decode(&bytes), Ok((7_u32, "seven".to_owned())));
        bytes.push(0);
        let longer = decode::<(u32, String)>(&bytes);
        assert_eq!(longer, Err(DecodeError::Trailing { n_left: 1 }));
        let huge = [0xff; 8];
        assert!(matches!(decode::<Vec<u8>>(&huge), Err(DecodeError::Codec { .. })));
    }
}
