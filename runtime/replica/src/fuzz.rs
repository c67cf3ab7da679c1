//! A way in for the fuzz targets; built with the feature `fuzz` only.

use bytes::Bytes;

use crate::{snapshot_wire, wire};

/// Reads a peer's message; what is taken must come back as itself when it is sent on.
pub fn wire(bytes: Bytes) {
    if snapshot_wire::is_one(&bytes) {
        let Ok(message) = snapshot_wire::decode(bytes) else { return };
        assert_eq!(snapshot_wire::decode(snapshot_wire::encode(&message)), Ok(message));
        return;
    }
    let Ok(message) = wire::decode(bytes) else { return };
    let sent = wire::encode(&message).expect("what was taken travels");
    assert_eq!(wire::decode(sent).as_ref(), Ok(&message));
}
