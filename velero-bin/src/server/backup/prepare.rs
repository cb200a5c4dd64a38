//! From the spec that a user wrote to the one that is run, without IO.

use jiff::Timestamp;
use velero_backup::{LiveNamespaces, PrepareDefaults};
use velero_cluster::ServerVersion;
use velero_core::GoDuration;
use velero_core::api::{Backup, BackupPhase, BackupSpec, BackupStorageLocation};

use crate::server::context::stamp;
use crate::server::location::default_location;
use crate::server::settings::Settings;

/// What the cluster says at the time of preparation.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) locations: Vec<BackupStorageLocation>,
    /// The volume snapshot locations that the backup is to use, or what is wrong about them.
    pub(super) snapshot_locations: Result<Vec<String>, Vec<String>>,
    /// The namespaces, or why they may not be listed.
    pub(super) namespaces: Result<LiveNamespaces, String>,
    pub(super) server_version: ServerVersion,
}

/// Checks a backup against what there is and fills in what its spec leaves open.
///
/// Gives it `InProgress`, or `FailedValidation` with all that is wrong. `spec_faults` are those of the spec by itself.
pub(super) fn check(
    backup: &Backup,
    around: &Surroundings,
    spec_faults: Vec<String>,
    settings: &Settings,
    now: Timestamp,
) -> Backup {
    let mut checked = backup.clone();
    let mut errors = Vec::new();
    if checked.spec.storage_location.is_empty() {
        let default = default_location(&around.locations, &settings.default_location);
        checked.spec.storage_location = default
            .and_then(|location| location.metadata.name.clone())
            .unwrap_or_default();
    }
    errors.extend(location_fault(
        &backup.spec,
        &checked.spec.storage_location,
        around,
        settings,
    ));
    match &around.snapshot_locations {
        Ok(chosen) => checked.spec.volume_snapshot_locations.clone_from(chosen),
        Err(faults) => errors.extend(faults.iter().cloned()),
    }
    let live = match &around.namespaces {
        Ok(live) => live.heads(),
        Err(error) => {
            errors.push(format!("the namespaces cannot be listed: {error}"));
            &[]
        }
    };
    velero_backup::prepare(
        &mut checked,
        live,
        &around.server_version,
        now,
        &defaults(settings),
    );
    errors.extend(spec_faults);
    if errors.is_empty() {
        checked.status.phase = Some(BackupPhase::InProgress);
        checked.status.start_timestamp = stamp(now);
    } else {
        checked.status.phase = Some(BackupPhase::FailedValidation);
        checked.status.validation_errors = errors;
    }
    checked
}

fn defaults(settings: &Settings) -> PrepareDefaults {
    let mut defaults = PrepareDefaults::default();
    defaults.ttl = settings.default_backup_ttl;
    defaults.item_operation_timeout = settings.default_item_operation_timeout;
    defaults
        .volume_group_label
        .clone_from(&settings.volume_group_label);
    defaults.resource_timeout =
        GoDuration::try_from(settings.resource_timeout).unwrap_or(GoDuration::MAX);
    defaults
        .storage_location
        .clone_from(&settings.default_location);
    defaults
}

