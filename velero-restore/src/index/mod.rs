//! What lies in an archive: an index over all items, and the spool that holds their bytes.

mod crd;
mod facts;
mod owners;
mod read;
mod spool;
mod versions;

pub(crate) use crd::is_crd;
pub use facts::Facts;
pub use spool::{Location, Spool};

use std::collections::BTreeSet;

use owners::Owners;
use velero_core::plan::ItemId;
use velero_core::{ApiResource, GroupResource};
use versions::Versions;

/// One item of the index; names lie in one text.
#[derive(Debug, Clone, Copy)]
struct Entry {
    location: Location,
    name_at: u32,
    namespace: u32,
    name_len: u16,
    resource: u16,
    kind: u16,
    facts: Facts,
}

/// An entry of an archive that is no Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Resource.
    pub resource: GroupResource,
    /// Namespace, empty for cluster-scoped items.
    pub namespace: String,
    /// Name, from the path.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
}

/// One item as the index knows it.
#[derive(Debug, Clone, Copy)]
pub struct IndexedItem<'a> {
    /// Position in the index.
    pub id: ItemId,
    /// Resource, as the archive names it.
    pub resource: &'a GroupResource,
    /// Namespace in the archive, empty for cluster-scoped items.
    pub namespace: &'a str,
    /// Name, from the path.
    pub name: &'a str,
    /// `apps/v1`, `v1`.
    pub api_version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// What is known of its content.
    pub facts: Facts,
    /// Where its bytes lie.
    pub location: Location,
}

/// An index over the items of one archive: about 40 bytes and the name for each.
///
/// Its items are those below unversioned paths, as every archive has them there; of two entries with one path the
/// later one counts. Other versions of them are read where [`RestoreOptions::api_group_versions`] asks for it.
///
/// [`RestoreOptions::api_group_versions`]: crate::RestoreOptions::api_group_versions
#[derive(Debug, Default)]
pub struct ArchiveIndex {
    resources: Vec<GroupResource>,
    namespaces: Vec<String>,
    kinds: Vec<(String, String)>,
    entries: Vec<Entry>,
    names: String,
    /// Items by resource, namespace and name.
    order: Vec<u32>,
    faults: Vec<Fault>,
    definitions: Vec<(ItemId, Vec<ApiResource>)>,
    /// ServiceAccounts, by namespace and name, that pods name which labels select and which have not run to their end.
    accounts: BTreeSet<(String, String)>,
    /// Claims whose data was moved into a repository, by namespace, name and the label of the backup that moved it: what
    /// the archive's DataUploads tell.
    moved: BTreeSet<(String, String, String)>,
    /// Filled where owners are to be linked.
    owners: Owners,
    versions: Versions,
    format: Option<String>,
}

