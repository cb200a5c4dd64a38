//! Decisions about deletions, without IO.

use std::time::Duration;

use jiff::Timestamp;
use velero_core::api::{
    Backup, BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase,
};

use crate::server::context::{after, until};

/// How long a request stays after it was made, once it is processed.
const KEPT_NANOS: i64 = 24 * 3600 * 1_000_000_000;

/// What to do about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Do what it asks for.
    Process,
    /// It is old: delete the request.
    Remove,
    /// Done; look again then.
    Wait(Duration),
    /// Nothing.
    Rest,
}

pub(super) fn next(request: &DeleteBackupRequest, now: Timestamp) -> Step {
    if request.metadata.deletion_timestamp.is_some() {
        return Step::Rest;
    }
    match request.phase() {
        DeleteBackupRequestPhase::New | DeleteBackupRequestPhase::InProgress => Step::Process,
        DeleteBackupRequestPhase::Processed => {
            let created = request
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(now, |time| time.0);
            let due = after(created, KEPT_NANOS);
            if now >= due {
                Step::Remove
            } else {
                Step::Wait(until(due, now))
            }
        }
        _ => Step::Rest,
    }
}

/// How long a deletion waits for the run of its backup to end.
const CANCELLED_NANOS: i64 = 60 * 1_000_000_000;

/// Whether the run of a backup that is to be deleted is to be ended first, and waited for. `tracked` says whether this
/// process works on it, be it that its end is written already.
pub(super) fn is_awaited(
    backup: &Backup,
    tracked: bool,
    request: &DeleteBackupRequest,
    now: Timestamp,
) -> bool {
    let created = request.metadata.creation_timestamp.as_ref();
    let is_young = created.is_none_or(|created| now < after(created.0, CANCELLED_NANOS));
    (backup.phase().is_under_way() || tracked) && is_young
}

/// Whether the deletion has begun: something can be gone already.
pub(super) fn is_begun(request: &DeleteBackupRequest) -> bool {
    request.phase() == &DeleteBackupRequestPhase::InProgress
}

/// What a request is about, as it was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) backup: Option<&'a Backup>,
    /// Whether a run of the backup is under way.
    pub(super) running: bool,
    pub(super) location: Option<&'a BackupStorageLocation>,
}

/// Why a backup is not deleted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) text: String,
    /// Whether it is tried again, as a deletion that has begun is to come to its end.
    pub(super) passes: bool,
}

/// Why a backup is not deleted now, if it is not. A request that has begun and whose backup is gone is done.
pub(super) fn refusal(request: &DeleteBackupRequest, target: &Target<'_>) -> Option<Refusal> {
    let name = target.name;
    let lasting = |text: String| {
        Some(Refusal {
            text,
            passes: false,
        })
    };
    if name.is_empty() {
        return lasting("spec.backupName is empty; name the backup to delete".to_owned());
    }
    if target.running {
        return lasting(format!(
            "backup {name:?} is still in progress; wait until it has ended"
        ));
    }
    let Some(backup) = target.backup else {
        return match is_begun(request) {
            true => None,
            false => lasting(format!("backup {name:?} not found")),
        };
    };
    let wanted = &backup.spec.storage_location;
    let Some(location) = target.location else {
        return lasting(format!("backup storage location {wanted:?} not found"));
    };
    if location.is_read_only() {
        return lasting(format!(
            "cannot delete backup {name:?}: backup storage location {wanted:?} is in read-only mode"
        ));
    }
    if !location.is_available() {
        return Some(Refusal {
            text: format!(
                "cannot delete backup {name:?}: backup storage location {wanted:?} is not available"
            ),
            passes: is_begun(request),
        });
    }
    None
}

/// Whether what lies in the store is what the resource stands for: the same object, or a copy that synchronisation made
/// of it, which has the same start. A backup that failed because its name was taken is not.
pub(super) fn is_same_run(backup: &Backup, metadata: &Backup) -> bool {
    let same_uid = backup.metadata.uid.is_some() && backup.metadata.uid == metadata.metadata.uid;
    same_uid || backup.status.start_timestamp == metadata.status.start_timestamp
}

#[cfg(test)]
mod tests {
    use velero_core::api::{
        BackupPhase, BackupSpec, BackupStorageLocationAccessMode, BackupStorageLocationPhase,
        BackupStorageLocationSpec, Time,
    };

    use super::*;

