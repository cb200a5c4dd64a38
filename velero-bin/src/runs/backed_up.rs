//! What a backup says of what it has looked at, for restores that delete what it does not have.

use velero_backup::{KindCoverage, Reading};
use velero_core::api::{Backup, Restore};
use velero_persistence::{BackupFile, BackupStore};
use velero_restore::{BackedUp, ExistingPolicy, KindRead, RestoreRequest};

use super::RunError;
use crate::coverage;

/// Tells a request what its backup has looked at, where that matters: it is in the backup's log, if the backup is one of
/// ours.
///
/// # Errors
/// When the log cannot be read.
pub(super) async fn tell(
    request: RestoreRequest,
    store: &BackupStore,
    backup: &Backup,
    restore: &Restore,
) -> Result<RestoreRequest, RunError> {
    if ExistingPolicy::of(restore) != ExistingPolicy::Mirror {
        return Ok(request);
    }
    let log = BackupFile::Logs.of(&restore.spec.backup_name);
    let log = store.get_bytes(&log).await;
    let log = log.map_err(RunError::store("read the log of the backup"))?;
    let kinds = log.map_or_else(Vec::new, |log| {
        coverage::from_log(&String::from_utf8_lossy(&log))
    });
    Ok(request.backed_up(of(backup.clone(), &kinds)))
}

fn of(backup: Backup, kinds: &[KindCoverage]) -> BackedUp {
    let told = BackedUp::new(backup);
    if kinds.is_empty() {
        return told;
    }
    told.kinds(kinds.iter().map(|kind| (kind.resource.clone(), read(kind))))
}

fn read(kind: &KindCoverage) -> KindRead {
    let is_partly = kind.incomplete_lists > 0 || kind.failed > 0 || kind.left_out.action > 0;
    let is_by_labels =
        kind.left_out.exclude_label > 0 || kind.left_out.label_selector > 0 || kind.uncounted;
    match &kind.reading {
        _ if is_partly => KindRead::Partly,
        Reading::Not(_) => KindRead::Not,
        _ if is_by_labels => KindRead::ByLabels,
        _ => KindRead::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn statements_of_coverage() {
        for (fields, expected) in [
            (&[("reading", "one list")][..], KindRead::Whole),
            (
                &[("reading", "by namespace"), ("leftOutByExcludeLabel", "2")],
                KindRead::ByLabels,
            ),
            (
                &[("reading", "one list"), ("leftOutByLabelSelector", "2")],
                KindRead::ByLabels,
            ),
            (
                &[("reading", "one list"), ("labelSelector", "uncounted")],
                KindRead::ByLabels,
            ),
            (
                &[("reading", "one list"), ("leftOutByDeletion", "2")],
                KindRead::Whole,
            ),
            (&[("reading", "not read: resource filters")], KindRead::Not),
            (
                &[
                    ("reading", "not read: it is down"),
                    ("incompleteLists", "1"),
                ],
                KindRead::Partly,
            ),
            (
                &[("reading", "one list"), ("incompleteLists", "1")],
                KindRead::Partly,
            ),
            (
                &[("reading", "one list"), ("failed", "1")],
                KindRead::Partly,
            ),
            (
                &[("reading", "one list"), ("leftOutByAction", "1")],
                KindRead::Partly,
            ),
        ] {
            let mut all: HashMap<&str, &str> =
                [("resource", "pods"), ("found", "3"), ("stored", "3")].into();
            all.extend(fields.iter().copied());
            let kind = KindCoverage::from_fields(|name| all.get(name).copied()).unwrap();
            assert_eq!(read(&kind), expected, "{fields:?}");
        }
    }
}
