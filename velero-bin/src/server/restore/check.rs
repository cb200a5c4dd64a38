//! From the spec that a user wrote to the one that is run, without IO. Mirrors `validateAndComplete`.

use jiff::Timestamp;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, Restore, RestorePhase};
use velero_core::names::labels;
use velero_restore::{ExistingPolicy, NEVER_RESTORED};

use crate::server::context::stamp;
use crate::server::settings::Settings;

/// What is said of a restore that is to delete objects.
const MIRRORS: &str = "annotation x.velero.io/existing-resource-policy: \"mirror\" deletes objects, and only those that a plan \
     lists, and the restore names no plan: \"velero restore plan -o json\" makes one, \"velero direct restore --plan-file\" \
     carries it out";

/// What the cluster says at the time of the check.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    pub(super) backups: Vec<Backup>,
    pub(super) locations: Vec<BackupStorageLocation>,
    /// What is wrong with the ConfigMaps that the restore goes by.
    pub(super) faults: Vec<String>,
}

/// Checks a restore and fills in what it leaves open: it is `InProgress` then, or `FailedValidation` with all that is
/// wrong, in the peer's order: the spec, its source, the location, ConfigMaps. The peer stops at the first source that is
/// not there; here whatever else is wrong is told as well.
pub(super) fn check(
    restore: &Restore,
    around: &Surroundings,
    settings: &Settings,
    now: Timestamp,
) -> Restore {
    let mut checked = restore.clone();
    for kind in NEVER_RESTORED {
        let listed = &mut checked.spec.excluded_resources;
        if !listed.iter().any(|name| name == kind) {
            listed.push(kind.to_owned());
        }
    }
    checked.spec.item_operation_timeout = checked
        .spec
        .item_operation_timeout
        .or(settings.default_item_operation_timeout);
    let source = choose_backup(&mut checked, around);
    let mut probe = checked.clone();
    if source.is_err() {
        // Whatever the backup turns out to be.
        probe.spec.backup_name = "-".to_owned();
    }
    let mut errors = velero_restore::validate(&probe);
    match source {
        Ok(()) => errors.extend(location_fault(&checked, around)),
        Err(fault) => errors.push(fault),
    }
    errors.extend(around.faults.iter().cloned());
    if ExistingPolicy::of(&checked) == ExistingPolicy::Mirror {
        errors.push(MIRRORS.to_owned());
    }
    if errors.is_empty() {
        fill_schedule(&mut checked, around);
        checked.status.phase = Some(RestorePhase::InProgress);
        checked.status.start_timestamp = stamp(now);
    } else {
        checked.status.phase = Some(RestorePhase::FailedValidation);
        checked.status.validation_errors = errors;
    }
    checked
}

/// Makes sure of exactly one source, and resolves a schedule to its newest complete backup.
fn choose_backup(restore: &mut Restore, around: &Surroundings) -> Result<(), String> {
    let (backup, schedule) = (&restore.spec.backup_name, &restore.spec.schedule_name);
    match (backup.is_empty(), schedule.is_empty()) {
        (true, true) => Err(
            "either backupName or scheduleName must be given, but not both; neither is".to_owned(),
        ),
        (false, false) => Err(
            "either backupName or scheduleName must be given, but not both; both are".to_owned(),
        ),
        (false, true) => Ok(()),
        (true, false) => {
            let of_schedule: Vec<&Backup> = around
                .backups
                .iter()
                .filter(|backup| schedule_of(backup) == Some(schedule.as_str()))
                .collect();
            if of_schedule.is_empty() {
                return Err(format!("no backups found for schedule {schedule:?}"));
            }
            let complete = of_schedule
                .iter()
                .filter(|backup| *backup.phase() == BackupPhase::Completed);
            let newest = complete.max_by_key(|backup| {
                (
                    backup.status.start_timestamp.clone(),
                    backup.metadata.name.clone(),
                )
            });
            let Some(newest) = newest else {
                return Err(format!(
                    "no completed backups found for schedule {schedule:?}"
                ));
            };
            restore.spec.backup_name = newest.metadata.name.clone().unwrap_or_default();
            Ok(())
        }
    }
}

fn location_fault(restore: &Restore, around: &Surroundings) -> Option<String> {
    let name = &restore.spec.backup_name;
    let Some(backup) = find_backup(around, name) else {
        return Some(format!("backup {name:?} does not exist"));
    };
    if *backup.phase() == BackupPhase::Deleting {
        return Some(format!("backup {name:?} is being deleted"));
    }
    let wanted = &backup.spec.storage_location;
    let location = around
        .locations
        .iter()
        .find(|location| location.metadata.name.as_ref() == Some(wanted));
    match location {
        None => Some(format!(
            "backup storage location {wanted:?} of backup {name:?} does not exist"
        )),
        Some(location) if !location.is_available() => Some(format!(
            "backup storage location {wanted:?} of backup {name:?} is not available"
        )),
        Some(_) => None,
    }
}

