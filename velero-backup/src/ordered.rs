//! `orderedResources`: objects that come first among those of their kind, in the order that the user gives.
//!
//! Mirrors `sortResourcesByOrder` in upstream's `pkg/backup/item_collector.go`. The objects named are looked for in the
//! list of their kind, read ahead, and read one by one where it holds too much. They share one item block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use velero_core::api::Backup;
use velero_core::result::{Record, Severity, chain};
use velero_core::{RawItem, ResourceIdentifier};

use crate::Error;
use crate::plan::Kind;
use crate::run::{CHUNK, Run};

/// The order that a backup asks for, by the plural name of a kind in any group.
#[derive(Debug, Default)]
pub(crate) struct Ordered(BTreeMap<String, Names>);

#[derive(Debug, Default)]
struct Names {
    entries: Vec<Entry>,
    /// Whether a kind of that name is in the backup.
    has_kind: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    namespace: String,
    name: String,
    found: bool,
}

impl Entry {
    /// Whether an object can have such a name.
    fn can_be(&self) -> bool {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        !self.namespace.contains(bad) && !self.name.contains(bad)
    }
}

impl Ordered {
    /// Reads the order of a backup. Names are separated by commas and not trimmed, as in the peer.
    pub(crate) fn read(backup: &Backup) -> Self {
        let names = |text: &String| {
            let mut known = BTreeSet::new();
            let entries = text
                .split(',')
                .filter(|name| !name.is_empty() && known.insert(*name))
                .map(|name| {
                    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
                    Entry {
                        namespace: namespace.to_owned(),
                        name: name.to_owned(),
                        found: false,
                    }
                })
                .collect();
            Names {
                entries,
                has_kind: false,
            }
        };
        let spec = &backup.spec.ordered_resources;
        Self(spec.iter().map(|(k, v)| (k.clone(), names(v))).collect())
    }

    /// Takes note of a kind that is in the backup.
    pub(crate) fn has_kind(&mut self, plural: &str) {
        if let Some(names) = self.0.get_mut(plural) {
            names.has_kind = true;
        }
    }

    /// Takes note of an object that is in the backup.
    pub(crate) fn mark(&mut self, plural: &str, namespace: &str, name: &str) {
        let entries = self
            .0
            .get_mut(plural)
            .into_iter()
            .flat_map(|names| &mut names.entries);
        for entry in entries.filter(|e| e.namespace == namespace && e.name == name) {
            entry.found = true;
        }
    }

    /// Tells of the names that were not found.
    pub(crate) fn unfound(self) -> Vec<Record> {
        let mut records = Vec::new();
        for (plural, names) in self.0 {
            if !names.has_kind {
                let message = format!(
                    "orderedResources: {plural:?} is the plural name of no kind in this backup"
                );
                records.push(Record::run(Severity::Warning, message));
                continue;
            }
            for entry in names.entries.into_iter().filter(|entry| !entry.found) {
                records.push(Record::item(
                    Severity::Warning,
                    &plural,
                    entry.namespace,
                    entry.name,
                    "it is named in orderedResources, but is not among what is backed up",
                ));
            }
        }
        records
    }
}

