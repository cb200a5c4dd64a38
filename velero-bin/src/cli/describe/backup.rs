//! A backup at length.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use velero_backup::KindCoverage;
use velero_core::api::{Backup, BackupPhase, BackupSpec, DeleteBackupRequest, DownloadTargetKind};
use velero_core::artifact::{BackupItemOperation, VolumeInfo};
use velero_core::result::ResultsFile;

use super::hooks::hooks;
use super::operations::operations;
use super::text::{Colors, Text, choice, join, selector, selectors, time};
use crate::cli::ages;
use crate::cli::download::Downloader;
use crate::coverage;

/// How long one file may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kinds and the names of their objects.
pub(super) type NamesByKind = BTreeMap<String, Vec<String>>;

/// A file of the store: there, absent, or why it cannot be read.
pub(super) type File<T> = Result<Option<T>, String>;

/// What `describe` shows from the store; `None` where it is not needed.
#[derive(Debug, Default)]
pub(in crate::cli) struct BackupFiles {
    pub(super) results: Option<File<ResultsFile>>,
    pub(super) resources: Option<File<NamesByKind>>,
    pub(super) operations: Option<File<Vec<BackupItemOperation>>>,
    pub(super) coverage: Option<File<Vec<KindCoverage>>>,
    pub(super) volumes: Option<File<Vec<VolumeInfo>>>,
    pub(super) deletions: Vec<DeleteBackupRequest>,
}

/// Fetches the files of a backup that has ended, all at the same time.
pub(in crate::cli) async fn fetch_backup_files(
    downloads: &Downloader,
    backup: &Backup,
    details: bool,
    deletions: Vec<DeleteBackupRequest>,
) -> BackupFiles {
    let mut files = BackupFiles {
        deletions,
        ..BackupFiles::default()
    };
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let faults = backup.status.warnings > 0 || backup.status.errors > 0;
    match backup.phase() {
        BackupPhase::Completed
        | BackupPhase::PartiallyFailed
        | BackupPhase::WaitingForPluginOperations
        | BackupPhase::WaitingForPluginOperationsPartiallyFailed
        | BackupPhase::Finalizing
        | BackupPhase::FinalizingPartiallyFailed => {}
        BackupPhase::Failed => {
            let results = fetch(downloads, DownloadTargetKind::BackupResults, name);
            files.results = when(faults, results).await;
            return files;
        }
        _ => return files,
    }
    let operated = backup.status.backup_item_operations_attempted > 0;
    let (results, resources, operations, coverage, volumes) = tokio::join!(
        when(
            faults,
            fetch(downloads, DownloadTargetKind::BackupResults, name)
        ),
        when(
            details,
            fetch(downloads, DownloadTargetKind::BackupResourceList, name)
        ),
        when(
            details && operated,
            fetch::<Option<Vec<BackupItemOperation>>>(
                downloads,
                DownloadTargetKind::BackupItemOperations,
                name
            )
        ),
        when(details, fetch_coverage(downloads, name)),
        when(
            true,
            fetch::<Option<Vec<VolumeInfo>>>(
                downloads,
                DownloadTargetKind::BackupVolumeInfos,
                name
            )
        ),
    );
    (files.results, files.resources, files.coverage) = (results, resources, coverage);
    files.operations = operations.map(|file| file.map(Option::flatten));
    files.volumes = volumes.map(|file| file.map(|list| list.map(Option::unwrap_or_default)));
    files
}

pub(super) async fn when<T>(wanted: bool, file: impl Future<Output = T>) -> Option<T> {
    if wanted { Some(file.await) } else { None }
}

pub(super) async fn fetch<T: DeserializeOwned>(
    downloads: &Downloader,
    kind: DownloadTargetKind,
    name: &str,
) -> File<T> {
    let bytes = downloads
        .fetch(kind, name, PATIENCE)
        .await
        .map_err(|error| format!("{error:#}"))?;
    let Some(bytes) = bytes else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| format!("the file is damaged: {error}"))
}

/// Reads what became of each kind out of the log; a log of the peer says nothing about it.
async fn fetch_coverage(downloads: &Downloader, name: &str) -> File<Vec<KindCoverage>> {
    let log = downloads
        .fetch(DownloadTargetKind::BackupLog, name, PATIENCE)
        .await
        .map_err(|error| format!("{error:#}"))?;
    Ok(log
        .map(|log| coverage::from_log(&String::from_utf8_lossy(&log)))
        .filter(|kinds| !kinds.is_empty()))
}

