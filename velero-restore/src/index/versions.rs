//! Items in other versions than the preferred one.

use std::collections::BTreeMap;

use velero_core::GroupResource;
use velero_core::archive::{ItemPath, VersionDir};

use super::{ArchiveIndex, Location};
use crate::versions::{SourceVersions, has_versions};

/// What an archive has below folders of versions, until one is chosen for each kind.
#[derive(Debug, Default)]
pub(super) struct Versions {
    by_resource: BTreeMap<GroupResource, SourceVersions>,
    items: Vec<Versioned>,
}

/// One item in a version that is not the preferred one.
#[derive(Debug)]
struct Versioned {
    path: ItemPath,
    location: Location,
    kind: u16,
}

impl Versions {
    /// Notes that a kind is there in a version.
    pub(super) fn note(&mut self, resource: &GroupResource, version: &str, preferred: bool) {
        let versions = self.by_resource.entry(resource.clone()).or_default();
        if preferred && versions.preferred != version {
            versions.preferred = version.to_owned();
        }
        if !versions.all.iter().any(|v| v == version) {
            versions.all.push(version.to_owned());
        }
    }

    pub(super) fn add(&mut self, path: ItemPath, location: Location, kind: u16) {
        self.items.push(Versioned {
            path,
            location,
            kind,
        });
    }
}

impl ArchiveIndex {
    /// Chooses a version for each kind; its items are those of that version from then on, where they exist in it.
    ///
    /// Does nothing for archives of a format without versions.
    pub(crate) fn choose_versions(
        &mut self,
        choice: impl Fn(&GroupResource, &SourceVersions) -> String,
    ) {
        let versions = std::mem::take(&mut self.versions);
        if !has_versions(self.format()) {
            return;
        }
        let mut chosen = BTreeMap::new();
        for (resource, source) in &versions.by_resource {
            let version = choice(resource, source);
            if version != source.preferred {
                let (resource, preferred) = (resource.to_string(), &source.preferred);
                tracing::info!(resource, version, preferred, "restored in another version");
            }
            chosen.insert(resource, version);
        }
        for item in &versions.items {
            let path = &item.path;
            let VersionDir::Other(version) = &path.version else {
                continue;
            };
            if chosen.get(&path.group_resource) != Some(version) {
                continue;
            }
            let found = self.find(&path.group_resource, &path.namespace, &path.name);
            if let Some(entry) = found.and_then(|id| self.entries.get_mut(id.0 as usize)) {
                (entry.location, entry.kind) = (item.location, item.kind);
            }
        }
    }
}
