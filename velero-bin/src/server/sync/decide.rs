//! Decisions about synchronisation, without IO.

use std::collections::BTreeSet;

use jiff::Timestamp;
use velero_core::GoDuration;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation};
use velero_core::names::{labels, valid_label_name};

use crate::server::context::after;

/// Whether a location is to be looked into now.
pub(super) fn is_due(
    location: &BackupStorageLocation,
    default_period: GoDuration,
    now: Timestamp,
) -> bool {
    if !location.is_available() {
        return false;
    }
    let period = match location.spec.backup_sync_period {
        Some(own) if !own.is_negative() => own,
        _ => default_period,
    };
    if period.is_zero() {
        return false;
    }
    match &location.status.last_synced_time {
        Some(last) => now >= after(last.0, period.as_nanos()),
        None => true,
    }
}

/// What to do about a backup that only the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Import {
    /// Create it as it is, or with another phase.
    Create {
        /// The phase it gets instead of its own.
        phase: Option<BackupPhase>,
    },
    /// Leave it alone for now: whoever writes it has not finished.
    Unfinished,
}

/// Decides by the metadata in the store. An unfinished backup that has expired is imported as partially failed, so
/// that it can be deleted.
pub(super) fn import(metadata: &Backup, now: Timestamp) -> Import {
    let unfinished = !metadata.phase().is_terminal();
    if !unfinished {
        return Import::Create { phase: None };
    }
    match &metadata.status.expiration {
        Some(expiration) if expiration.0 <= now => Import::Create {
            phase: Some(BackupPhase::PartiallyFailed),
        },
        _ => Import::Unfinished,
    }
}

/// Backups of a location that its store no longer has. `backups` must be older than `in_store`, or a backup that ended
/// between the two would be taken for one.
pub(super) fn orphans<'a>(
    backups: &'a [Backup],
    location: &str,
    in_store: &BTreeSet<String>,
) -> Vec<&'a Backup> {
    let label = valid_label_name(location);
    let of_location = |backup: &&Backup| {
        let labels = backup.metadata.labels.as_ref();
        labels.and_then(|l| l.get(labels::STORAGE_LOCATION)) == Some(&label)
    };
    let ended = |backup: &&Backup| {
        matches!(
            backup.phase(),
            BackupPhase::Completed | BackupPhase::PartiallyFailed
        )
    };
    let absent = |backup: &&Backup| {
        backup
            .metadata
            .name
            .as_ref()
            .is_some_and(|name| !in_store.contains(name))
    };
    backups
        .iter()
        .filter(of_location)
        .filter(ended)
        .filter(absent)
        .collect()
}

#[cfg(test)]
mod tests {
    use velero_core::api::{BackupSpec, BackupStorageLocationPhase, Time};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn due_rule() {
        let minute = GoDuration::from_mins(1);
        for (available, last, own, default, now, expected) in [
            (false, None, None, minute, 0, false),
            (true, None, None, minute, 0, true),
            (true, Some(0), None, minute, 59, false),
            (true, Some(0), None, minute, 60, true),
            (true, Some(0), Some(GoDuration::ZERO), minute, 999, false),
            (true, None, Some(GoDuration::ZERO), minute, 999, false),
            (true, None, None, GoDuration::ZERO, 999, false),
            (
                true,
                Some(0),
                Some(GoDuration::from_secs(-1)),
                minute,
                60,
                true,
            ),
            (
                true,
                Some(0),
                Some(GoDuration::from_secs(5)),
                minute,
                5,
                true,
            ),
        ] {
            let mut location = BackupStorageLocation::default();
            location.status.phase = available.then_some(BackupStorageLocationPhase::Available);
            location.status.last_synced_time = last.map(|s| Time(at(s)));
            location.spec.backup_sync_period = own;
            assert_eq!(
                is_due(&location, default, at(now)),
                expected,
                "{available} {last:?} {own:?} {default} {now}"
            );
        }
    }

    #[test]
    fn unfinished_backups_wait_unless_expired() {
        use BackupPhase::*;
        let as_is = Import::Create { phase: None };
        let failed = Import::Create {
            phase: Some(PartiallyFailed),
        };
        for (phase, expiration, expected) in [
            (Completed, None, &as_is),
            (Completed, Some(-1), &as_is),
            (PartiallyFailed, Some(9), &as_is),
            (Failed, Some(9), &as_is),
            (WaitingForPluginOperations, Some(9), &Import::Unfinished),
            (WaitingForPluginOperations, None, &Import::Unfinished),
            (FinalizingPartiallyFailed, Some(-1), &failed),
            (Finalizing, Some(0), &failed),
            (InProgress, Some(9), &Import::Unfinished),
        ] {
            let mut backup = Backup::default();
            backup.status.phase = Some(phase.clone());
            backup.status.expiration = expiration.map(|s| Time(at(s)));
            assert_eq!(&import(&backup, at(0)), expected, "{phase} {expiration:?}");
        }
    }

    #[test]
    fn orphans_are_ended_backups_of_the_location() {
        let backup = |name: &str, label: &str, phase: BackupPhase| {
            let mut backup = Backup::new("velero", name, BackupSpec::default());
            backup.metadata.labels =
                Some([(labels::STORAGE_LOCATION.to_owned(), label.to_owned())].into());
            backup.status.phase = Some(phase);
            backup
        };
        let long = "l".repeat(70);
        let backups = [
            backup("there", "main", BackupPhase::Completed),
            backup("gone", "main", BackupPhase::Completed),
            backup("partly", "main", BackupPhase::PartiallyFailed),
            backup("failed", "main", BackupPhase::Failed),
            backup("running", "main", BackupPhase::InProgress),
            backup("deleting", "main", BackupPhase::Deleting),
            backup("other", "side", BackupPhase::Completed),
            backup("long", &valid_label_name(&long), BackupPhase::Completed),
            Backup::new("velero", "unlabelled", BackupSpec::default()),
        ];
        let in_store = BTreeSet::from(["there".to_owned()]);
        let names = |location: &str| -> Vec<&str> {
            orphans(&backups, location, &in_store)
                .iter()
                .filter_map(|b| b.metadata.name.as_deref())
                .collect()
        };
        assert_eq!(names("main"), ["gone", "partly"]);
        assert_eq!(names(&long), ["long"]);
    }
}
