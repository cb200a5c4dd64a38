//! Decisions about backups that have expired, without IO.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use velero_core::api::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase,
};
use velero_core::names::{annotations, labels};
use velero_persistence::ClusterMark;

use crate::server::context::after;

/// The location of a backup is not there.
const NOT_FOUND: &str = "BSLNotFound";
/// The location of a backup must not be written to.
const READ_ONLY: &str = "BSLReadOnly";

/// Another cluster has made a backup, and still writes to its location: it deletes it.
const OTHER_CLUSTER: &str = "OtherCluster";
/// How long a cluster that is not seen any more is left its backups.
const ABSENCE_NANOS: i64 = 7 * 24 * 3600 * 1_000_000_000;

/// What to do about one backup that has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for its deletion.
    Delete,
    /// That has been asked for.
    Wait,
    /// It cannot be deleted, for the reason that a label is to tell.
    Label(&'static str),
    /// Its location does not answer now.
    Unavailable,
}

/// Whether a backup has expired, and is not worked on.
///
/// Runs are left alone: their deletion would end them. They expire as soon as they have ended.
pub(super) fn has_expired(backup: &Backup, now: Timestamp) -> bool {
    let expired = backup
        .status
        .expiration
        .as_ref()
        .is_some_and(|time| time.0 <= now);
    let over = backup.phase().is_terminal() || *backup.phase() == BackupPhase::Deleting;
    expired && over && backup.metadata.deletion_timestamp.is_none()
}

/// Requests for deletion that have not been processed, by the name and the uid of the backup.
pub(super) fn asked(requests: &[DeleteBackupRequest]) -> BTreeSet<(String, String)> {
    let open = |request: &&DeleteBackupRequest| {
        matches!(
            request.phase(),
            DeleteBackupRequestPhase::New | DeleteBackupRequestPhase::InProgress
        )
    };
    let of = |request: &DeleteBackupRequest| {
        let uid = request
            .metadata
            .labels
            .as_ref()
            .and_then(|all| all.get(labels::BACKUP_UID));
        (
            request.spec.backup_name.clone(),
            uid.cloned().unwrap_or_default(),
        )
    };
    requests.iter().filter(open).map(of).collect()
}

/// The other cluster that has made a backup, as far as the backup tells.
pub(in crate::server) fn foreign_owner<'a>(backup: &'a Backup, own: &str) -> Option<&'a str> {
    let annotations = backup.metadata.annotations.as_ref()?;
    let owner = annotations.get(annotations::CLUSTER)?.as_str();
    (!owner.is_empty() && owner != own).then_some(owner)
}

/// Whether a cluster was seen of late among the marks of a location.
pub(super) fn is_about(cluster: &str, marks: &[ClusterMark], now: Timestamp) -> bool {
    let seen = marks.iter().find(|mark| mark.cluster == cluster);
    seen.is_some_and(|mark| now < after(mark.seen, ABSENCE_NANOS))
}

/// Decides about one backup that has expired. `left_to_owner` says whether another cluster has made it and is still about.
pub(super) fn next(
    backup: &Backup,
    locations: &BTreeMap<&str, &BackupStorageLocation>,
    asked: &BTreeSet<(String, String)>,
    left_to_owner: bool,
) -> Step {
    let Some(location) = locations.get(backup.spec.storage_location.as_str()) else {
        return Step::Label(NOT_FOUND);
    };
    if !location.is_available() {
        return Step::Unavailable;
    }
    if location.is_read_only() {
        return Step::Label(READ_ONLY);
    }
    if left_to_owner {
        return Step::Label(OTHER_CLUSTER);
    }
    let name = backup.metadata.name.clone().unwrap_or_default();
    let uid = backup.metadata.uid.clone().unwrap_or_default();
    match asked.contains(&(name, uid)) {
        true => Step::Wait,
        false => Step::Delete,
    }
}

