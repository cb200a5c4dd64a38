//! The conditions of a volume rule.

use std::collections::BTreeMap;

use super::VolumeFacts;
use crate::Quantity;

/// The conditions of one rule; one that is absent holds for every volume.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VolumeConditions {
    /// Size of the volume.
    pub capacity: Option<CapacityRange>,
    /// Storage classes, one of which the volume must have; empty for any or none.
    pub storage_class: Vec<String>,
    /// An NFS volume, narrowed by what is set.
    pub nfs: Option<NfsCondition>,
    /// A CSI volume, narrowed by what is set.
    pub csi: Option<CsiCondition>,
    /// Names of volume sources such as `hostPath`, one of which the volume must have; empty for any.
    pub volume_types: Vec<String>,
    /// Labels that the claim must have.
    pub pvc_labels: BTreeMap<String, String>,
    /// Phases, one of which the claim must be in; empty for any.
    pub pvc_phase: Vec<String>,
}

/// A range of sizes, both ends included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapacityRange {
    /// Smallest size.
    pub lower: Quantity,
    /// Largest size; zero for no bound.
    pub upper: Quantity,
}

/// NFS volumes; empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NfsCondition {
    /// Server.
    pub server: String,
    /// Exported path.
    pub path: String,
}

/// CSI volumes; empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsiCondition {
    /// Driver.
    pub driver: String,
    /// Attributes that the volume must have; they need a driver.
    pub volume_attributes: BTreeMap<String, String>,
}

impl CapacityRange {
    /// Whether a size lies within.
    pub fn contains(&self, size: Quantity) -> bool {
        self.lower <= size && (self.upper.is_zero() || size <= self.upper)
    }
}

impl VolumeConditions {
    /// Whether all conditions hold for a volume.
    pub fn match_volume(&self, volume: &VolumeFacts) -> bool {
        self.capacity
            .is_none_or(|range| range.contains(volume.capacity))
            && one_of(&self.storage_class, &volume.storage_class)
            && self.match_source(volume)
            && self.match_claim(volume)
    }

    fn match_source(&self, volume: &VolumeFacts) -> bool {
        let nfs = self.nfs.as_ref().is_none_or(|wanted| {
            volume.source.nfs.as_ref().is_some_and(|nfs| {
                same_if_set(&wanted.server, &nfs.server) && same_if_set(&wanted.path, &nfs.path)
            })
        });
        let csi = self.csi.as_ref().is_none_or(|wanted| {
            volume.source.csi.as_ref().is_some_and(|csi| {
                same_if_set(&wanted.driver, &csi.driver)
                    && has_all(&csi.attributes, &wanted.volume_attributes)
            })
        });
        nfs && csi && one_of(&self.volume_types, &volume.source.kind)
    }

    fn match_claim(&self, volume: &VolumeFacts) -> bool {
        let claim = volume.claim.as_ref();
        let labels = self.pvc_labels.is_empty()
            || claim.is_some_and(|claim| has_all(&claim.labels, &self.pvc_labels));
        let phase =
            self.pvc_phase.is_empty() || claim.is_some_and(|c| self.pvc_phase.contains(&c.phase));
        labels && phase
    }
}

/// Whether `value` is in a list; an empty list takes everything, an empty value is in no list.
fn one_of(list: &[String], value: &str) -> bool {
    list.is_empty() || (!value.is_empty() && list.iter().any(|entry| entry == value))
}

fn same_if_set(wanted: &str, value: &str) -> bool {
    wanted.is_empty() || wanted == value
}

fn has_all(all: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| all.get(key) == Some(value))
}
