//! The documents that lie beside an archive in a bucket, and the final status of a backup.
//!
//! Pure functions of a [`Backup`] and a [`BackupResult`], for an operator as well as for backups without one.

mod volume_infos;

use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde::Serialize;
use velero_core::api::{Backup, BackupPhase, BackupProgress, BackupStatus};
use velero_core::archive::FORMAT_VERSION;
use velero_core::artifact::{BackupItemOperation, OperationPhase};
use velero_core::result::{Record, ResourceList, ResultsFile, Severity, count};
use velero_core::volume::{NativeSnapshot, SnapshotPhase};
use velero_core::{GroupResource, Timestamp};

use crate::prepare::whole_seconds;
use crate::{BackupResult, OperationCounts};

pub use volume_infos::{end_volume_infos, volume_infos, without_data};

/// One document beside an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What follows the backup's name in the document's: `-results.gz`.
    pub suffix: &'static str,
    /// The content, compressed.
    pub bytes: Vec<u8>,
}

/// What follows the backup's name in the archive's.
pub const ARCHIVE_SUFFIX: &str = ".tar.gz";

/// What follows the backup's name in the log's.
pub const LOG_SUFFIX: &str = "-logs.gz";

/// The name of the document that holds the [`Backup`] itself.
pub const METADATA_NAME: &str = "velero-backup.json";

/// Makes the documents that lie beside an archive: results, resource list, volume information, item operations, and the
/// lists of volume backups and snapshots.
///
/// The log, the archive and `velero-backup.json` are not among them.
pub fn artifacts(result: &BackupResult) -> Vec<Artifact> {
    vec![
        artifact(
            "-podvolumebackups.json.gz",
            &or_null(&result.pod_volume_backups),
        ),
        artifact(
            "-volumesnapshots.json.gz",
            &or_null(&result.native_snapshots),
        ),
        item_operations(&result.item_operations),
        resource_list(&result.resource_list),
        results(&ResultsFile::from_records(&result.records)),
        volume_infos(&result.volume_infos),
    ]
}

/// A list without entries is written as `null`.
fn or_null<T>(list: &[T]) -> Option<&[T]> {
    (!list.is_empty()).then_some(list)
}

fn artifact<T: Serialize>(suffix: &'static str, content: &T) -> Artifact {
    Artifact {
        suffix,
        bytes: compressed(content),
    }
}

/// JSON with Go's escapes and a newline at its end, compressed without name and time.
fn compressed<T: Serialize>(content: &T) -> Vec<u8> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::default());
    // A vector takes every byte, and these types have text for keys only.
    let written = serde_json::to_writer(EscapeHtml(&mut gzip), content)
        .map_err(std::io::Error::from)
        .and_then(|()| gzip.write_all(b"\n"));
    debug_assert!(written.is_ok());
    gzip.finish().unwrap_or_default()
}

/// Writes `<`, `>` and `&` as Go does. They are found in JSON inside of strings only.
struct EscapeHtml<W>(W);

impl<W: std::io::Write> std::io::Write for EscapeHtml<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| matches!(b, b'<' | b'>' | b'&')) {
            self.0.write_all(&rest[..at])?;
            write!(self.0, "\\u{:04x}", rest[at])?;
            rest = &rest[at + 1..];
        }
        self.0.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The status of a backup whose items and documents are stored.
///
/// Starts from the backup's present status, so that `expiration` and what else was set before the run stay. When actions
/// have left operations running, the phase is one of those that wait for them, and there is no completion yet.
pub fn final_status(backup: &Backup, result: &BackupResult) -> BackupStatus {
    let mut status = running_status(backup, result.started);
    status.warnings = whole(result.warnings() as u64);
    status.errors = whole(result.errors() as u64);
    status.progress = Some(BackupProgress {
        total_items: whole(result.total),
        items_backed_up: whole(result.backed_up),
    });
    let taken =
        |snapshot: &&NativeSnapshot| snapshot.status.phase == Some(SnapshotPhase::Completed);
    status.volume_snapshots_attempted = whole(result.native_snapshots.len() as u64);
    status.volume_snapshots_completed =
        whole(result.native_snapshots.iter().filter(taken).count() as u64);
    status.hook_status = Some(result.hook_status.clone());
    count_operations(&mut status, &result.item_operations);
    if result.item_operations.is_empty() {
        end(&mut status, result.completed);
    } else {
        status.phase = Some(waiting_phase(&status));
    }
    status
}