/// A backup with the label that says why it is not deleted, or without one.
pub(super) fn labelled(backup: &Backup, failure: Option<&str>) -> Backup {
    let mut labelled = backup.clone();
    match failure {
        Some(failure) => {
            let all = labelled.metadata.labels.get_or_insert_default();
            all.insert(labels::GC_FAILURE.to_owned(), failure.to_owned());
        }
        None => {
            if let Some(all) = &mut labelled.metadata.labels {
                all.remove(labels::GC_FAILURE);
            }
        }
    }
    labelled
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn backup(phase: &str, expiration: Option<i64>) -> Backup {
        let expiration = expiration.map(|second| Timestamp::from_second(second).unwrap());
        serde_json::from_value(json!({
            "metadata": {"name": "b", "uid": "u"}, "spec": {"storageLocation": "l"},
            "status": {"phase": phase, "expiration": expiration},
        }))
        .unwrap()
    }

    #[test]
    fn what_has_ended_expires() {
        let now = Timestamp::from_second(100).unwrap();
        for (phase, expiration, expected) in [
            ("Completed", Some(100), true),
            ("Completed", Some(101), false),
            ("Completed", None, false),
            ("PartiallyFailed", Some(1), true),
            ("Failed", Some(1), true),
            ("FailedValidation", Some(1), true),
            ("Deleting", Some(1), true),
            ("", Some(1), false),
            ("Queued", Some(1), false),
            ("InProgress", Some(1), false),
            ("WaitingForPluginOperations", Some(1), false),
            ("Finalizing", Some(1), false),
        ] {
            assert_eq!(
                has_expired(&backup(phase, expiration), now),
                expected,
                "{phase} {expiration:?}"
            );
        }
        let mut going = backup("Completed", Some(1));
        going.metadata.deletion_timestamp = Some(velero_core::api::Time(now));
        assert!(!has_expired(&going, now));
    }

    #[test]
    fn the_location_decides() {
        let location = |phase: &str, mode: &str| -> BackupStorageLocation {
            serde_json::from_value(json!({
                "metadata": {"name": "l"}, "spec": {"provider": "aws", "accessMode": mode}, "status": {"phase": phase},
            }))
            .unwrap()
        };
        let request = |phase: &str, uid: &str| -> DeleteBackupRequest {
            serde_json::from_value(json!({
                "metadata": {"name": "d", "labels": {"velero.io/backup-uid": uid}},
                "spec": {"backupName": "b"}, "status": {"phase": phase},
            }))
            .unwrap()
        };
        let available = location("Available", "ReadWrite");
        for (location, request, expected) in [
            (None, None, Step::Label("BSLNotFound")),
            (
                Some(location("Unavailable", "ReadOnly")),
                None,
                Step::Unavailable,
            ),
            (Some(location("", "")), None, Step::Unavailable),
            (
                Some(location("Available", "ReadOnly")),
                None,
                Step::Label("BSLReadOnly"),
            ),
            (Some(location("Available", "")), None, Step::Delete),
            (Some(available.clone()), Some(request("", "u")), Step::Wait),
            (
                Some(available.clone()),
                Some(request("New", "u")),
                Step::Wait,
            ),
            (
                Some(available.clone()),
                Some(request("InProgress", "u")),
                Step::Wait,
            ),
            (
                Some(available.clone()),
                Some(request("Processed", "u")),
                Step::Delete,
            ),
            (
                Some(available.clone()),
                Some(request("New", "another")),
                Step::Delete,
            ),
        ] {
            let locations = location.iter().map(|location| ("l", location)).collect();
            let asked = asked(request.as_slice());
            assert_eq!(
                next(&backup("Completed", Some(1)), &locations, &asked, false),
                expected,
                "{request:?}"
            );
        }
    }

    #[test]
    fn backups_of_another_cluster_are_left_to_it_while_it_is_about() {
        let own = backup("Completed", Some(1));
        assert_eq!(foreign_owner(&own, "here"), None, "one of the peer's");
        let of = |cluster: &str| {
            let mut backup = own.clone();
            let said = (annotations::CLUSTER.to_owned(), cluster.to_owned());
            backup.metadata.annotations = Some([said].into());
            backup
        };
        assert_eq!(foreign_owner(&of("here"), "here"), None);
        assert_eq!(foreign_owner(&of("there"), "here"), Some("there"));
        assert_eq!(foreign_owner(&of("there"), ""), Some("there"));
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mark = |cluster: &str, second: i64| ClusterMark {
            cluster: cluster.to_owned(),
            seen: at(second),
        };
        let week = 7 * 24 * 3600;
        let marks = [mark("there", 0), mark("ahead", 2 * week)];
        for (cluster, now, expected) in [
            ("there", week - 1, true),
            ("there", week, false),
            ("ahead", 0, true),
            ("unknown", 0, false),
        ] {
            assert_eq!(
                is_about(cluster, &marks, at(now)),
                expected,
                "{cluster} {now}"
            );
        }
        let location: BackupStorageLocation = serde_json::from_value(json!({
            "metadata": {"name": "l"}, "spec": {"provider": "aws"}, "status": {"phase": "Available"},
        }))
        .unwrap();
        let locations = [("l", &location)].into();
        let step = next(&own, &locations, &BTreeSet::new(), true);
        assert_eq!(step, Step::Label("OtherCluster"));
    }

    #[test]
    fn labels_come_and_go() {
        let plain = backup("Completed", Some(1));
        let labelled_one = labelled(&plain, Some("BSLNotFound"));
        let all = labelled_one.metadata.labels.clone().unwrap();
        assert_eq!(all["velero.io/gc-failure"], "BSLNotFound");
        assert_eq!(labelled(&plain, None), plain);
        assert_eq!(
            labelled(&labelled_one, None).metadata.labels.unwrap().len(),
            0
        );
    }
}
