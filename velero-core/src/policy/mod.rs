//! Resource policies: what becomes of which volume, and further resource filters, in a ConfigMap that a `Backup` names.
//!
//! ```
//! use velero_core::policy::{ResourcePolicies, VolumeActionKind, VolumeFacts};
//!
//! let policies = ResourcePolicies::parse(
//!     "version: v1
//! volumePolicies:
//! - conditions:
//!     capacity: '100Gi,'
//!   action:
//!     type: skip
//! ",
//! )
//! .map_err(|faults| faults.join("; "))?;
//! let big = VolumeFacts { capacity: "1Ti".parse().map_err(|e| format!("{e}"))?, ..VolumeFacts::default() };
//! assert_eq!(policies.action_for(&big).map(|a| a.kind), Some(VolumeActionKind::Skip));
//! # Ok::<_, String>(())
//! ```
//!
//! Mirrors upstream's `internal/resourcepolicies`.

mod condition;
mod facts;
mod filters;
mod parse;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

pub use condition::{CapacityRange, CsiCondition, NfsCondition, VolumeConditions};
pub use facts::{ClaimFacts, CsiSource, NfsSource, VolumeFacts, VolumeSourceFacts};
pub use filters::IncludeExcludePolicy;

/// The kind of `spec.resourcePolicy` that is read, in any case.
pub const CONFIG_MAP_KIND: &str = "configmap";

/// The policies of a backup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourcePolicies {
    /// What becomes of volumes; the first that matches decides.
    pub volume_policies: Vec<VolumePolicy>,
    /// Resource filters behind those of the spec.
    pub include_exclude: Option<IncludeExcludePolicy>,
}

/// One rule about volumes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VolumePolicy {
    /// All of them must hold; without any the rule is for every volume.
    pub conditions: VolumeConditions,
    /// What is done.
    pub action: VolumeAction,
}

/// What a rule does to the volumes it is for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VolumeAction {
    /// Which way of backup.
    pub kind: VolumeActionKind,
    /// Settings for third parties; Velero itself reads none.
    pub parameters: Map<String, Value>,
}

/// The ways of backup that a rule can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum VolumeActionKind {
    /// The data is left out.
    #[default]
    Skip,
    /// The files are copied.
    FsBackup,
    /// A snapshot is taken, native or CSI.
    Snapshot,
    /// Somebody else cares for the data; neither copied nor snapshotted by Velero.
    Custom,
}

impl VolumeActionKind {
    const ALL: [Self; 4] = [Self::Skip, Self::FsBackup, Self::Snapshot, Self::Custom];

    /// The word for it in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::FsBackup => "fs-backup",
            Self::Snapshot => "snapshot",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for VolumeActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ResourcePolicies {
    /// Reads policies from YAML.
    ///
    /// # Errors
    /// Everything that is wrong with them, one line each, naming the rule and the field.
    pub fn parse(yaml: &str) -> Result<Self, Vec<String>> {
        parse::policies(yaml)
    }

    /// Reads policies from the data of a ConfigMap, which must have one key of any name.
    ///
    /// # Errors
    /// As [`ResourcePolicies::parse`], each line behind the name of the ConfigMap and of the key.
    pub fn from_config_map(
        namespace: &str,
        name: &str,
        data: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<String>> {
        let mut entries = data.iter();
        let (Some((key, yaml)), None) = (entries.next(), entries.next()) else {
            return Err(vec![format!(
                "policy ConfigMap {namespace}/{name}: it has {} data keys and must have exactly one, which holds the policies as yaml",
                data.len()
            )]);
        };
        Self::parse(yaml).map_err(|faults| {
            faults
                .into_iter()
                .map(|fault| format!("policy ConfigMap {namespace}/{name}, key {key}: {fault}"))
                .collect()
        })
    }

    /// The action of the first rule that matches a volume, and the place of that rule.
    pub fn rule_for(&self, volume: &VolumeFacts) -> Option<(usize, &VolumeAction)> {
        self.volume_policies
            .iter()
            .enumerate()
            .find(|(_, policy)| policy.conditions.match_volume(volume))
            .map(|(at, policy)| (at, &policy.action))
    }

    /// The action of the first rule that matches a volume.
    pub fn action_for(&self, volume: &VolumeFacts) -> Option<&VolumeAction> {
        self.rule_for(volume).map(|(_, action)| action)
    }
}

#[cfg(test)]
mod tests;