/// The status of a backup that waits for operations, after a look at them that has brought new records.
///
/// When all have ended the phase is `Finalizing` or `FinalizingPartiallyFailed`.
pub fn waiting_status(
    backup: &Backup,
    operations: &[BackupItemOperation],
    records: &[Record],
) -> BackupStatus {
    let mut status = backup.status.clone();
    add_records(&mut status, records);
    count_operations(&mut status, operations);
    let ended = OperationCounts::of(operations).all_ended();
    status.phase = Some(match (ended, is_partial(&status)) {
        (false, _) => waiting_phase(&status),
        (true, false) => BackupPhase::Finalizing,
        (true, true) => BackupPhase::FinalizingPartiallyFailed,
    });
    status
}

/// The status of a backup whose operations have ended and whose items are stored once more, the end of all work.
pub fn finalized_status(
    backup: &Backup,
    operations: &[BackupItemOperation],
    records: &[Record],
    completed: Timestamp,
) -> BackupStatus {
    let mut status = backup.status.clone();
    add_records(&mut status, records);
    count_operations(&mut status, operations);
    let snapshots = GroupResource::new("snapshot.storage.k8s.io", "volumesnapshots");
    let taken = operations.iter().filter(|operation| {
        operation.status.phase == OperationPhase::Completed
            && operation.spec.resource_identifier.group_resource == snapshots
    });
    status.csi_volume_snapshots_completed = whole(taken.count() as u64);
    end(&mut status, completed);
    status
}

fn end(status: &mut BackupStatus, completed: Timestamp) {
    status.phase = Some(if is_partial(status) {
        BackupPhase::PartiallyFailed
    } else {
        BackupPhase::Completed
    });
    status.completion_timestamp = Some(whole_seconds(completed));
}

fn waiting_phase(status: &BackupStatus) -> BackupPhase {
    if is_partial(status) {
        BackupPhase::WaitingForPluginOperationsPartiallyFailed
    } else {
        BackupPhase::WaitingForPluginOperations
    }
}

/// Whether something has failed. The phase counts as well: other writers do not count all errors.
fn is_partial(status: &BackupStatus) -> bool {
    status.errors > 0
        || matches!(
            status.phase,
            Some(
                BackupPhase::WaitingForPluginOperationsPartiallyFailed
                    | BackupPhase::FinalizingPartiallyFailed
            )
        )
        || status.backup_item_operations_failed > 0
}

fn add_records(status: &mut BackupStatus, records: &[Record]) {
    status.errors += whole(count(records, Severity::Error) as u64);
    status.warnings += whole(count(records, Severity::Warning) as u64);
}

