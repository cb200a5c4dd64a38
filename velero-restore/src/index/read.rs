//! One pass over an archive.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;
use velero_core::archive::{ArchiveReader, EntryKind, ItemPath, VersionDir};
use velero_core::plan::ItemId;
use velero_core::result::chain;
use velero_core::{GroupResource, RawItem, SelectorSet};

use super::crd::{is_crd, resources_of};
use super::facts::{account_of, facts_of, moved_by};
use super::owners::OwnerPass;
use super::spool::SpoolWriter;
use super::{ArchiveIndex, Entry, Facts, Fault, Spool};
use crate::filters::is_data_upload;
use crate::{Error, RestoreOptions};

impl ArchiveIndex {
    /// Reads an archive once, front to back. Blocks: belongs on a thread that may.
    ///
    /// Labels are matched against `selectors` on the way, so that a plan needs no item bytes.
    ///
    /// # Errors
    /// When the archive is damaged or cut short, or temporary space cannot be written.
    pub fn read<R: Read>(
        source: R,
        selectors: &SelectorSet,
        options: &RestoreOptions,
    ) -> Result<(Self, Spool), Error> {
        Self::read_some(source, selectors, options, |_| true)
    }

    /// As [`ArchiveIndex::read`], with those items alone that are wanted. Others are not decoded.
    pub(crate) fn read_some<R: Read>(
        source: R,
        selectors: &SelectorSet,
        options: &RestoreOptions,
        is_wanted: impl Fn(&ItemPath) -> bool,
    ) -> Result<(Self, Spool), Error> {
        let mut pass = Pass::new(
            selectors,
            options.spool_dir.as_deref(),
            options.spool_memory,
        );
        pass.owners = options.relink_owners.then(OwnerPass::default);
        let mut failed = None;
        let read = ArchiveReader::new(source).for_each(|kind, data| {
            let taken = match kind {
                EntryKind::Item(path) if !is_wanted(&path) => Ok(()),
                EntryKind::Item(path) if path.version == VersionDir::Unversioned => {
                    pass.take(path, data)
                }
                EntryKind::Item(path) if options.api_group_versions => {
                    pass.take_version(path, data)
                }
                _ => Ok(()),
            };
            Ok(match taken {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let format = read.map_err(|source| Error::Archive { source })?;
        pass.finish(format)
    }
}

/// Numbers for values that come again and again.
struct Numbers<T> {
    by_value: HashMap<T, u32>,
}

impl<T: Hash + Eq + Clone> Numbers<T> {
    fn new() -> Self {
        Self {
            by_value: HashMap::new(),
        }
    }

    fn number(&mut self, value: &T, all: &mut Vec<T>) -> u32 {
        if let Some(n) = self.by_value.get(value) {
            return *n;
        }
        let n = u32::try_from(all.len()).unwrap_or(u32::MAX);
        all.push(value.clone());
        self.by_value.insert(value.clone(), n);
        n
    }
}

struct Pass<'a> {
    index: ArchiveIndex,
    spool: SpoolWriter,
    selectors: &'a SelectorSet,
    resources: Numbers<GroupResource>,
    namespaces: Numbers<String>,
    kinds: Numbers<(String, String)>,
    owners: Option<OwnerPass>,
}

impl<'a> Pass<'a> {
    fn new(selectors: &'a SelectorSet, dir: Option<&Path>, memory: usize) -> Self {
        Self {
            index: ArchiveIndex::default(),
            spool: SpoolWriter::new(dir, memory),
            selectors,
            resources: Numbers::new(),
            namespaces: Numbers::new(),
            kinds: Numbers::new(),
            owners: None,
        }
    }

    fn take(&mut self, path: ItemPath, data: Vec<u8>) -> Result<(), Error> {
        let item = match RawItem::parse(Bytes::from(data)) {
            Ok(item) => item,
            Err(error) => {
                let ItemPath {
                    group_resource,
                    namespace,
                    name,
                    ..
                } = path;
                self.index.faults.push(Fault {
                    resource: group_resource,
                    namespace,
                    name,
                    message: chain(&error),
                });
                return Ok(());
            }
        };
        let location = self.spool.append(item.json())?;
        let id = ItemId(limit(self.index.entries.len(), "items")?);
        let facts = facts_of(
            &path.group_resource,
            &item,
            self.selectors.matches(&item.head().labels),
        );
        if is_crd(&path.group_resource) {
            self.index.definitions.push((id, resources_of(&item)));
        }
        if path.group_resource == GroupResource::core("pods")
            && facts.has(Facts::LABELS_MATCH)
            && !facts.has(Facts::COMPLETED)
            && !facts.has(Facts::MIRROR_POD)
            && let Some(account) = account_of(&item)
        {
            let account = (path.namespace.clone(), account);
            self.index.accounts.insert(account);
        }
        if is_data_upload(&path.group_resource)
            && let Some(moved) = moved_by(&item)
        {
            self.index.moved.insert(moved);
        }
        let kind = self.kind(&item)?;
        let entry = Entry {
            location,
            name_at: limit(self.index.names.len(), "bytes of names")?,
            namespace: self
                .namespaces
                .number(&path.namespace, &mut self.index.namespaces),
            name_len: limit(path.name.len(), "bytes in a name")?,
            resource: limit(
                self.resources
                    .number(&path.group_resource, &mut self.index.resources)
                    as usize,
                "resources",
            )?,
            kind,
            facts,
        };
        self.index.names.push_str(&path.name);
        self.index.entries.push(entry);
        if let Some(owners) = &mut self.owners {
            owners.note(&item);
        }
        Ok(())
    }

    /// Takes an item in a version of its own folder. The preferred one is the one that the unversioned path has.
    fn take_version(&mut self, path: ItemPath, data: Vec<u8>) -> Result<(), Error> {
        let versions = &mut self.index.versions;
        match &path.version {
            VersionDir::Unversioned => {}
            VersionDir::Preferred(version) => versions.note(&path.group_resource, version, true),
            VersionDir::Other(version) => {
                versions.note(&path.group_resource, version, false);
                // What is no object has its fault below the unversioned path, which is all the peer looks for.
                if let Ok(item) = RawItem::parse(Bytes::from(data)) {
                    let location = self.spool.append(item.json())?;
                    let kind = self.kind(&item)?;
                    self.index.versions.add(path, location, kind);
                }
            }
        }
        Ok(())
    }

    /// The number of an item's version and kind.
    fn kind(&mut self, item: &RawItem) -> Result<u16, Error> {
        let head = item.head();
        let kind = (head.api_version.clone(), head.kind.clone());
        let number = self.kinds.number(&kind, &mut self.index.kinds);
        limit(number as usize, "kinds")
    }

    fn finish(self, format: Option<String>) -> Result<(ArchiveIndex, Spool), Error> {
        let mut index = self.index;
        index.format = format;
        index.owners = self.owners.map(OwnerPass::finish).unwrap_or_default();
        let mut order: Vec<u32> = (0..limit(index.entries.len(), "items")?).collect();
        order.sort_unstable_by(|a, b| index.sort_key(*a).cmp(&index.sort_key(*b)).then(a.cmp(b)));
        let mut kept: Vec<u32> = Vec::with_capacity(order.len());
        for id in order {
            match kept.last_mut() {
                Some(last) if index.sort_key(*last) == index.sort_key(id) => {
                    let earlier = std::mem::replace(last, id);
                    if let Some(entry) = index.entries.get_mut(earlier as usize) {
                        entry.facts.set(Facts::REPLACED, true);
                    }
                }
                _ => kept.push(id),
            }
        }
        index.order = kept;
        let replaced: Vec<ItemId> = index
            .definitions
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| index.item(*id).is_none())
            .collect();
        index.definitions.retain(|(id, _)| !replaced.contains(id));
        index.entries.shrink_to_fit();
        index.names.shrink_to_fit();
        Ok((index, self.spool.finish()?))
    }
}

fn limit<T: TryFrom<usize>>(n: usize, what: &str) -> Result<T, Error> {
    T::try_from(n).map_err(|_| Error::Archive {
        source: velero_core::Error::Archive {
            reason: format!("has too many {what}: {n}"),
            source: None,
        },
    })
}
