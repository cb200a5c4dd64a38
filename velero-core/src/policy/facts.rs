//! What conditions look at: the facts of a volume, read from objects as the API server gives them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::Quantity;

/// The facts of one volume.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VolumeFacts {
    /// Size of the PersistentVolume; zero where there is none.
    pub capacity: Quantity,
    /// Storage class of the PersistentVolume.
    pub storage_class: String,
    /// Where the data lies.
    pub source: VolumeSourceFacts,
    /// The claim, where there is one.
    pub claim: Option<ClaimFacts>,
}

/// Where the data of a PersistentVolume or of a pod's volume lies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VolumeSourceFacts {
    /// Name of the source's field, such as `csi`, `nfs` or `emptyDir`; empty when there is none.
    pub kind: String,
    /// NFS export.
    pub nfs: Option<NfsSource>,
    /// CSI volume.
    pub csi: Option<CsiSource>,
}

/// An NFS export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NfsSource {
    /// Server.
    pub server: String,
    /// Exported path.
    pub path: String,
}

/// A CSI volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CsiSource {
    /// Driver.
    pub driver: String,
    /// Attributes that the driver gave it.
    #[serde(rename = "volumeAttributes", deserialize_with = "or_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// What conditions look at in a claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimFacts {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `status.phase`: `Bound`, `Pending`, `Lost`.
    pub phase: String,
}

fn or_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Fields of a PersistentVolume's spec and of a pod's volume that are no source of data.
const NO_SOURCE: [&str; 11] = [
    "name",
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeClaim",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeMode",
    "volumeAttributesClassName",
];

/// Reads the source out of the object that holds it among other fields: a PersistentVolume's spec, or a pod's volume.
impl<'de> Deserialize<'de> for VolumeSourceFacts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = VolumeSourceFacts;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with the source of a volume")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VolumeSourceFacts, A::Error> {
        let mut found = VolumeSourceFacts::default();
        while let Some(key) = map.next_key::<String>()? {
            if NO_SOURCE.contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let is_set = match key.as_str() {
                "nfs" => {
                    found.nfs = map.next_value()?;
                    found.nfs.is_some()
                }
                "csi" => {
                    found.csi = map.next_value()?;
                    found.csi.is_some()
                }
                _ => map.next_value::<Value>()?.is_object(),
            };
            if is_set {
                found.kind = key;
            }
        }
        Ok(found)
    }
}
