//! Which items have been dealt with.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use velero_core::result::ResourceList;

/// The items that a run has dealt with: those that are stored, in the list that the backup brings, and those that are under
/// way or were left out.
///
/// Names of stored items are kept once; finding one among them takes five to ten bytes more of each.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    stored: ResourceList,
    /// Places in `stored`, by kind.
    places: BTreeMap<String, HashTable<u32>>,
    others: HashSet<(String, String)>,
    hashes: RandomState,
}

impl Seen {
    /// Notes an item; `false` when it was noted before.
    pub(crate) fn insert(
        &mut self,
        api_version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> bool {
        let (kind, path) = key(api_version, kind, namespace, name);
        !self.is_stored(&kind, &path) && self.others.insert((kind, path))
    }

    /// Whether an item was noted.
    pub(crate) fn contains(
        &self,
        api_version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> bool {
        let key = key(api_version, kind, namespace, name);
        self.is_stored(&key.0, &key.1) || self.others.contains(&key)
    }

    /// Notes that an item is in the archive.
    pub(crate) fn store(&mut self, api_version: &str, kind: &str, namespace: &str, name: &str) {
        let key = key(api_version, kind, namespace, name);
        self.others.remove(&key);
        let (kind, path) = key;
        let at = self.stored.add(&kind, &path);
        let (stored, hashes) = (&self.stored, &self.hashes);
        let hash = |at: &u32| hashes.hash_one(stored.entry(&kind, *at as usize));
        if let (Ok(at), hashed) = (u32::try_from(at), hashes.hash_one(Some(path.as_str()))) {
            let places = match self.places.get_mut(&kind) {
                Some(places) => places,
                None => self.places.entry(kind.clone()).or_default(),
            };
            places.insert_unique(hashed, at, hash);
        }
    }

    /// The stored items.
    pub(crate) fn into_stored(self) -> ResourceList {
        self.stored
    }

    fn is_stored(&self, kind: &str, path: &str) -> bool {
        let is = |at: &u32| self.stored.entry(kind, *at as usize) == Some(path);
        self.places
            .get(kind)
            .is_some_and(|places| places.find(self.hashes.hash_one(Some(path)), is).is_some())
    }
}

/// An item as lists of resources name it.
fn key(api_version: &str, kind: &str, namespace: &str, name: &str) -> (String, String) {
    let path = match namespace {
        "" => name.to_owned(),
        _ => format!("{namespace}/{name}"),
    };
    (format!("{api_version}/{kind}"), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_once() {
        let mut seen = Seen::default();
        assert!(seen.insert("v1", "Pod", "a", "b"));
        assert!(!seen.insert("v1", "Pod", "a", "b"));
        assert!(
            seen.insert("v1", "Pod", "", "ab")
                && seen.insert("v1", "Pods", "a", "b")
                && seen.insert("v1", "Pod", "a", "c")
        );
        assert!(seen.contains("v1", "Pod", "", "ab") && !seen.contains("v2", "Pod", "a", "b"));
        seen.store("v1", "Pod", "a", "b");
        assert!(seen.contains("v1", "Pod", "a", "b") && !seen.insert("v1", "Pod", "a", "b"));
        assert_eq!(seen.into_stored().entries("v1/Pod"), ["a/b"]);
    }

    #[test]
    fn stored_items_are_found_among_many() {
        let mut seen = Seen::default();
        for n in 0..5000 {
            let (kind, name) = (["ConfigMap", "Secret"][n % 2], format!("n{n}"));
            assert!(seen.insert("v1", kind, "a", &name), "{n}");
            seen.store("v1", kind, "a", &name);
        }
        assert!(seen.others.is_empty());
        for n in 0..5000 {
            let name = format!("n{n}");
            assert_eq!(seen.contains("v1", "Secret", "a", &name), n % 2 == 1, "{n}");
            assert!(!seen.contains("v1", "Secret", "b", &name));
        }
    }
}
