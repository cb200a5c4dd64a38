//! Lists of the items that a run has handled.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

/// Items by `apiVersion/Kind`: the content of a resource list file. Entries of a kind are kept sorted on output.
///
/// Names are stored back to back, so that a hundred thousand items take a few megabytes.
#[derive(Debug, Clone, Default)]
pub struct ResourceList {
    kinds: BTreeMap<String, Names>,
}

/// Names back to back, and where each one ends.
#[derive(Debug, Clone, Default)]
struct Names {
    text: String,
    ends: Vec<u32>,
}

impl Names {
    fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let start = match at {
            0 => 0,
            _ => self.ends[at - 1] as usize,
        };
        self.text.get(start..end)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).filter_map(|at| self.get(at))
    }
}

/// Writes names in their order; that of lists is nearly always the right one already.
struct Sorted<'a>(&'a Names);

impl Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = self.0;
        if names.iter().is_sorted() {
            return serializer.collect_seq(names.iter());
        }
        let mut order: Vec<u32> = (0..).take(names.ends.len()).collect();
        order.sort_unstable_by_key(|at| names.get(*at as usize));
        serializer.collect_seq(order.iter().filter_map(|at| names.get(*at as usize)))
    }
}

impl ResourceList {
    /// Adds an entry such as `shop/web` or `shop/web(created)` to a kind; gives its place among those of the kind.
    pub fn add(&mut self, api_version_kind: &str, entry: &str) -> usize {
        if !self.kinds.contains_key(api_version_kind) {
            self.kinds
                .insert(api_version_kind.to_owned(), Names::default());
        }
        let Some(names) = self.kinds.get_mut(api_version_kind) else {
            return 0;
        };
        names.text.push_str(entry);
        let end = u32::try_from(names.text.len()).unwrap_or(u32::MAX);
        names.ends.push(end);
        names.ends.len() - 1
    }

    /// Adds the entries of another list that are not in this one.
    pub fn merge(&mut self, other: &Self) {
        for (kind, names) in &other.kinds {
            let mut new: HashSet<&str> = names.iter().collect();
            if let Some(known) = self.kinds.get(kind) {
                known.iter().for_each(|name| {
                    new.remove(name);
                });
            }
            for name in names.iter().filter(|name| new.contains(name)) {
                self.add(kind, name);
            }
        }
    }

    /// The entry of a kind that [`ResourceList::add`] has given a place.
    pub fn entry(&self, api_version_kind: &str, at: usize) -> Option<&str> {
        self.kinds.get(api_version_kind)?.get(at)
    }

    /// Entries of a kind in the order they came.
    pub fn entries(&self, api_version_kind: &str) -> Vec<&str> {
        self.kinds
            .get(api_version_kind)
            .map(|names| names.iter().collect())
            .unwrap_or_default()
    }

    /// The kinds, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.kinds.values().map(|names| names.ends.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

impl Serialize for ResourceList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.kinds.iter().map(|(kind, names)| (kind, Sorted(names))))
    }
}

impl<'de> Deserialize<'de> for ResourceList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kinds = Option::<BTreeMap<String, Option<Vec<String>>>>::deserialize(deserializer)?;
        let mut list = Self::default();
        for (kind, names) in kinds.unwrap_or_default() {
            for name in names.unwrap_or_default() {
                list.add(&kind, &name);
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_lists_are_sorted_on_output() {
        let mut list = ResourceList::default();
        list.add("v1/Pod", "shop/web");
        list.add("v1/Pod", "default/a");
        list.add("apps/v1/Deployment", "shop/web");
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            r#"{"apps/v1/Deployment":["shop/web"],"v1/Pod":["default/a","shop/web"]}"#
        );
        assert_eq!(
            (list.len(), list.entries("v1/Pod")),
            (3, vec!["shop/web", "default/a"])
        );
        assert_eq!(list.entry("v1/Pod", 1), Some("default/a"));
        assert_eq!(list.entry("v1/Pod", 2), None);
        let read: ResourceList =
            serde_json::from_value(serde_json::to_value(&list).unwrap()).unwrap();
        let mut more = ResourceList::default();
        more.add("v1/Pod", "shop/web");
        more.add("v1/Secret", "shop/key");
        list.merge(&more);
        assert_eq!(list.len(), 4);
        list.merge(&read);
        assert_eq!(list.len(), 4);
        let empty: ResourceList = serde_json::from_str("null").unwrap();
        assert!(empty.is_empty());
    }
}
