//! The table of what is done with a volume.

use std::fmt;

use velero_core::GroupResource;
use velero_core::volume::NativeSnapshot;

use super::known::{Known, Method};
use crate::index::{ArchiveIndex, Facts};

/// What a restore does with a PersistentVolume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VolumeFate {
    /// It is created as it was, ready to be bound by its claim.
    AsItWas,
    /// A volume is made of its snapshot, which it then stands for.
    FromSnapshot,
    /// It is not created: its claim gets a new, empty volume.
    Provision,
}

/// Why data that a backup names does not come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing here restores data of this method.
    Method(String),
    /// The volume information names a snapshot whose record the backup does not have.
    NoRecord,
    /// The snapshot failed when the backup was taken.
    Failed,
    /// Nothing here reads the snapshots of this location.
    Location(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EMPTY: &str = "the claim was created without its data";
        match self {
            Self::Method(method) => {
                write!(f, "{EMPTY}: it was backed up by {method}, which this version cannot restore")
            }
            Self::Location(location) => write!(
                f,
                "{EMPTY}: it was backed up by NativeSnapshot in location {location:?}, which nothing here can read"
            ),
            Self::Failed => write!(
                f,
                "{EMPTY}: it was backed up by NativeSnapshot, and the snapshot failed when the backup was taken"
            ),
            Self::NoRecord => f.write_str(
                "the claim names the volume that it had, not a copy: it was backed up by NativeSnapshot, and the \
                 backup has no record of the snapshot",
            ),
        }
    }
}

/// What is done with a volume, and what its claim does not get back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) fate: VolumeFate,
    pub(crate) loss: Option<Loss>,
    /// Whether it was backed up by a snapshot of its storage system: its object stands for a disk of a cloud.
    pub(crate) native: bool,
}

/// Decides about a PersistentVolume of the archive. `claim` is the one that it is bound to, by namespace and name in
/// the archive; `backup` is the value of the backup's label; `locations` are those whose snapshots can be read;
/// `wants_data` is `spec.restorePVs`.
///
/// Mirrors the cases for PersistentVolumes in upstream's `pkg/restore/restore.go`.
pub(crate) fn decide(
    (volume, claim): (&str, Option<(&str, &str)>),
    (index, backup): (&ArchiveIndex, &str),
    known: &Known,
    locations: &[String],
    wants_data: bool,
) -> Decision {
    let facts = |resource: &str, namespace: &str, name: &str| {
        let found = index.find(&GroupResource::core(resource), namespace, name);
        let item = found.and_then(|id| index.item(id));
        item.map_or_else(Facts::default, |item| item.facts)
    };
    let claim_facts = claim.map_or_else(Facts::default, |(namespace, name)| {
        let mut facts = facts("persistentvolumeclaims", namespace, name);
        facts.set(Facts::DATA_UPLOAD, index.is_moved(namespace, name, backup));
        facts
    });
    let method = known.method(volume, claim, claim_facts);
    let goes_with_claim = facts("persistentvolumes", "", volume).has(Facts::RECLAIM_DELETE);
    let record = known.snapshot(volume);
    row(method, record, locations, goes_with_claim, wants_data)
}

/// One row of the table.
fn row(
    method: Option<Method>,
    record: Option<&NativeSnapshot>,
    locations: &[String],
    goes_with_claim: bool,
    wants_data: bool,
) -> Decision {
    let native = method == Some(Method::Native);
    let (fate, loss) = match method {
        Some(Method::Native) if wants_data => native_row(record, locations),
        Some(Method::Native) => (VolumeFate::AsItWas, None),
        Some(method @ (Method::PodVolume | Method::Csi | Method::Moved)) => (
            VolumeFate::Provision,
            Some(Loss::Method(method.to_string())),
        ),
        other => {
            let fate = match goes_with_claim {
                true => VolumeFate::Provision,
                false => VolumeFate::AsItWas,
            };
            (fate, other.map(|method| Loss::Method(method.to_string())))
        }
    };
    Decision {
        fate,
        loss: loss.filter(|_| wants_data),
        native,
    }
}

