//! Which items have been dealt with.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

/// A set of item keys that keeps 128 bits of each.
///
/// Two hashes with different random keys make a clash of two items less likely than a flipped bit in memory.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    keys: HashSet<u128>,
    first: RandomState,
    second: RandomState,
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
        let key = self.key(api_version, kind, namespace, name);
        self.keys.insert(key)
    }

    /// Whether an item was noted.
    pub(crate) fn contains(
        &self,
        api_version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> bool {
        self.keys
            .contains(&self.key(api_version, kind, namespace, name))
    }

    fn key(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> u128 {
        let half =
            |state: &RandomState| u128::from(state.hash_one((api_version, kind, namespace, name)));
        half(&self.first) << 64 | half(&self.second)
    }
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
            seen.insert("v1", "Pod", "ab", "")
                && seen.insert("v1", "Pod", "", "ab")
                && seen.insert("v1", "Pods", "a", "b")
        );
        assert!(seen.contains("v1", "Pod", "ab", "") && !seen.contains("v2", "Pod", "a", "b"));
    }
}