impl ArchiveIndex {
    /// The archive's format version; `None` for those older than `metadata/version`.
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are no items and no entries that should be some.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.faults.is_empty()
    }

    /// Upper bound of item positions.
    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    /// Entries that are no Kubernetes objects.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The resources that have items, in the order the archive names them.
    pub fn resources(&self) -> &[GroupResource] {
        &self.resources
    }

    /// The namespaces that have items, with the empty one of cluster-scoped items.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(String::as_str)
    }

    /// CustomResourceDefinitions and the resources they bring.
    pub fn definitions(&self) -> &[(ItemId, Vec<ApiResource>)] {
        &self.definitions
    }

    /// ServiceAccounts, by namespace and name, that pods name which are of use.
    pub(crate) fn accounts(&self) -> &BTreeSet<(String, String)> {
        &self.accounts
    }

    /// Whether a DataUpload of the archive has moved the data of a claim; `backup` is the value of the backup's label.
    pub(crate) fn is_moved(&self, namespace: &str, claim: &str, backup: &str) -> bool {
        let key = (namespace.to_owned(), claim.to_owned(), backup.to_owned());
        self.moved.contains(&key)
    }

    /// The items that others name as their owners.
    pub(crate) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// The item at a position; `None` for positions of another index and for entries that a later one replaces.
    pub fn item(&self, id: ItemId) -> Option<IndexedItem<'_>> {
        let entry = self
            .entries
            .get(id.0 as usize)
            .filter(|e| !e.facts.has(Facts::REPLACED))?;
        let (api_version, kind) = self.kinds.get(entry.kind as usize)?;
        Some(IndexedItem {
            id,
            resource: self.resources.get(entry.resource as usize)?,
            namespace: self.namespaces.get(entry.namespace as usize)?,
            name: self.name(entry),
            api_version,
            kind,
            facts: entry.facts,
            location: entry.location,
        })
    }

    /// All items, in archive order.
    pub(crate) fn items(&self) -> impl Iterator<Item = IndexedItem<'_>> {
        (0..self.entries.len())
            .filter_map(|at| u32::try_from(at).ok())
            .filter_map(|at| self.item(ItemId(at)))
    }

    /// Finds an item by resource, namespace (empty for cluster-scoped ones) and name.
    pub fn find(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<ItemId> {
        let resource = u16::try_from(self.resources.iter().position(|r| r == resource)?).ok()?;
        let wanted = (resource, namespace, name);
        let at = self
            .order
            .binary_search_by(|id| self.sort_key(*id).cmp(&wanted))
            .ok()?;
        self.order.get(at).map(|id| ItemId(*id))
    }

    /// The items of a resource in archive order.
    pub fn items_of(&self, resource: &GroupResource) -> Vec<ItemId> {
        let Some(number) = self
            .resources
            .iter()
            .position(|r| r == resource)
            .and_then(|n| u16::try_from(n).ok())
        else {
            return Vec::new();
        };
        let start = self
            .order
            .partition_point(|id| self.sort_key(*id).0 < number);
        let mut ids: Vec<ItemId> = self.order[start..]
            .iter()
            .take_while(|id| self.sort_key(**id).0 == number)
            .map(|id| ItemId(*id))
            .collect();
        ids.sort_unstable();
        ids
    }

    fn name(&self, entry: &Entry) -> &str {
        let start = entry.name_at as usize;
        self.names
            .get(start..start + entry.name_len as usize)
            .unwrap_or_default()
    }

    fn sort_key(&self, id: u32) -> (u16, &str, &str) {
        self.entries
            .get(id as usize)
            .map_or((u16::MAX, "", ""), |e| {
                (
                    e.resource,
                    self.namespaces
                        .get(e.namespace as usize)
                        .map_or("", String::as_str),
                    self.name(e),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::mem::{size_of, size_of_val};

    use serde_json::json;
    use velero_core::SelectorSet;
    use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath};

    use super::*;
    use crate::RestoreOptions;

    #[test]
    fn an_item_takes_40_bytes_and_its_name() {
        let (count, gr) = (20_000, GroupResource::core("configmaps"));
        let options = ArchiveWriterOptions::default().level(1);
        let mut writer = ArchiveWriter::new(Vec::new(), options).unwrap();
        let mut names = 0;
        for at in 0..count {
            let (namespace, name) = (format!("n{}", at % 50), format!("map-{at}"));
            let item = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace}, "data": {"key": "x".repeat(200)}});
            let path = ItemPath::new(gr.clone(), namespace, name.as_str());
            let bytes = item.to_string();
            writer.append(&path, "v1", true, bytes.as_bytes()).unwrap();
            names += name.len();
        }
        let bytes = Cursor::new(writer.finish().unwrap());
        let selectors = SelectorSet::default();
        let (index, _) = ArchiveIndex::read(bytes, &selectors, &RestoreOptions::default()).unwrap();
        assert_eq!(index.len(), count);
        // All that there is one of for each item.
        let bytes = index.entries.capacity() * size_of::<Entry>()
            + index.order.capacity() * size_of_val(&index.order[0])
            + index.names.capacity();
        assert!(
            bytes <= count * 40 + names,
            "{bytes} bytes, {names} of names"
        );
        // All else is kept once for many.
        assert_eq!((index.resources.len(), index.kinds.len()), (1, 1));
        assert_eq!(index.namespaces.len(), 50);
        assert!(index.accounts.is_empty() && index.definitions.is_empty());
    }
}