/// Notes the schedule of a backup that was named itself.
fn fill_schedule(restore: &mut Restore, around: &Surroundings) {
    if restore.spec.schedule_name.is_empty()
        && let Some(schedule) = find_backup(around, &restore.spec.backup_name).and_then(schedule_of)
    {
        restore.spec.schedule_name = schedule.to_owned();
    }
}

fn find_backup<'a>(around: &'a Surroundings, name: &str) -> Option<&'a Backup> {
    around
        .backups
        .iter()
        .find(|backup| backup.metadata.name.as_deref() == Some(name))
}

fn schedule_of(backup: &Backup) -> Option<&str> {
    let own = backup.metadata.labels.as_ref()?;
    own.get(labels::SCHEDULE_NAME).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use velero_core::api::BackupStorageLocationPhase;

    use super::*;

    fn backup(name: &str, schedule: &str, phase: BackupPhase, start: &str) -> Backup {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"velero.io/schedule-name": schedule}},
            "spec": {"storageLocation": if name == "lost" { "gone" } else { "main" }},
            "status": {"phase": phase, "startTimestamp": start},
        }))
        .unwrap()
    }

    fn around() -> Surroundings {
        let mut location = BackupStorageLocation::default();
        location.metadata.name = Some("main".into());
        location.status.phase = Some(BackupStorageLocationPhase::Available);
        let mut down = location.clone();
        down.metadata.name = Some("gone".into());
        down.status.phase = None;
        Surroundings {
            backups: vec![
                backup(
                    "old",
                    "daily",
                    BackupPhase::Completed,
                    "2026-01-01T00:00:00Z",
                ),
                backup(
                    "new",
                    "daily",
                    BackupPhase::Completed,
                    "2026-01-02T00:00:00Z",
                ),
                backup(
                    "partial",
                    "daily",
                    BackupPhase::PartiallyFailed,
                    "2026-01-03T00:00:00Z",
                ),
                backup(
                    "broken",
                    "weekly",
                    BackupPhase::Failed,
                    "2026-01-03T00:00:00Z",
                ),
                backup("lost", "x", BackupPhase::Completed, "2026-01-03T00:00:00Z"),
                backup("going", "x", BackupPhase::Deleting, "2026-01-03T00:00:00Z"),
            ],
            locations: vec![location, down],
            faults: Vec::new(),
        }
    }

    fn checked(spec: Value) -> Restore {
        checked_in(spec, &around())
    }

    fn checked_in(spec: Value, around: &Surroundings) -> Restore {
        let restore =
            serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": spec})).unwrap();
        check(
            &restore,
            around,
            &Settings::default(),
            "2026-02-01T00:00:00Z".parse().unwrap(),
        )
    }

    #[test]
    fn sources() {
        for (spec, expected) in [
            (json!({"backupName": "old"}), Ok(("old", "daily"))),
            (json!({"backupName": "partial"}), Ok(("partial", "daily"))),
            (json!({"scheduleName": "daily"}), Ok(("new", "daily"))),
            (
                json!({"scheduleName": "weekly"}),
                Err("no completed backups"),
            ),
            (json!({"scheduleName": "never"}), Err("no backups found")),
            (json!({}), Err("neither is")),
            (
                json!({"backupName": "old", "scheduleName": "daily"}),
                Err("both are"),
            ),
            (
                json!({"backupName": "none"}),
                Err("backup \"none\" does not exist"),
            ),
            (
                json!({"backupName": "lost"}),
                Err("\"gone\" of backup \"lost\" is not available"),
            ),
            (json!({"backupName": "going"}), Err("being deleted")),
        ] {
            let restore = checked(spec);
            match expected {
                Ok((backup, schedule)) => {
                    assert_eq!(restore.status.validation_errors, Vec::<String>::new());
                    assert_eq!(*restore.phase(), RestorePhase::InProgress);
                    assert_eq!(
                        (
                            restore.spec.backup_name.as_str(),
                            restore.spec.schedule_name.as_str()
                        ),
                        (backup, schedule)
                    );
                }
                Err(part) => {
                    let errors = &restore.status.validation_errors;
                    assert_eq!(*restore.phase(), RestorePhase::FailedValidation);
                    assert!(
                        errors.len() == 1 && errors[0].contains(part),
                        "{errors:?} {part}"
                    );
                    assert_eq!(restore.status.start_timestamp, None);
                }
            }
        }
    }

    /// The spec that the peer wrote for a restore without any flag.
    #[test]
    fn the_spec_becomes_what_the_peer_writes() {
        let restore = checked(
            json!({"backupName": "old", "includedNamespaces": ["*"], "uploaderConfig": {}, "hooks": {}}),
        );
        let mut spec = serde_json::to_value(&restore.spec).unwrap();
        spec.as_object_mut().unwrap().remove("scheduleName");
        assert_eq!(
            spec,
            json!({
                "backupName": "old",
                "excludedResources": [
                    "nodes", "events", "events.events.k8s.io", "backups.velero.io", "restores.velero.io",
                    "resticrepositories.velero.io", "csinodes.storage.k8s.io", "volumeattachments.storage.k8s.io",
                    "backuprepositories.velero.io",
                ],
                "hooks": {}, "includedNamespaces": ["*"], "itemOperationTimeout": "4h0m0s", "uploaderConfig": {},
            })
        );
    }

    #[test]
    fn objects_are_deleted_by_a_plan_alone() {
        for (policy, expected) in [("mirror", 1), ("recreate", 0)] {
            let restore = json!({"metadata": {"name": "r", "annotations": {"x.velero.io/existing-resource-policy": policy}},
                "spec": {"backupName": "old", "existingResourcePolicy": "update"}});
            let restore: Restore = serde_json::from_value(restore).unwrap();
            let now = "2026-02-01T00:00:00Z".parse().unwrap();
            let restore = check(&restore, &around(), &Settings::default(), now);
            let errors = &restore.status.validation_errors;
            assert_eq!(errors.len(), expected, "{errors:?}");
            assert!(
                errors.iter().all(|error| error.contains("names no plan")),
                "{errors:?}"
            );
        }
    }

    /// The checks of upstream's `validateAndComplete`, one after another.
    #[test]
    fn faults_come_in_the_order_of_the_checks() {
        let init = |container: Value| json!({"resources": [{"name": "h", "postHooks": [{"init": {"initContainers": [container]}}]}]});
        let one = json!({"matchLabels": {"a": "b"}});
        for (spec, wanted) in [
            // 2 and 3: never restored, and so both included and excluded.
            (
                json!({"includedResources": ["nodes"]}),
                &["is never restored", "both included and excluded"][..],
            ),
            (
                json!({"includedResources": ["*", "pods"], "excludedResources": ["*"]}),
                &["must stand alone", "leave nothing", "both included"],
            ),
            // 4
            (
                json!({"includedNamespaces": ["*", "a"], "excludedNamespaces": ["a"]}),
                &["must stand alone", "both included"],
            ),
            // 5
            (
                json!({"labelSelector": one, "orLabelSelectors": [one]}),
                &["exclude each other"],
            ),
            // 6
            (json!({"scheduleName": "daily"}), &["both are"]),
            (json!({"backupName": ""}), &["neither is"]),
            // 7
            (
                json!({"hooks": init(json!({"image": "i", "command": ["c"]}))}),
                &["it has no name"],
            ),
            (
                json!({"hooks": {"resources": [{"name": "h", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]}}),
                &["hooks.resources[0].labelSelector: "],
            ),
            // 8
            (
                json!({"existingResourcePolicy": "recreate"}),
                &["existingResourcePolicy \"recreate\" is not known"],
            ),
            // 9, 10 and 11
            (
                json!({"backupName": "", "scheduleName": "weekly"}),
                &["no completed backups"],
            ),
            (json!({"backupName": "none"}), &["does not exist"]),
            (json!({"backupName": "lost"}), &["is not available"]),
            // 12: a reference to anything else is passed over by the peer.
            (
                json!({"resourceModifier": {"kind": "Secret", "name": "m"}}),
                &["resourceModifier.kind \"Secret\" is not known"],
            ),
            // All together.
            (
                json!({
                    "backupName": "", "includedResources": ["nodes"], "excludedNamespaces": ["*"],
                    "existingResourcePolicy": "x",
                }),
                &[
                    "is never restored",
                    "both included and excluded",
                    "leave nothing",
                    "existingResourcePolicy",
                    "neither is",
                ],
            ),
        ] {
            for faults in [vec![], vec!["ConfigMap at fault".to_owned()]] {
                let mut whole = json!({"backupName": "old"});
                whole
                    .as_object_mut()
                    .unwrap()
                    .extend(spec.as_object().unwrap().clone());
                let mut around = around();
                around.faults.clone_from(&faults);
                let restore = checked_in(whole, &around);
                let mut errors = restore.status.validation_errors.clone();
                assert_eq!(errors.split_off(wanted.len()), faults, "{spec}");
                for (error, want) in errors.iter().zip(wanted) {
                    assert!(error.contains(want), "{spec}: {error:?} without {want:?}");
                }
                assert_eq!(*restore.phase(), RestorePhase::FailedValidation);
            }
        }
    }
}