/// The text about one backup.
pub(in crate::cli) fn describe_backup(
    backup: &Backup,
    files: BackupFiles,
    colors: Colors,
) -> String {
    let mut text = Text::default();
    text.metadata(&backup.metadata, colors);
    text.gap();
    phase(&mut text, backup, colors);
    references(&mut text, &backup.spec);
    text.validation(&backup.status.validation_errors, colors);
    faults(&mut text, backup, files.results);
    text.gap();
    spec(&mut text, &backup.spec);
    text.gap();
    status(&mut text, backup);
    operations(&mut text, &backup.status, files.operations);
    if let Some(resources) = files.resources {
        text.resource_list(resources);
    }
    kinds(&mut text, files.coverage);
    if let Some(volumes) = files.volumes {
        text.gap();
        volume_lines(&mut text, volumes);
    }
    if let Some(hooks) = &backup.status.hook_status {
        text.gap();
        text.row([&"HooksAttempted:", &hooks.hooks_attempted]);
        text.row([&"HooksFailed:", &hooks.hooks_failed]);
    }
    deletions(&mut text, &files.deletions);
    text.render()
}

fn kinds(text: &mut Text, coverage: Option<File<Vec<KindCoverage>>>) {
    match coverage {
        None | Some(Ok(None)) => {}
        Some(Err(error)) => {
            text.gap();
            text.row([&"Coverage:", &format!("<error getting coverage: {error}>")]);
        }
        Some(Ok(Some(kinds))) => {
            text.gap();
            text.row([&"Coverage:"]);
            for line in coverage::lines(&kinds) {
                text.row([&"", &line]);
            }
        }
    }
}

fn phase(text: &mut Text, backup: &Backup, colors: Colors) {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let phase = backup.phase();
    let hint = match phase {
        BackupPhase::Failed | BackupPhase::PartiallyFailed => {
            format!(" (run `velero backup logs {name}` for more information)")
        }
        _ => String::new(),
    };
    text.row([
        &"Phase:",
        &format!("{}{hint}", colors.phase(phase.as_str())),
    ]);
    if *phase == BackupPhase::Queued {
        text.row([&"Queue position:", &backup.status.queue_position]);
    }
    if !backup.status.failure_reason.is_empty() {
        text.row([
            &"Failure reason:",
            &colors.red(&backup.status.failure_reason),
        ]);
    }
}

fn faults(text: &mut Text, backup: &Backup, results: Option<File<ResultsFile>>) {
    let (warnings, errors) = (backup.status.warnings, backup.status.errors);
    match results {
        None if warnings == 0 && errors == 0 => {}
        None | Some(Ok(None)) => {
            text.gap();
            text.row([&"Errors:", &errors]);
            text.row([&"Warnings:", &warnings]);
        }
        Some(Err(error)) => {
            text.gap();
            text.row([&"Warnings:", &format!("<error getting warnings: {error}>")]);
            text.row([&"Errors:", &format!("<error getting errors: {error}>")]);
        }
        Some(Ok(Some(results))) => {
            if warnings > 0 {
                text.messages("Warnings:", &results.warnings);
            }
            if errors > 0 {
                text.messages("Errors:", &results.errors);
            }
        }
    }
}

/// What a spec refers to, and how volumes are uploaded, where it says so.
pub(super) fn references(text: &mut Text, spec: &BackupSpec) {
    if let Some(policy) = &spec.resource_policy {
        text.gap();
        let rows = [
            ("Type:", policy.kind.clone()),
            ("Name:", policy.name.clone()),
        ];
        text.lists("Resource policies:", &rows);
    }
    let uploader = spec.uploader_config.as_ref();
    if let Some(uploader) = uploader.filter(|uploader| uploader.parallel_files_upload > 0) {
        text.gap();
        let count = uploader.parallel_files_upload.to_string();
        text.lists("Uploader config:", &[("Parallel files upload:", count)]);
    }
}

/// What goes into a backup.
pub(super) fn spec(text: &mut Text, spec: &BackupSpec) {
    text.lists(
        "Namespaces:",
        &[
            ("Included:", join(&spec.included_namespaces, "*")),
            ("Excluded:", join(&spec.excluded_namespaces, "<none>")),
        ],
    );
    text.gap();
    resources(text, spec);
    text.gap();
    text.row([&"Label selector:", &selector(spec.label_selector.as_ref())]);
    text.gap();
    text.row([&"Or label selector:", &selectors(&spec.or_label_selectors)]);
    text.gap();
    text.row([&"Storage Location:", &spec.storage_location]);
    text.gap();
    data(text, spec);
    text.gap();
    text.row([&"TTL:", &spec.ttl]);
    text.gap();
    text.row([&"CSISnapshotTimeout:", &spec.csi_snapshot_timeout]);
    text.row([&"ItemOperationTimeout:", &spec.item_operation_timeout]);
    text.gap();
    hooks(text, &spec.hooks);
    ordered(text, &spec.ordered_resources);
}

