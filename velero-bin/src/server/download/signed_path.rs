//! Paths that are good for one file and a short time.

use std::fmt;

use jiff::Timestamp;
use ring::hmac;
use ring::rand::SystemRandom;
use velero_core::api::DownloadTarget;
use velero_core::names::hex;

/// Signs paths, and knows its own. Every process has a key of its own, which nobody is told.
pub(super) struct Signer(hmac::Key);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// Why a path is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Nobody has signed it, or another process has, or it was changed.
    #[error(
        "this address was not given by this server, or not by its present process; ask for another one"
    )]
    Unknown,
    /// Its time is over.
    #[error("this address has expired; ask for another one")]
    Expired,
}

impl Signer {
    /// One with a new key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new() -> Result<Self, String> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map(Self)
            .map_err(|_| "the system gives no random numbers for a key".to_owned())
    }

    /// The path of a file until then. The name is that of an object in the API server, so that it holds no `/`.
    pub(super) fn path(&self, target: &DownloadTarget, until: Timestamp) -> String {
        let signed = format!("/{}/{}/{}", target.kind, target.name, until.as_second());
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}/{}", hex(tag.as_ref()))
    }

    /// The file behind a path.
    ///
    /// # Errors
    /// When the path was not made by [`Signer::path`], or its time is over.
    pub(super) fn target(&self, path: &str, now: Timestamp) -> Result<DownloadTarget, Refusal> {
        let (signed, tag) = path.rsplit_once('/').ok_or(Refusal::Unknown)?;
        let tag = bytes(tag).ok_or(Refusal::Unknown)?;
        hmac::verify(&self.0, signed.as_bytes(), &tag).map_err(|_| Refusal::Unknown)?;
        let mut parts = signed.split('/').skip(1);
        let (Some(kind), Some(name), Some(until), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Unknown);
        };
        let until: i64 = until.parse().map_err(|_| Refusal::Unknown)?;
        if now.as_second() >= until {
            return Err(Refusal::Expired);
        }
        Ok(DownloadTarget {
            kind: kind.into(),
            name: name.to_owned(),
        })
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use velero_core::api::DownloadTargetKind;

    use super::*;

    #[test]
    fn a_path_is_good_for_one_file_until_its_time() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let target = DownloadTarget {
            kind: DownloadTargetKind::BackupLog,
            name: "nightly-1".to_owned(),
        };
        let signer = Signer::new().unwrap();
        let path = signer.path(&target, at(600));
        assert!(path.starts_with("/BackupLog/nightly-1/600/"), "{path}");
        assert_eq!(signer.target(&path, at(599)), Ok(target.clone()));
        assert_eq!(signer.target(&path, at(600)), Err(Refusal::Expired));
        let another = Signer::new().unwrap().target(&path, at(0));
        assert_eq!(another, Err(Refusal::Unknown));
        for (from, to) in [
            ("BackupLog", "BackupContents"),
            ("nightly-1", "nightly-2"),
            ("/600/", "/601/"),
            ("/BackupLog", "//BackupLog"),
        ] {
            let changed = path.replacen(from, to, 1);
            let found = signer.target(&changed, at(0));
            assert_eq!(found, Err(Refusal::Unknown), "{changed}");
        }
        let cut = &path[..path.len() - 2];
        let odd = format!("{path}+f");
        let marks = path.replace("/600/", "/600/\u{e4}");
        for path in [
            "",
            "/",
            "//",
            "/a",
            "/a/b/c/zz",
            "/a/b/c/",
            cut,
            &odd,
            &marks,
        ] {
            let found = signer.target(path, at(0));
            assert_eq!(found, Err(Refusal::Unknown), "{path:?}");
        }
    }
}