fn count_operations(status: &mut BackupStatus, operations: &[BackupItemOperation]) {
    let counts = OperationCounts::of(operations);
    status.backup_item_operations_attempted = whole(counts.attempted);
    status.backup_item_operations_completed = whole(counts.completed);
    status.backup_item_operations_failed = whole(counts.failed);
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The status of a backup that did not come about: its reason, and when that was clear.
pub fn failed_status(
    backup: &Backup,
    error: &crate::Error,
    started: Timestamp,
    ended: Timestamp,
) -> BackupStatus {
    match error {
        crate::Error::Invalid { faults } => {
            let mut status = running_status(backup, started);
            status.phase = Some(BackupPhase::FailedValidation);
            status.validation_errors = faults.clone();
            (status.start_timestamp, status.completion_timestamp) = (None, None);
            status
        }
        other => {
            let reason = velero_core::result::chain(other);
            let record = Record::run(Severity::Error, &reason);
            failed_status_for(backup, reason, &[record], started, ended)
        }
    }
}

/// As [`failed_status`], with a reason in words, which stands in `failureReason`, and all that the run has noted.
pub fn failed_status_for(
    backup: &Backup,
    reason: impl Into<String>,
    records: &[Record],
    started: Timestamp,
    ended: Timestamp,
) -> BackupStatus {
    let mut status = running_status(backup, started);
    status.completion_timestamp = Some(whole_seconds(ended));
    status.phase = Some(BackupPhase::Failed);
    status.failure_reason = reason.into();
    add_records(&mut status, records);
    status
}

/// The results document of a backup: `<backup>-results.gz`, compressed.
pub fn results(file: &ResultsFile) -> Artifact {
    artifact("-results.gz", file)
}

/// The document of a backup's operations, compressed.
pub fn item_operations(operations: &[BackupItemOperation]) -> Artifact {
    artifact("-itemoperations.json.gz", &operations)
}

/// The document that lists the items of a backup, compressed.
pub fn resource_list(list: &ResourceList) -> Artifact {
    artifact("-resource-list.json.gz", list)
}

/// The status of a backup that has begun.
pub fn running_status(backup: &Backup, started: Timestamp) -> BackupStatus {
    let mut status = backup.status.clone();
    status.version = 1;
    status.format_version = FORMAT_VERSION.to_owned();
    status.phase = Some(BackupPhase::InProgress);
    status.start_timestamp = Some(whole_seconds(started));
    if status.expiration.is_none() && !backup.spec.ttl.is_zero() {
        status.expiration = started
            .checked_add(backup.spec.ttl.to_std())
            .ok()
            .map(whole_seconds);
    }
    status
}

/// The content of `velero-backup.json` for a backup that has no custom resource: as the peer lays it out, with an
/// indentation of two spaces.
pub fn metadata_json(backup: &Backup) -> Vec<u8> {
    let value = serde_json::to_value(backup).unwrap_or_default();
    velero_core::to_go_json_pretty(&value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn result(records: Vec<Record>) -> BackupResult {
        let mut resource_list = ResourceList::default();
        resource_list.add("v1/Pod", "a/b");
        BackupResult {
            total: 1,
            backed_up: 1,
            records,
            resource_list,
            volume_infos: Vec::new(),
            native_snapshots: Vec::new(),
            pod_volume_backups: Vec::new(),
            item_operations: Vec::new(),
            hook_status: Default::default(),
            coverage: Default::default(),
            archive_bytes: 9,
            started: "2026-11-22T05:49:12.5Z".parse().unwrap(),
            completed: "2026-11-22T05:49:13.9Z".parse().unwrap(),
        }
    }

    fn text(artifact: &Artifact) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(artifact.bytes.as_slice())
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn documents_are_those_of_the_peer() {
        let all = artifacts(&result(vec![Record::run(Severity::Error, "a < b & c")]));
        let seen: Vec<(&str, String)> = all.iter().map(|a| (a.suffix, text(a))).collect();
        assert_eq!(
            seen,
            [
                ("-podvolumebackups.json.gz", "null\n".to_owned()),
                ("-volumesnapshots.json.gz", "null\n".to_owned()),
                ("-itemoperations.json.gz", "[]\n".to_owned()),
                ("-resource-list.json.gz", "{\"v1/Pod\":[\"a/b\"]}\n".to_owned()),
                ("-results.gz", "{\"errors\":{\"velero\":[\" error: /a \\u003c b \\u0026 c\"]},\"warnings\":{}}\n".to_owned()),
                ("-volumeinfo.json.gz", "[]\n".to_owned()),
            ]
        );
        assert_eq!(
            artifacts(&result(Vec::new())),
            artifacts(&result(Vec::new()))
        );
    }

    #[test]
    fn phases_follow_the_records() {
        let backup = Backup::default();
        for (records, phase) in [
            (vec![], BackupPhase::Completed),
            (
                vec![Record::run(Severity::Warning, "w")],
                BackupPhase::Completed,
            ),
            (
                vec![Record::run(Severity::Error, "e")],
                BackupPhase::PartiallyFailed,
            ),
        ] {
            let status = final_status(&backup, &result(records));
            assert_eq!(status.phase, Some(phase));
        }
        let json = serde_json::to_value(final_status(&backup, &result(Vec::new()))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"version": 1, "formatVersion": "1.1.0", "phase": "Completed", "startTimestamp": "2026-11-22T05:49:12Z",
                "completionTimestamp": "2026-11-22T05:49:13Z", "progress": {"totalItems": 1, "itemsBackedUp": 1}, "hookStatus": {}})
        );
    }

    #[test]
    fn backups_that_did_not_come_about() {
        let times: [Timestamp; 2] =
            ["2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"].map(|t| t.parse().unwrap());
        let invalid = crate::Error::Invalid {
            faults: vec!["x".into()],
        };
        let status = failed_status(&Backup::default(), &invalid, times[0], times[1]);
        assert_eq!(
            (status.phase, status.validation_errors),
            (Some(BackupPhase::FailedValidation), vec!["x".to_owned()])
        );
        let status = failed_status(
            &Backup::default(),
            &crate::Error::Cancelled,
            times[0],
            times[1],
        );
        assert_eq!(
            (status.phase, status.failure_reason.as_str()),
            (Some(BackupPhase::Failed), "the backup was cancelled")
        );
    }
}
