//! What a controller writes into a backup before it runs.

use velero_cluster::ServerVersion;
use velero_core::api::{Backup, BackupSpec};
use velero_core::archive::FORMAT_VERSION;
use velero_core::filter::{validate_lists, validate_scoped_lists};
use velero_core::names::{annotations, labels, valid_label_name};
use velero_core::{GoDuration, ItemHead, Timestamp};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_core::k8s_openapi;

use crate::request::excluded_label;

/// Values for fields that a backup leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrepareDefaults {
    /// How long backups are kept; 720 h.
    pub ttl: GoDuration,
    /// `csiSnapshotTimeout`; 10 min.
    pub csi_snapshot_timeout: GoDuration,
    /// `itemOperationTimeout`; 4 h.
    pub item_operation_timeout: GoDuration,
    /// The `velero.io/resource-timeout` annotation; 10 min.
    pub resource_timeout: GoDuration,
    /// `volumeGroupSnapshotLabelKey`; `velero.io/volume-group`.
    pub volume_group_label: String,
    /// The storage location when none is named; `default`.
    pub storage_location: String,
}

impl Default for PrepareDefaults {
    fn default() -> Self {
        Self {
            ttl: GoDuration::from_hours(720),
            csi_snapshot_timeout: GoDuration::from_mins(10),
            item_operation_timeout: GoDuration::from_hours(4),
            resource_timeout: GoDuration::from_mins(10),
            volume_group_label: labels::VOLUME_GROUP.to_owned(),
            storage_location: "default".to_owned(),
        }
    }
}

pub(crate) const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
pub(crate) const SNAPSHOT_CONTENTS: &str = "volumesnapshotcontents.snapshot.storage.k8s.io";

/// Fills in what a backup leaves open and marks it with its format and the cluster it is taken from, as the peer does
/// when a backup begins (`prepareBackupRequest` in upstream's `pkg/controller/backup_controller.go`).
///
/// Sets neither phase nor `startTimestamp`. Running it again changes nothing but the expiration.
pub fn prepare(
    backup: &mut Backup,
    live: &[ItemHead],
    server: &ServerVersion,
    now: Timestamp,
    defaults: &PrepareDefaults,
) {
    fill(&mut backup.spec, defaults);
    exclude_snapshots(&mut backup.spec);
    let spec = &mut backup.spec;
    for ns in live.iter().filter(|ns| excluded_label(ns)) {
        if !spec.excluded_namespaces.contains(&ns.name) {
            spec.excluded_namespaces.push(ns.name.clone());
        }
    }
    if spec.included_namespaces.is_empty() {
        spec.included_namespaces.push("*".to_owned());
    }
    mark(backup, server, defaults);
    backup.status.version = 1;
    backup.status.format_version = FORMAT_VERSION.to_owned();
    backup.status.expiration = now
        .checked_add(backup.spec.ttl.to_std())
        .ok()
        .map(whole_seconds);
}

/// Puts defaults where the spec says nothing.
fn fill(spec: &mut BackupSpec, defaults: &PrepareDefaults) {
    spec.ttl = spec.ttl.or(defaults.ttl);
    spec.csi_snapshot_timeout = spec.csi_snapshot_timeout.or(defaults.csi_snapshot_timeout);
    spec.item_operation_timeout = spec
        .item_operation_timeout
        .or(defaults.item_operation_timeout);
    if spec.volume_group_snapshot_label_key.is_empty() {
        spec.volume_group_snapshot_label_key
            .clone_from(&defaults.volume_group_label);
    }
    if spec.storage_location.is_empty() {
        spec.storage_location.clone_from(&defaults.storage_location);
    }
    if spec.default_volumes_to_restic == Some(true) {
        spec.default_volumes_to_fs_backup = Some(true);
    }
    spec.default_volumes_to_fs_backup.get_or_insert(false);
    spec.snapshot_move_data.get_or_insert(false);
}

/// Labels a backup with its location and notes the cluster it is taken from.
fn mark(backup: &mut Backup, server: &ServerVersion, defaults: &PrepareDefaults) {
    let location = valid_label_name(&backup.spec.storage_location);
    backup
        .metadata
        .labels
        .get_or_insert_default()
        .insert(labels::STORAGE_LOCATION.to_owned(), location);
    let notes = backup.metadata.annotations.get_or_insert_default();
    for (key, value) in [
        (
            annotations::SOURCE_CLUSTER_GIT_VERSION,
            server.git_version.clone(),
        ),
        (
            annotations::SOURCE_CLUSTER_MAJOR_VERSION,
            server.major.clone(),
        ),
        (
            annotations::SOURCE_CLUSTER_MINOR_VERSION,
            server.minor.clone(),
        ),
        (
            annotations::RESOURCE_TIMEOUT,
            defaults.resource_timeout.to_string(),
        ),
    ] {
        notes.insert(key.to_owned(), value);
    }
}

