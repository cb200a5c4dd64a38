//! Gzip and JSON as the peer writes them.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;

/// Compresses bytes at gzip's default level.
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.into())
}

/// Encodes a value as one line of JSON.
pub(crate) fn json_line<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Why bytes could not be unpacked.
#[derive(Debug)]
pub(crate) enum Unpack {
    /// There is more than the limit.
    TooLarge,
    /// They are not gzip, or cut short.
    Damaged(io::Error),
}

/// Unpacks gzip, also of several members, to at most `limit` bytes.
pub(crate) fn gunzip(packed: &[u8], limit: u64) -> Result<Bytes, Unpack> {
    let mut all = Vec::new();
    MultiGzDecoder::new(packed)
        .take(limit.saturating_add(1))
        .read_to_end(&mut all)
        .map_err(Unpack::Damaged)?;
    if all.len() as u64 > limit {
        return Err(Unpack::TooLarge);
    }
    Ok(all.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_limits() {
        let packed = gzip(b"hello").unwrap();
        assert_eq!(gunzip(&packed, 5).unwrap(), "hello");
        assert!(matches!(gunzip(&packed, 4), Err(Unpack::TooLarge)));
        let twice = [packed.clone(), packed.clone()].concat();
        assert_eq!(gunzip(&twice, 100).unwrap(), "hellohello");
        let cut = &packed[..packed.len() - 4];
        assert!(matches!(gunzip(cut, 100), Err(Unpack::Damaged(_))));
        assert!(matches!(gunzip(b"not gzip", 100), Err(Unpack::Damaged(_))));
    }

    #[test]
    fn json_ends_with_a_newline() {
        assert_eq!(json_line(&[1, 2]).unwrap(), b"[1,2]\n");
    }
}