impl Run<'_> {
    /// Handles the objects of a kind that come first.
    pub(crate) async fn ordered(&mut self, at: usize) -> Result<(), Error> {
        let kind = Arc::clone(&self.kinds[at]);
        let Some(names) = self.ordered.0.get_mut(&kind.gr.resource) else {
            return Ok(());
        };
        names.has_kind = true;
        let entries: Vec<Entry> = names
            .entries
            .iter()
            .filter(|entry| kind.resource.namespaced != entry.namespace.is_empty())
            .cloned()
            .collect();
        let resource = Arc::new(kind.resource.clone());
        let mut fresh = Vec::new();
        for item in self.named(at, entries).await? {
            let head = item.head();
            if !kind.is_namespaces() || self.takes_namespace(head) {
                self.ordered
                    .mark(&kind.gr.resource, &head.namespace, &head.name);
            }
            if self.is_to_come(&kind, &item) {
                fresh.push(item);
            }
        }
        self.count_taken(at, fresh.len());
        if self.waits(&kind.gr) || self.actions.relate_kind(&kind.gr) {
            self.ordered_block(at, fresh).await
        } else if self.actions.want(&kind.gr) {
            for chunk in fresh.chunks(CHUNK) {
                let members = self.members(&resource, chunk.to_vec());
                self.work_and_lay(members).await?;
            }
            Ok(())
        } else {
            self.plain(&resource, fresh).await
        }
    }

    /// Whether a named object is still to be stored. What is not is counted when its list is gone through.
    fn is_to_come(&self, kind: &Kind, item: &RawItem) -> bool {
        let head = item.head();
        let taken = self.is_taken(&kind.resource, head);
        !taken && (!kind.is_namespaces() || self.takes_namespace(head))
    }

    /// Finds the named objects of a kind, as far as the backup takes them, in the order of the names.
    async fn named(&mut self, at: usize, entries: Vec<Entry>) -> Result<Vec<RawItem>, Error> {
        let kind = Arc::clone(&self.kinds[at]);
        let resource = Arc::new(kind.resource.clone());
        let mut slots = Vec::new();
        let mut unread = Vec::new();
        for entry in &entries {
            let held = self.read_to(at, &entry.namespace, &entry.name).await?;
            if held.is_none() && !self.sources[at].ended && entry.can_be() {
                let id = ResourceIdentifier {
                    group_resource: kind.gr.clone(),
                    namespace: entry.namespace.clone(),
                    name: entry.name.clone(),
                };
                unread.push((id, Arc::clone(&resource)));
            }
            slots.push(held);
        }
        let mut read = BTreeMap::new();
        for (id, _, result) in self.read(unread).await {
            match result {
                Ok(Some(item))
                    if kind.is_namespaces() || self.request.why_not(item.head()).is_none() =>
                {
                    read.insert((id.namespace, id.name), item);
                }
                Ok(_) => {}
                Err(error) => self.out.record(Record::item(
                    Severity::Warning,
                    &kind.gr,
                    id.namespace,
                    id.name,
                    format!(
                        "it could not be brought to its place in the order: {}",
                        chain(&error)
                    ),
                )),
            }
        }
        let mut found = Vec::new();
        for (entry, held) in entries.into_iter().zip(slots) {
            found.extend(held.or_else(|| read.remove(&(entry.namespace, entry.name))));
        }
        Ok(found)
    }

    /// Handles ordered items as one block, with the pods that share claims with them.
    async fn ordered_block(&mut self, at: usize, fresh: Vec<RawItem>) -> Result<(), Error> {
        if fresh.is_empty() {
            return Ok(());
        }
        let kind = Arc::clone(&self.kinds[at]);
        let resource = Arc::new(kind.resource.clone());
        let named: BTreeSet<(String, String)> = fresh
            .iter()
            .map(|item| (item.head().namespace.clone(), item.head().name.clone()))
            .collect();
        let mut members = self.members(&resource, fresh);
        let together = members.len();
        if kind.gr.is("", "pods") {
            let namespaces: BTreeSet<&String> = named.iter().map(|(ns, _)| ns).collect();
            for namespace in &namespaces {
                self.read_namespace(at, namespace).await?;
            }
            let neighbours: Vec<RawItem> = self.sources[at]
                .held
                .iter()
                .flatten()
                .filter(|item| namespaces.contains(&item.head().namespace))
                .filter(|item| {
                    let head = item.head();
                    !named.contains(&(head.namespace.clone(), head.name.clone()))
                })
                .cloned()
                .collect();
            let sharing = neighbours
                .into_iter()
                .map(|item| self.member(Arc::clone(&resource), item).uncounted())
                .filter(|member| !member.claims().is_empty());
            members.extend(sharing);
        }
        let mut blocks = self.form(members, together).await?;
        // The others were only looked at: their turn comes with the list.
        blocks.truncate(1);
        self.run_blocks(blocks).await
    }

    /// Tells of names in the order that were not found.
    pub(crate) fn tell_of_unordered(&mut self) {
        for record in std::mem::take(&mut self.ordered).unfound() {
            self.out.record(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_split_at_commas_alone() {
        for (text, expected) in [
            ("a/x,a/y", vec!["a|x", "a|y"]),
            ("x", vec!["|x"]),
            ("a/x, a/y", vec!["a|x", " a|y"]),
            ("a/x,,a/x", vec!["a|x"]),
            ("", vec![]),
        ] {
            let backup =
                json!({"metadata": {"name": "b"}, "spec": {"orderedResources": {"pods": text}}});
            let ordered = Ordered::read(&serde_json::from_value(backup).unwrap());
            let found: Vec<String> = ordered.0["pods"]
                .entries
                .iter()
                .map(|e| format!("{}|{}", e.namespace, e.name))
                .collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