/// A time without its fraction, as custom resources hold it.
pub(crate) fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// Leaves the kinds of CSI snapshots to actions. A pair of lists that is at fault stays as it is, as with the peer, and
/// so does an excluded `*`, which holds these kinds and has to stand alone.
fn exclude_snapshots(spec: &mut BackupSpec) {
    let add = |includes: &mut Vec<String>, excludes: &mut Vec<String>, name: &str| {
        includes.retain(|n| n != name);
        if !excludes.iter().any(|n| n == name || n == "*") {
            excludes.push(name.to_owned());
        }
    };
    let old = spec.include_cluster_resources.is_some()
        || !spec.included_resources.is_empty()
        || !spec.excluded_resources.is_empty();
    if old {
        let (includes, excludes) = (&mut spec.included_resources, &mut spec.excluded_resources);
        if validate_lists("", includes, excludes).is_empty() {
            add(includes, excludes, SNAPSHOTS);
            add(includes, excludes, SNAPSHOT_CONTENTS);
        }
        return;
    }
    for (includes, excludes, name) in [
        (
            &mut spec.included_namespace_scoped_resources,
            &mut spec.excluded_namespace_scoped_resources,
            SNAPSHOTS,
        ),
        (
            &mut spec.included_cluster_scoped_resources,
            &mut spec.excluded_cluster_scoped_resources,
            SNAPSHOT_CONTENTS,
        ),
    ] {
        if validate_scoped_lists("", includes, excludes).is_empty() {
            add(includes, excludes, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_open_is_filled_in() {
        let now: Timestamp = "2026-11-22T05:49:12.7Z".parse().unwrap();
        let server = ServerVersion::default();
        let live = [ItemHead {
            name: "hidden".into(),
            labels: [(labels::EXCLUDE_FROM_BACKUP.to_owned(), "true".to_owned())].into(),
            ..ItemHead::default()
        }];
        let mut backup = Backup::default();
        prepare(
            &mut backup,
            &live,
            &server,
            now,
            &PrepareDefaults::default(),
        );
        let again = {
            let mut again = backup.clone();
            prepare(&mut again, &live, &server, now, &PrepareDefaults::default());
            again
        };
        assert_eq!(again, backup);
        let json = serde_json::to_value(&backup).unwrap();
        assert_eq!(json["spec"]["ttl"], "720h0m0s");
        assert_eq!(json["spec"]["includedNamespaces"], serde_json::json!(["*"]));
        assert_eq!(
            json["spec"]["excludedNamespaces"],
            serde_json::json!(["hidden"])
        );
        assert_eq!(
            json["spec"]["excludedClusterScopedResources"],
            serde_json::json!([SNAPSHOT_CONTENTS])
        );
        assert_eq!(json["status"]["expiration"], "2026-12-22T05:49:12Z");
        assert_eq!(
            json["metadata"]["annotations"]["velero.io/resource-timeout"],
            "10m0s"
        );
        assert_eq!(
            json["metadata"]["labels"]["velero.io/storage-location"],
            "default"
        );
    }

    #[test]
    fn an_excluded_star_stands_alone_still() {
        for field in [
            "excludedNamespaceScopedResources",
            "excludedClusterScopedResources",
        ] {
            let mut backup: Backup = serde_json::from_value(
                serde_json::json!({"metadata": {"name": "b"}, "spec": {field: ["*"]}}),
            )
            .unwrap();
            prepare(
                &mut backup,
                &[],
                &ServerVersion::default(),
                Timestamp::UNIX_EPOCH,
                &PrepareDefaults::default(),
            );
            let spec = &backup.spec;
            let faults = [
                validate_scoped_lists(
                    "namespaced",
                    &spec.included_namespace_scoped_resources,
                    &spec.excluded_namespace_scoped_resources,
                ),
                validate_scoped_lists(
                    "cluster",
                    &spec.included_cluster_scoped_resources,
                    &spec.excluded_cluster_scoped_resources,
                ),
            ];
            assert_eq!(faults.concat(), Vec::<String>::new(), "{field}");
        }
    }

    #[test]
    fn lists_that_are_at_fault_stay_as_they_are() {
        for (spec, old, namespaced, cluster) in [
            (serde_json::json!({}), 0, 1, 1),
            (serde_json::json!({"includedResources": ["pods"]}), 2, 0, 0),
            (
                serde_json::json!({"includedResources": ["*", "pods"]}),
                0,
                0,
                0,
            ),
            (
                serde_json::json!({"includedClusterScopedResources": ["*", "pv"]}),
                0,
                1,
                0,
            ),
            (
                serde_json::json!({"includedNamespaceScopedResources": ["pods"], "excludedNamespaceScopedResources": ["pods"]}),
                0,
                1,
                1,
            ),
        ] {
            let mut backup: Backup =
                serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).unwrap();
            prepare(
                &mut backup,
                &[],
                &ServerVersion::default(),
                Timestamp::UNIX_EPOCH,
                &PrepareDefaults::default(),
            );
            let left = &backup.spec;
            assert_eq!(
                (
                    left.excluded_resources.len(),
                    left.excluded_namespace_scoped_resources.len(),
                    left.excluded_cluster_scoped_resources.len()
                ),
                (old, namespaced, cluster),
                "{spec}"
            );
        }
    }
}
