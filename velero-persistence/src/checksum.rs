//! Checksums that S3 compares an upload with.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use ring::digest;

/// An algorithm of S3's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// CRC-32 as in gzip.
    Crc32,
    /// CRC-32 with Castagnoli's polynomial.
    Crc32c,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Checksum {
    /// The algorithm as S3 names it in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Finds an algorithm by that name, in capitals.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Crc32, Self::Crc32c, Self::Sha1, Self::Sha256]
            .into_iter()
            .find(|one| one.name() == name)
    }

    /// The header that carries the value.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The XML element that carries the value of a part.
    pub(crate) fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// The value over pieces of one body, in base64.
    pub(crate) fn of(self, pieces: impl Iterator<Item = Bytes>) -> String {
        let crc = |algorithm, pieces: &mut dyn Iterator<Item = Bytes>| {
            let mut sum = crc_fast::Digest::new(algorithm);
            pieces.for_each(|piece| sum.update(&piece));
            BASE64.encode((sum.finalize() as u32).to_be_bytes())
        };
        let sha = |algorithm, pieces: &mut dyn Iterator<Item = Bytes>| {
            let mut sum = digest::Context::new(algorithm);
            pieces.for_each(|piece| sum.update(&piece));
            BASE64.encode(sum.finish())
        };
        let mut pieces = pieces;
        match self {
            Self::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc, &mut pieces),
            Self::Crc32c => crc(CrcAlgorithm::Crc32Iscsi, &mut pieces),
            Self::Sha1 => sha(&digest::SHA1_FOR_LEGACY_USE_ONLY, &mut pieces),
            Self::Sha256 => sha(&digest::SHA256, &mut pieces),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_standards() {
        // The check values of the CRC catalogue, and FIPS 180's for "abc".
        for (algorithm, text, want) in [
            (Checksum::Crc32, "123456789", "y/Q5Jg=="),
            (Checksum::Crc32c, "123456789", "4waSgw=="),
            (Checksum::Sha1, "abc", "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
            (
                Checksum::Sha256,
                "abc",
                "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
            ),
        ] {
            let (one, rest) = text.split_at(1);
            let pieces = [one, rest].map(|piece| Bytes::copy_from_slice(piece.as_bytes()));
            assert_eq!(algorithm.of(pieces.into_iter()), want, "{algorithm:?}");
            assert_eq!(Checksum::named(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Checksum::named("crc32"), None);
    }
}