fn native_row(record: Option<&NativeSnapshot>, locations: &[String]) -> (VolumeFate, Option<Loss>) {
    if locations.is_empty() {
        let loss = Loss::Method(Method::Native.to_string());
        return (VolumeFate::Provision, Some(loss));
    }
    match record {
        None => (VolumeFate::AsItWas, Some(Loss::NoRecord)),
        Some(record) if record.status.provider_snapshot_id.is_empty() => {
            (VolumeFate::Provision, Some(Loss::Failed))
        }
        Some(record) if !locations.contains(&record.spec.location) => {
            let loss = Loss::Location(record.spec.location.clone());
            (VolumeFate::Provision, Some(loss))
        }
        Some(_) => (VolumeFate::FromSnapshot, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(location: &str, id: &str) -> NativeSnapshot {
        let mut record = NativeSnapshot::default();
        record.spec.location = location.into();
        record.status.provider_snapshot_id = id.into();
        record
    }

    #[test]
    fn fates() {
        use VolumeFate::{AsItWas, FromSnapshot, Provision};
        let lost = |m: &str| Some(Loss::Method(m.to_owned()));
        let novelty = || Some(Method::Other("Novelty".into()));
        let other = || Some(Loss::Location("other".into()));
        // Method, record, whether a location is read, policy Delete, restorePVs.
        for (method, record, reads, delete, wants, fate, loss) in [
            (None, None, true, true, true, Provision, None),
            (None, None, true, false, true, AsItWas, None),
            (None, None, true, true, false, Provision, None),
            (
                Some(Method::Native),
                Some(("here", "s1")),
                true,
                true,
                true,
                FromSnapshot,
                None,
            ),
            (
                Some(Method::Native),
                Some(("here", "s1")),
                true,
                false,
                true,
                FromSnapshot,
                None,
            ),
            (
                Some(Method::Native),
                Some(("here", "s1")),
                true,
                true,
                false,
                AsItWas,
                None,
            ),
            (
                Some(Method::Native),
                Some(("here", "s1")),
                false,
                true,
                false,
                AsItWas,
                None,
            ),
            (
                Some(Method::Native),
                Some(("here", "s1")),
                false,
                false,
                true,
                Provision,
                lost("NativeSnapshot"),
            ),
            (
                Some(Method::Native),
                None,
                false,
                true,
                true,
                Provision,
                lost("NativeSnapshot"),
            ),
            (
                Some(Method::Native),
                None,
                true,
                true,
                true,
                AsItWas,
                Some(Loss::NoRecord),
            ),
            (Some(Method::Native), None, true, true, false, AsItWas, None),
            (
                Some(Method::Native),
                Some(("here", "")),
                true,
                false,
                true,
                Provision,
                Some(Loss::Failed),
            ),
            (
                Some(Method::Native),
                Some(("other", "s1")),
                true,
                false,
                true,
                Provision,
                other(),
            ),
            (
                Some(Method::PodVolume),
                None,
                true,
                false,
                true,
                Provision,
                lost("PodVolumeBackup"),
            ),
            (
                Some(Method::PodVolume),
                None,
                true,
                false,
                false,
                Provision,
                None,
            ),
            (
                Some(Method::Csi),
                None,
                true,
                false,
                true,
                Provision,
                lost("CSISnapshot"),
            ),
            (Some(Method::Csi), None, true, true, false, Provision, None),
            (
                Some(Method::Moved),
                None,
                true,
                false,
                true,
                Provision,
                lost("CSISnapshot with moved data"),
            ),
            (
                Some(Method::Moved),
                None,
                true,
                false,
                false,
                Provision,
                None,
            ),
            (novelty(), None, true, false, true, AsItWas, lost("Novelty")),
            (
                novelty(),
                None,
                true,
                true,
                true,
                Provision,
                lost("Novelty"),
            ),
            (novelty(), None, true, true, false, Provision, None),
        ] {
            let record = record.map(|(location, id)| self::record(location, id));
            let locations = if reads {
                vec!["here".to_owned()]
            } else {
                vec![]
            };
            let told = format!("{method:?} {record:?} {reads} {delete} {wants}");
            let native = method == Some(Method::Native);
            let decision = row(method, record.as_ref(), &locations, delete, wants);
            assert_eq!(decision, Decision { fate, loss, native }, "{told}");
        }
    }

    #[test]
    fn a_loss_names_the_method() {
        for (loss, expected) in [
            (
                Loss::Method("CSISnapshot".into()),
                "by CSISnapshot, which this version cannot restore",
            ),
            (
                Loss::Location("east".into()),
                "by NativeSnapshot in location \"east\"",
            ),
            (Loss::Failed, "by NativeSnapshot, and the snapshot failed"),
            (
                Loss::NoRecord,
                "by NativeSnapshot, and the backup has no record",
            ),
        ] {
            let text = loss.to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
