//! A backup at length, as JSON. The keys are the peer's, oddities included; `coverage` is ours.

use serde_json::{Map, Value, json};
use velero_core::api::{Backup, BackupPhase};
use velero_core::artifact::VolumeInfo;
use velero_core::result::{ResultsFile, ScopedMessages};

use super::backup::BackupFiles;
use super::text::{choice, join, selector, time};
use crate::cli::ages;
use crate::coverage;

/// The document about one backup.
pub(in crate::cli) fn backup_json(backup: &Backup, files: BackupFiles) -> Value {
    let meta = &backup.metadata;
    let mut out = json!({
        "metadata": {"name": meta.name, "namespace": meta.namespace, "labels": meta.labels, "annotations": meta.annotations},
        "phase": backup.status.phase.as_ref().map_or("", |phase| phase.as_str()),
        "spec": spec(backup),
    });
    if let Some(policy) = &backup.spec.resource_policy {
        out["resourcePolicies"] = json!({"type": policy.kind, "name": policy.name});
    }
    if !backup.status.validation_errors.is_empty() {
        out["validationErrors"] = json!(backup.status.validation_errors);
    }
    let (warnings, errors) = (backup.status.warnings, backup.status.errors);
    if warnings > 0 || errors > 0 {
        let results = files.results.and_then(Result::ok).flatten();
        let side = |pick: fn(&ResultsFile) -> &ScopedMessages, count: i64| match &results {
            Some(results) => messages(pick(results)),
            None => json!({"count": count}),
        };
        out["warnings"] = side(|results| &results.warnings, warnings);
        out["errors"] = side(|results| &results.errors, errors);
    }
    let mut status = status(backup);
    match files.resources {
        None => {}
        Some(Ok(list)) => drop(status.insert("resourceList".into(), json!(list))),
        Some(Err(error)) => drop(status.insert("errorGettingResourceList".into(), json!(error))),
    }
    if let Some(Ok(Some(infos))) = files.volumes {
        status.insert("backupVolumes".into(), volumes(&infos));
    }
    out["status"] = Value::Object(status);
    match files.coverage {
        None | Some(Ok(None)) => {}
        Some(Ok(Some(kinds))) => out["coverage"] = coverage::json(&kinds),
        Some(Err(error)) => out["errorGettingCoverage"] = json!(error),
    }
    if !files.deletions.is_empty() {
        let failed = files
            .deletions
            .iter()
            .filter(|request| !request.status.errors.is_empty())
            .count();
        let requests: Vec<Value> = files
            .deletions
            .iter()
            .map(|request| {
                json!({"creationTimestamp": time(request.metadata.creation_timestamp.as_ref()),
                "phase": request.status.phase, "errors": request.status.errors})
            })
            .collect();
        out["deletionAttempts"] = json!({"failed": failed, "deleteBackupRequests": requests});
    }
    out
}

fn messages(messages: &ScopedMessages) -> Value {
    if messages.is_empty() {
        return json!({});
    }
    json!({"velero": messages.velero, "cluster": messages.cluster, "namespace": messages.namespaces})
}

fn spec(backup: &Backup) -> Value {
    let spec = &backup.spec;
    let mover = if spec.data_mover.is_empty() {
        "<none>"
    } else {
        &spec.data_mover
    };
    let mut out = json!({
        "namespaces": {"included": join(&spec.included_namespaces, "*"), "excluded": join(&spec.excluded_namespaces, "<none>")},
        "resources": {
            "included": join(&spec.included_resources, "*"),
            "excluded": join(&spec.excluded_resources, "<none>"),
            "clusterScoped": choice(spec.include_cluster_resources, "included", "excluded"),
        },
        "labelSelector": selector(spec.label_selector.as_ref()),
        "storageLocation": spec.storage_location,
        "veleroNativeSnapshotPVs": choice(spec.snapshot_volumes, "true", "false"),
        "veleroSnapshotMoveData": choice(spec.snapshot_move_data, "true", "false"),
        "dataMover": mover,
        "TTL": spec.ttl.to_string(),
        "CSISnapshotTimeout": spec.csi_snapshot_timeout.to_string(),
    });
    if !spec.ordered_resources.is_empty() {
        out["orderedResources"] = json!(spec.ordered_resources);
    }
    out
}

fn status(backup: &Backup) -> Map<String, Value> {
    let status = &backup.status;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    put("backupFormatVersion", json!(status.format_version));
    put("started", json!(time(status.start_timestamp.as_ref())));
    put(
        "completed",
        json!(time(status.completion_timestamp.as_ref())),
    );
    put(
        "expiration",
        json!(ages::local(status.expiration.as_ref(), "<nil>")),
    );
    if let Some(progress) = &status.progress {
        let (total, done) = if *backup.phase() == BackupPhase::InProgress {
            ("estimatedTotalItemsToBeBackedUp", "itemsBackedUpSoFar")
        } else {
            ("totalItemsToBeBackedUp", "itemsBackedUp")
        };
        put(total, json!(progress.total_items));
        put(done, json!(progress.items_backed_up));
    }
    if let Some(hooks) = &status.hook_status {
        put("hooksAttempted", json!(hooks.hooks_attempted));
        put("hooksFailed", json!(hooks.hooks_failed));
    }
    out
}

fn volumes(infos: &[VolumeInfo]) -> Value {
    let none = || json!("<none included>");
    let of = |method: &str, key: fn(&VolumeInfo) -> String| {
        let entries: Map<String, Value> = infos
            .iter()
            .filter(|info| !info.skipped && info.backup_method == method)
            .map(|info| (key(info), json!(info.other)))
            .collect();
        if entries.is_empty() {
            none()
        } else {
            Value::Object(entries)
        }
    };
    let claim = |info: &VolumeInfo| format!("{}/{}", info.pvc_namespace, info.pvc_name);
    json!({
        "nativeSnapshots": of("NativeSnapshot", |info| info.pv_name.clone()),
        "csiSnapshots": of("CSISnapshot", claim),
        "podVolumeBackups": of("PodVolumeBackup", claim),
    })
}