    #[test]
    fn runs_are_ended_before_their_backups_go() {
        use BackupPhase::*;
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        for (phase, tracked, seconds, expected) in [
            (InProgress, true, 0, true),
            (InProgress, false, 59, true),
            (InProgress, true, 60, false),
            (WaitingForPluginOperations, true, 0, true),
            (FinalizingPartiallyFailed, true, 59, true),
            (Failed, true, 0, true),
            (Failed, true, 60, false),
            (Completed, false, 0, false),
        ] {
            let mut backup = Backup::default();
            backup.status.phase = Some(phase.clone());
            let mut request = DeleteBackupRequest::default();
            request.metadata.creation_timestamp = Some(Time(at(0)));
            let found = is_awaited(&backup, tracked, &request, at(seconds));
            assert_eq!(found, expected, "{phase:?} {tracked} {seconds}");
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn steps() {
        use DeleteBackupRequestPhase::*;
        const DAY: i64 = 86_400;
        for (phase, age, expected) in [
            (None, 0, Step::Process),
            (Some(New), 9 * DAY, Step::Process),
            (Some(InProgress), 0, Step::Process),
            (Some(Processed), DAY - 1, Step::Wait(Duration::from_secs(1))),
            (Some(Processed), DAY, Step::Remove),
            (Some(Unknown("Later".into())), 0, Step::Rest),
        ] {
            let mut request = DeleteBackupRequest::default();
            request.status.phase = phase.clone();
            request.metadata.creation_timestamp = Some(Time(at(0)));
            assert_eq!(next(&request, at(age)), expected, "{phase:?} {age}");
        }
    }

    #[test]
    fn refusals() {
        let spec = BackupSpec {
            storage_location: "main".into(),
            ..Default::default()
        };
        let backup = Backup::new("velero", "b", spec);
        let location = |phase, mode| {
            let spec = BackupStorageLocationSpec {
                access_mode: mode,
                ..Default::default()
            };
            let mut location = BackupStorageLocation::new("velero", "main", spec);
            location.status.phase = phase;
            location
        };
        let good = location(Some(BackupStorageLocationPhase::Available), None);
        let read_only = location(
            Some(BackupStorageLocationPhase::Available),
            Some(BackupStorageLocationAccessMode::ReadOnly),
        );
        let down = location(Some(BackupStorageLocationPhase::Unavailable), None);
        for (name, backup, running, location, begun, expected) in [
            (
                "",
                None,
                false,
                None,
                false,
                Some(("spec.backupName is empty", false)),
            ),
            (
                "b",
                Some(&backup),
                true,
                Some(&good),
                false,
                Some(("still in progress", false)),
            ),
            (
                "b",
                None,
                false,
                None,
                false,
                Some(("backup \"b\" not found", false)),
            ),
            ("b", None, false, None, true, None),
            (
                "b",
                Some(&backup),
                false,
                None,
                true,
                Some(("location \"main\" not found", false)),
            ),
            (
                "b",
                Some(&backup),
                false,
                Some(&read_only),
                true,
                Some(("read-only", false)),
            ),
            (
                "b",
                Some(&backup),
                false,
                Some(&down),
                false,
                Some(("not available", false)),
            ),
            (
                "b",
                Some(&backup),
                false,
                Some(&down),
                true,
                Some(("not available", true)),
            ),
            ("b", Some(&backup), false, Some(&good), false, None),
        ] {
            let mut request = DeleteBackupRequest::default();
            request.status.phase = begun.then_some(DeleteBackupRequestPhase::InProgress);
            let target = Target {
                name,
                backup,
                running,
                location,
            };
            let found = refusal(&request, &target);
            match expected {
                Some((part, passes)) => assert!(
                    found
                        .as_ref()
                        .is_some_and(|found| found.text.contains(part) && found.passes == passes),
                    "{found:?} {part}"
                ),
                None => assert_eq!(found, None),
            }
        }
    }

    #[test]
    fn a_failed_namesake_is_another_run() {
        let run = |uid: &str, start: Option<i64>| {
            let mut backup = Backup::default();
            backup.metadata.uid = Some(uid.into());
            backup.status.start_timestamp = start.map(|s| Time(at(s)));
            backup
        };
        assert!(is_same_run(&run("a", Some(0)), &run("a", Some(0))));
        assert!(is_same_run(&run("synced", Some(0)), &run("a", Some(0))));
        assert!(!is_same_run(&run("b", Some(9)), &run("a", Some(0))));
        assert!(!is_same_run(&run("invalid", None), &run("a", Some(0))));
    }
}
