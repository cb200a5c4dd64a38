//! Fields of a backup that ask for something this engine does not do.

use velero_core::api::Backup;

use crate::RequestInputs;

/// Names each field that asks for more than manifests. A field that is unset, empty, `false` or zero asks for nothing.
///
/// `csiSnapshotTimeout` and `itemOperationTimeout` only bound what other fields ask for; the command line always sends them.
pub(crate) fn refused(backup: &Backup, inputs: &RequestInputs) -> Vec<String> {
    let (snapshots, copies) = (!inputs.volume_snapshots, !inputs.pod_volumes);
    let spec = &backup.spec;
    let on = |field: Option<bool>| field == Some(true);
    // Those of a backup that has begun were chosen for it when it was prepared, where a user's own were refused.
    let has_begun = backup.status.start_timestamp.is_some();
    let fields = [
        (
            "snapshotVolumes",
            snapshots && on(spec.snapshot_volumes),
            "volume snapshots",
        ),
        (
            "volumeSnapshotLocations",
            snapshots
                && !has_begun
                && spec.snapshot_volumes != Some(false)
                && !spec.volume_snapshot_locations.is_empty(),
            "volume snapshots",
        ),
        (
            "snapshotMoveData",
            on(spec.snapshot_move_data),
            "moving snapshot data",
        ),
        (
            "defaultVolumesToFsBackup",
            copies && on(spec.default_volumes_to_fs_backup),
            "file system backup",
        ),
        (
            "defaultVolumesToRestic",
            copies && on(spec.default_volumes_to_restic),
            "file system backup",
        ),
        ("datamover", !spec.data_mover.is_empty(), "data movers"),
        (
            "uploaderConfig",
            copies
                && spec
                    .uploader_config
                    .as_ref()
                    .is_some_and(|c| c.parallel_files_upload != 0),
            "uploader settings",
        ),
    ];
    fields
        .into_iter()
        .filter(|(_, asks, _)| *asks)
        .map(|(field, _, what)| {
            format!(
                "spec.{field}: {what} cannot be backed up by this version; leave the field unset"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_asks_is_refused_by_name() {
        let hooks = json!({"resources": [{"name": "h", "pre": [{"exec": {"command": ["a"]}}]}]});
        for (spec, field) in [
            (json!({"hooks": hooks}), None),
            (json!({"orderedResources": {"pods": "a/b"}}), None),
            (
                json!({"resourcePolicy": {"kind": "configmap", "name": "p"}}),
                None,
            ),
            (json!({"snapshotVolumes": true}), Some("snapshotVolumes")),
            (
                json!({"volumeSnapshotLocations": ["aws"]}),
                Some("volumeSnapshotLocations"),
            ),
            // Where no snapshot is wanted, a location says nothing but which one is not used.
            (
                json!({"volumeSnapshotLocations": ["aws"], "snapshotVolumes": false}),
                None,
            ),
            (json!({"snapshotMoveData": true}), Some("snapshotMoveData")),
            (
                json!({"defaultVolumesToFsBackup": true}),
                Some("defaultVolumesToFsBackup"),
            ),
            (
                json!({"defaultVolumesToRestic": true}),
                Some("defaultVolumesToRestic"),
            ),
            (json!({"datamover": "velero"}), Some("datamover")),
            (
                json!({"uploaderConfig": {"parallelFilesUpload": 4}}),
                Some("uploaderConfig"),
            ),
            (
                json!({"snapshotVolumes": false, "snapshotMoveData": false, "defaultVolumesToFsBackup": false}),
                None,
            ),
            (
                json!({"hooks": {}, "orderedResources": {}, "datamover": "", "uploaderConfig": {}}),
                None,
            ),
            (
                json!({"csiSnapshotTimeout": "10m0s", "itemOperationTimeout": "4h0m0s", "ttl": "1h0m0s"}),
                None,
            ),
        ] {
            let backup: Backup =
                serde_json::from_value(json!({"metadata": {"name": "b"}, "spec": spec})).unwrap();
            let refused = refused(&backup, &RequestInputs::default());
            match field {
                None => assert!(refused.is_empty(), "{refused:?}"),
                Some(field) => assert!(
                    refused.len() == 1 && refused[0].starts_with(&format!("spec.{field}:")),
                    "{refused:?}"
                ),
            }
        }
    }

    #[test]
    fn snapshot_locations_that_were_chosen_ask_for_nothing() {
        for (status, count) in [
            (json!({}), 1),
            (json!({"startTimestamp": "2026-01-01T00:00:00Z"}), 0),
        ] {
            let backup: Backup = serde_json::from_value(
                json!({"spec": {"volumeSnapshotLocations": ["aws"]}, "status": status}),
            )
            .unwrap();
            assert_eq!(refused(&backup, &RequestInputs::default()).len(), count);
        }
    }

    #[test]
    fn what_was_plugged_in_is_not_refused() {
        let spec = json!({"snapshotVolumes": true, "volumeSnapshotLocations": ["aws"], "defaultVolumesToFsBackup": true,
            "defaultVolumesToRestic": true, "uploaderConfig": {"parallelFilesUpload": 4}});
        let backup: Backup =
            serde_json::from_value(json!({"metadata": {"name": "b"}, "spec": spec})).unwrap();
        for (volume_snapshots, pod_volumes, count) in [
            (false, false, 5),
            (true, false, 3),
            (false, true, 2),
            (true, true, 0),
        ] {
            let inputs = RequestInputs {
                volume_snapshots,
                pod_volumes,
                ..RequestInputs::default()
            };
            assert_eq!(refused(&backup, &inputs).len(), count);
        }
    }
}
