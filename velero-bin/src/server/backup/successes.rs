//! When backups of each schedule have last ended well.

use std::collections::BTreeMap;

use velero_core::api::{Backup, BackupPhase};

use super::run::schedule_of;

/// The last end of a `Completed` backup of each schedule, in seconds since 1970; the empty schedule stands for what users
/// have asked for. Mirrors `getLastSuccessBySchedule` in upstream's `pkg/controller/backup_controller.go`.
pub(in crate::server) fn last_successes(backups: &[Backup]) -> BTreeMap<&str, i64> {
    let mut last = BTreeMap::new();
    let good = |backup: &&Backup| *backup.phase() == BackupPhase::Completed;
    for backup in backups.iter().filter(good) {
        if let Some(end) = &backup.status.completion_timestamp {
            let newest = last.entry(schedule_of(backup)).or_insert(i64::MIN);
            *newest = (*newest).max(end.0.as_second());
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_completed_backups_count() {
        let backups = [
            ("daily", "Completed", Some(1)),
            ("daily", "Completed", Some(3)),
            ("daily", "Completed", Some(2)),
            ("daily", "PartiallyFailed", Some(9)),
            ("daily", "Failed", Some(9)),
            ("daily", "Finalizing", Some(9)),
            ("broken", "PartiallyFailed", Some(9)),
            ("odd", "Completed", None),
            ("", "Completed", Some(5)),
        ]
        .map(|(schedule, phase, end)| -> Backup {
            let labels = match schedule {
                "" => json!({}),
                schedule => json!({"velero.io/schedule-name": schedule}),
            };
            let end = end.map(|second| jiff::Timestamp::from_second(second).unwrap());
            serde_json::from_value(json!({
                "metadata": {"name": "b", "labels": labels}, "spec": {},
                "status": {"phase": phase, "completionTimestamp": end},
            }))
            .unwrap()
        });
        assert_eq!(last_successes(&backups), [("", 5), ("daily", 3)].into());
    }
}
