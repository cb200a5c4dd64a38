//! What a restore is going to do, as a value: waves of items, and why others are left out.

mod verdict;

use std::collections::BTreeMap;

use crate::GroupResource;
use crate::result::Record;

pub use verdict::{
    Difference, ExcludedOutline, ItemVerdict, LiveObject, PlanOutline, Verdict, WaveOutline,
};

/// Position of an item in an archive's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub u32);

/// Items of one kind that may be created at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// The kind, as the archive names it.
    pub resource: GroupResource,
    /// The items in archive order.
    pub items: Vec<ItemId>,
}

/// Why an item is not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ExclusionReason {
    /// The kind is not selected.
    Resource,
    /// Objects of the kind are never restored.
    NeverRestored,
    /// The namespace is not selected.
    Namespace,
    /// The labels do not match.
    Labels,
    /// Cluster-scoped items are not selected.
    ClusterScope,
    /// A pod or job that has run to its end.
    Completed,
    /// A mirror pod, made by a kubelet from a file.
    MirrorPod,
    /// Another item comes to the same name, because two namespaces are mapped to one.
    SameTarget,
}

/// What a restore is going to do, in order. A pure function of index, request and discovery makes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestorePlan {
    /// Namespaces to ensure before their first item: target name, and the source namespace whose labels,
    /// annotations and spec it gets.
    pub namespaces: BTreeMap<String, String>,
    /// Waves in the order they are applied.
    pub waves: Vec<Wave>,
    /// How many items are left out, by kind and reason.
    pub excluded: BTreeMap<(GroupResource, ExclusionReason), u64>,
    /// Kinds that the cluster does not serve and no CustomResourceDefinition of the archive brings.
    pub unserved: BTreeMap<GroupResource, u64>,
    /// What is known beforehand to go wrong, item by item: entries that are no objects, kinds that are not served.
    pub records: Vec<Record>,
}

impl RestorePlan {
    /// How many items the waves hold.
    pub fn len(&self) -> usize {
        self.waves.iter().map(|wave| wave.items.len()).sum()
    }

    /// Whether there is nothing to restore.
    pub fn is_empty(&self) -> bool {
        self.waves.is_empty()
    }
}