fn resources(text: &mut Text, spec: &BackupSpec) {
    let old = spec.include_cluster_resources.is_some()
        || !spec.included_resources.is_empty()
        || !spec.excluded_resources.is_empty();
    if old {
        text.lists(
            "Resources:",
            &[
                ("Included:", join(&spec.included_resources, "*")),
                ("Excluded:", join(&spec.excluded_resources, "<none>")),
                (
                    "Cluster-scoped:",
                    choice(spec.include_cluster_resources, "included", "excluded"),
                ),
            ],
        );
    } else {
        text.lists(
            "Resources:",
            &[
                (
                    "Included cluster-scoped:",
                    join(&spec.included_cluster_scoped_resources, "<none>"),
                ),
                (
                    "Excluded cluster-scoped:",
                    join(&spec.excluded_cluster_scoped_resources, "<none>"),
                ),
                (
                    "Included namespace-scoped:",
                    join(&spec.included_namespace_scoped_resources, "*"),
                ),
                (
                    "Excluded namespace-scoped:",
                    join(&spec.excluded_namespace_scoped_resources, "<none>"),
                ),
            ],
        );
    }
}

/// What is done about the data of volumes.
fn data(text: &mut Text, spec: &BackupSpec) {
    text.row([
        &"Velero-Native Snapshot PVs:",
        &choice(spec.snapshot_volumes, "true", "false"),
    ]);
    if let Some(files) = spec.default_volumes_to_fs_backup {
        text.row([&"File System Backup (Default):", &files]);
    }
    text.row([
        &"Snapshot Move Data:",
        &choice(spec.snapshot_move_data, "true", "false"),
    ]);
    let mover = if spec.data_mover.is_empty() {
        "velero"
    } else {
        &spec.data_mover
    };
    text.row([&"Data Mover:", &mover]);
}

fn ordered(text: &mut Text, ordered: &BTreeMap<String, String>) {
    if ordered.is_empty() {
        return;
    }
    text.gap();
    text.row([&"OrderedResources:"]);
    for (kind, names) in ordered {
        text.row([&"", &format!("{kind}: {names}")]);
    }
}

fn status(text: &mut Text, backup: &Backup) {
    let status = &backup.status;
    text.row([&"Backup Format Version:", &status.format_version]);
    text.gap();
    text.row([&"Started:", &time(status.start_timestamp.as_ref())]);
    text.row([&"Completed:", &time(status.completion_timestamp.as_ref())]);
    text.gap();
    text.row([
        &"Expiration:",
        &ages::local(status.expiration.as_ref(), "<nil>"),
    ]);
    if let Some(progress) = &status.progress {
        text.gap();
        let (total, done) = if *backup.phase() == BackupPhase::InProgress {
            (
                "Estimated total items to be backed up:",
                "Items backed up so far:",
            )
        } else {
            ("Total items to be backed up:", "Items backed up:")
        };
        text.row([&total, &progress.total_items]);
        text.row([&done, &progress.items_backed_up]);
    }
}

fn volume_lines(text: &mut Text, volumes: File<Vec<VolumeInfo>>) {
    let volumes = match volumes {
        Ok(volumes) => volumes.unwrap_or_default(),
        Err(error) => {
            return text.row([
                &"Backup Volumes:",
                &format!("<error getting volume infos: {error}>"),
            ]);
        }
    };
    text.row([&"Backup Volumes:"]);
    let named = |method: &str, name: fn(&VolumeInfo) -> String| {
        volumes
            .iter()
            .filter(|info| !info.skipped && info.backup_method == method)
            .map(name)
            .collect::<Vec<_>>()
    };
    let claim = |info: &VolumeInfo| format!("{}/{}", info.pvc_namespace, info.pvc_name);
    for (heading, names) in [
        (
            "Velero-Native Snapshots:",
            named("NativeSnapshot", |info| info.pv_name.clone()),
        ),
        ("CSI Snapshots:", named("CSISnapshot", claim)),
        ("Pod Volume Backups:", named("PodVolumeBackup", claim)),
    ] {
        text.row([&"", &heading, &join(&names, "<none included>")]);
    }
    let skipped: Vec<&VolumeInfo> = volumes.iter().filter(|info| info.skipped).collect();
    if !skipped.is_empty() {
        text.row([&"", &"Skipped:"]);
        for info in skipped {
            text.row([
                &"",
                &"",
                &format!("{} ({}):", info.pv_name, claim(info)),
                &info.skipped_reason,
            ]);
        }
    }
}

fn deletions(text: &mut Text, requests: &[DeleteBackupRequest]) {
    if requests.is_empty() {
        return;
    }
    let failed = requests
        .iter()
        .filter(|request| !request.status.errors.is_empty())
        .count();
    let heading = if failed > 0 {
        format!("Deletion Attempts ({failed} failed):")
    } else {
        "Deletion Attempts:".to_owned()
    };
    text.gap();
    text.row([&heading]);
    for request in requests {
        let phase = request
            .status
            .phase
            .as_ref()
            .map_or("New", |phase| phase.as_str());
        let created = time(request.metadata.creation_timestamp.as_ref());
        text.row([&"", &format!("{created}: {phase}")]);
        for (at, error) in request.status.errors.iter().enumerate() {
            text.row([&"", &if at == 0 { "Errors:" } else { "" }, error]);
        }
    }
}
