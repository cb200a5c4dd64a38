//! How the server has last left the objects that it writes to again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::ObjectMeta;

/// Most objects that are remembered. Of one that is not, a write can cost two calls more.
const MOST: usize = 4096;

/// Resource versions of objects after the server's own last writes, by uid. A cheap clone; clones share the list.
#[derive(Debug, Clone, Default)]
pub(super) struct Versions(Arc<Mutex<HashMap<String, u64>>>);

impl Versions {
    /// Notes how a write has left an object.
    pub(super) fn note(&self, meta: &ObjectMeta) {
        let (Some(uid), Some(version)) = (&meta.uid, number(meta)) else {
            return;
        };
        let mut all = self.lock();
        if all.len() >= MOST && !all.contains_key(uid) {
            all.clear();
        }
        let known = all.entry(uid.clone()).or_default();
        *known = version.max(*known);
    }

    /// The newest version that is known of an object: as it was read, or as the server has left it since.
    pub(super) fn newest(&self, meta: &ObjectMeta) -> Option<String> {
        let read = number(meta);
        let left = meta
            .uid
            .as_ref()
            .and_then(|uid| self.lock().get(uid).copied());
        match (read, left) {
            (Some(read), Some(left)) if left > read => Some(left.to_string()),
            _ => meta.resource_version.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Versions are whole numbers that grow; a server whose are not has none that can be compared.
fn number(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn the_newest_version_counts() {
        let versions = Versions::default();
        versions.note(&meta("a", "9"));
        versions.note(&meta("a", "7"));
        versions.note(&meta("b", "odd"));
        for (uid, read, expected) in [
            ("a", "8", "9"),
            ("a", "10", "10"),
            ("a", "odd", "odd"),
            ("b", "3", "3"),
            ("c", "3", "3"),
        ] {
            let found = versions.newest(&meta(uid, read));
            assert_eq!(found.as_deref(), Some(expected), "{uid} {read}");
        }
        assert_eq!(versions.newest(&ObjectMeta::default()), None);
    }

    #[test]
    fn not_more_than_so_many_are_remembered() {
        let versions = Versions::default();
        for uid in 0..MOST + 10 {
            versions.note(&meta(&uid.to_string(), "5"));
        }
        assert_eq!(versions.lock().len(), 10);
        let last = meta(&(MOST + 9).to_string(), "1");
        assert_eq!(versions.newest(&last).as_deref(), Some("5"));
    }
}