fn location_fault(
    asked: &BackupSpec,
    name: &str,
    around: &Surroundings,
    settings: &Settings,
) -> Option<String> {
    let found = around
        .locations
        .iter()
        .find(|location| location.metadata.name.as_deref() == Some(name));
    let Some(location) = found.filter(|_| !name.is_empty()) else {
        return Some(if asked.storage_location.is_empty() {
            format!(
                "an existing backup storage location was not specified, and the server default {:?} does not exist",
                settings.default_location
            )
        } else {
            format!(
                "backup storage location {name:?} does not exist; name one of those in this namespace"
            )
        });
    };
    if location.is_read_only() {
        return Some(format!(
            "backup cannot be created because backup storage location {name:?} is in read-only mode"
        ));
    }
    if !location.is_available() {
        let phase = location
            .status
            .phase
            .as_ref()
            .map_or("not checked yet", |phase| phase.as_str());
        return Some(format!(
            "backup cannot be created because backup storage location {name:?} is {phase}"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use velero_core::ItemHead;
    use velero_core::api::{
        BackupStorageLocationAccessMode, BackupStorageLocationPhase, BackupStorageLocationSpec,
    };

    use super::*;

    fn location(name: &str) -> BackupStorageLocation {
        let mut location =
            BackupStorageLocation::new("velero", name, BackupStorageLocationSpec::default());
        location.status.phase = Some(BackupStorageLocationPhase::Available);
        location
    }

    fn around() -> Surroundings {
        let mut server_version = ServerVersion::default();
        server_version.git_version = "v1.36.3".into();
        server_version.major = "1".into();
        server_version.minor = "36".into();
        Surroundings {
            locations: vec![location("default"), location("other")],
            snapshot_locations: Ok(Vec::new()),
            namespaces: Ok(LiveNamespaces::default()),
            server_version,
        }
    }

    fn now() -> Timestamp {
        "2026-11-22T05:49:12Z".parse().unwrap()
    }

    /// The spec, labels and annotations that the peer wrote for a backup without any flag.
    #[test]
    fn an_empty_spec_becomes_what_the_peer_writes() {
        let spec = BackupSpec {
            included_namespaces: vec!["*".into()],
            ..Default::default()
        };
        let backup = Backup::new("velero", "demo-full", spec);
        let done = check(&backup, &around(), Vec::new(), &Settings::default(), now());
        let value = serde_json::to_value(&done).unwrap();
        assert_eq!(
            value,
            json!({
                "kind": "Backup", "apiVersion": "velero.io/v1",
                "metadata": {
                    "name": "demo-full", "namespace": "velero",
                    "labels": {"velero.io/storage-location": "default"},
                    "annotations": {
                        "velero.io/resource-timeout": "10m0s",
                        "velero.io/source-cluster-k8s-gitversion": "v1.36.3",
                        "velero.io/source-cluster-k8s-major-version": "1",
                        "velero.io/source-cluster-k8s-minor-version": "36",
                    },
                },
                "spec": {
                    "metadata": {},
                    "includedNamespaces": ["*"],
                    "excludedClusterScopedResources": ["volumesnapshotcontents.snapshot.storage.k8s.io"],
                    "excludedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io"],
                    "ttl": "720h0m0s",
                    "volumeGroupSnapshotLabelKey": "velero.io/volume-group",
                    "hooks": {},
                    "storageLocation": "default",
                    "defaultVolumesToFsBackup": false,
                    "csiSnapshotTimeout": "10m0s",
                    "itemOperationTimeout": "4h0m0s",
                    "snapshotMoveData": false,
                },
                "status": {
                    "version": 1, "formatVersion": "1.1.0",
                    "expiration": "2026-12-22T05:49:12Z",
                    "phase": "InProgress",
                    "startTimestamp": "2026-11-22T05:49:12Z",
                },
            })
        );
    }

    #[test]
    fn locations_are_checked() {
        let mut world = around();
        let mut marked = location("marked");
        marked.spec.default = true;
        world.locations.push(marked);
        let mut read_only = location("ro");
        read_only.spec.access_mode = Some(BackupStorageLocationAccessMode::ReadOnly);
        world.locations.push(read_only);
        let mut down = location("down");
        down.status.phase = Some(BackupStorageLocationPhase::Unavailable);
        world.locations.push(down);
        let mut unchecked = location("unchecked");
        unchecked.status.phase = None;
        world.locations.push(unchecked);
        for (asked, expected) in [
            ("", Ok("marked")),
            ("other", Ok("other")),
            ("none", Err("\"none\" does not exist")),
            ("ro", Err("read-only")),
            ("down", Err("is Unavailable")),
            ("unchecked", Err("is not checked yet")),
        ] {
            let spec = BackupSpec {
                storage_location: asked.into(),
                ..Default::default()
            };
            let done = check(
                &Backup::new("velero", "b", spec),
                &world,
                Vec::new(),
                &Settings::default(),
                now(),
            );
            let errors = done.status.validation_errors;
            match expected {
                Ok(name) => assert_eq!(
                    (done.spec.storage_location.as_str(), errors),
                    (name, vec![])
                ),
                Err(part) => assert!(
                    errors.len() == 1 && errors[0].contains(part),
                    "{errors:?} {part}"
                ),
            }
        }
        let nowhere = Surroundings {
            locations: Vec::new(),
            ..around()
        };
        let done = check(
            &Backup::default(),
            &nowhere,
            Vec::new(),
            &Settings::default(),
            now(),
        );
        let errors = done.status.validation_errors;
        assert!(
            errors[0].contains("server default \"default\" does not exist"),
            "{errors:?}"
        );
    }

    #[test]
    fn faults_and_flags() {
        let spec = BackupSpec {
            ttl: GoDuration::from_hours(1),
            ..Default::default()
        };
        let backup = Backup::new("velero", "b", spec);
        let mut world = around();
        let mut hidden = ItemHead {
            name: "hidden".into(),
            ..ItemHead::default()
        };
        hidden.labels.insert(
            velero_core::names::labels::EXCLUDE_FROM_BACKUP.into(),
            "true".into(),
        );
        world.namespaces = Ok(vec![hidden].into());
        let done = check(&backup, &world, Vec::new(), &Settings::default(), now());
        assert_eq!(done.status.validation_errors, Vec::<String>::new());
        assert_eq!(done.spec.excluded_namespaces, ["hidden"]);
        assert_eq!(
            done.status.expiration,
            stamp("2026-11-22T06:49:12Z".parse().unwrap())
        );

        world.namespaces = Err("denied".into());
        let done = check(
            &backup,
            &world,
            vec!["bad filter".into()],
            &Settings::default(),
            now(),
        );
        assert_eq!(*done.phase(), BackupPhase::FailedValidation);
        assert_eq!(done.status.start_timestamp, None);
        assert_eq!(done.status.validation_errors.len(), 2);
        assert!(done.status.validation_errors[0].contains("denied"));
    }
}
