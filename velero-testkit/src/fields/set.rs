//! Sets of field paths, in the form of `fieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of paths. Keys of `children` are path elements as `fieldsV1` writes them: `f:name`, `k:{...}`, `v:...`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Set {
    /// Whether the path that leads here is in the set.
    pub(crate) member: bool,
    pub(crate) children: BTreeMap<String, Set>,
}

impl Set {
    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    pub(crate) fn insert(&mut self, path: &[String]) {
        let mut at = self;
        for element in path {
            at = at.children.entry(element.clone()).or_default();
        }
        at.member = true;
    }

    /// A set of paths of plain fields, for example `[["metadata", "name"]]`.
    pub(crate) fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<String> = path.iter().map(|p| format!("f:{p}")).collect();
            set.insert(&path);
        }
        set
    }

    pub(crate) fn has(&self, element: &str) -> bool {
        self.children.get(element).is_some_and(|c| c.member)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let empty = Self::default();
        let mut children = BTreeMap::new();
        for element in self.children.keys().chain(other.children.keys()) {
            let one = self.children.get(element).unwrap_or(&empty);
            let two = other.children.get(element).unwrap_or(&empty);
            let both = one.combine(two, keep);
            if !both.is_empty() {
                children.insert(element.clone(), both);
            }
        }
        Self {
            member: keep(self.member, other.member),
            children,
        }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a || b)
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && b)
    }

    /// Without the paths of `other`; paths below them stay.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && !b)
    }

    /// Without the paths of `other` and everything below them.
    pub(crate) fn without_trees(&self, other: &Self) -> Self {
        let mut children = BTreeMap::new();
        for (element, child) in &self.children {
            let left = match other.children.get(element) {
                Some(cut) if cut.member => continue,
                Some(cut) => child.without_trees(cut),
                None => child.clone(),
            };
            if !left.is_empty() {
                children.insert(element.clone(), left);
            }
        }
        Self {
            member: self.member,
            children,
        }
    }

    /// Reads `fieldsV1`; anything that is no path element is an error.
    pub(crate) fn decode(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        let mut set = Self {
            member: map.is_empty() || map.contains_key("."),
            ..Self::default()
        };
        for (key, child) in map.iter().filter(|(k, _)| *k != ".") {
            set.children.insert(canonical(key)?, Self::decode(child)?);
        }
        Some(set)
    }

    pub(crate) fn encode(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            map.insert(element.clone(), child.encode());
        }
        Value::Object(map)
    }

    /// Every path of the set, in the form that conflicts are reported in.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect(&self, at: &str, found: &mut Vec<String>) {
        if self.member && !at.is_empty() {
            found.push(at.to_owned());
        }
        for (element, child) in &self.children {
            child.collect(&format!("{at}{}", readable(element)), found);
        }
    }
}

fn canonical(element: &str) -> Option<String> {
    let (kind, rest) = element.split_once(':')?;
    match kind {
        "f" => Some(element.to_owned()),
        "k" | "v" | "i" => {
            let value: Value = serde_json::from_str(rest).ok()?;
            Some(format!("{kind}:{value}"))
        }
        _ => None,
    }
}

fn readable(element: &str) -> String {
    let (kind, rest) = element.split_once(':').unwrap_or(("f", element));
    match kind {
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", parts.join(","))
        }
        "v" => format!("[={rest}]"),
        "i" => format!("[{rest}]"),
        _ => format!(".{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn round_trip_and_algebra() {
        let text = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
        });
        let set = Set::decode(&text).unwrap();
        assert_eq!(set.encode(), text);
        assert_eq!(
            set.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port",
            ]
        );
        let labels = Set::of(&[&["metadata", "labels"]]);
        assert_eq!(set.difference(&labels).paths()[0], ".metadata.labels.app");
        assert_eq!(set.without_trees(&labels).paths().len(), 2);
        assert_eq!(set.intersection(&labels), labels);
        assert!(set.difference(&set).is_empty());
        assert_eq!(set.union(&labels), set);
    }
}
