//! Which controllers run.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::settings::SettingsError;

const FLAG: &str = "--disable-controllers";

/// A controller that can be switched off, by the peer's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Lets backups begin, in their order.
    BackupQueue,
    /// Checks backups and runs them.
    Backup,
    /// Looks after operations that actions of backups have left running, and ends the backups.
    BackupOperations,
    /// The same as [`Controller::BackupOperations`].
    BackupFinalizer,
    /// Finds backups in stores.
    BackupSync,
    /// Deletes backups on request.
    BackupDeletion,
    /// Looks after repositories of volume data.
    BackupRepository,
    /// Gives addresses for downloads.
    DownloadRequest,
    /// Asks for the deletion of expired backups.
    Gc,
    /// Checks restores, runs them, and removes their files.
    Restore,
    /// Looks after what restores have left running, and ends the restores.
    RestoreOperations,
    /// The same as [`Controller::RestoreOperations`].
    RestoreFinalizer,
    /// Makes the backups of schedules.
    Schedule,
    /// Answers requests for the status.
    ServerStatusRequest,
}

use Controller::*;

const ALL: [(Controller, &str); 14] = [
    (BackupQueue, "backup-queue"),
    (Backup, "backup"),
    (BackupOperations, "backup-operations"),
    (BackupFinalizer, "backup-finalizer"),
    (BackupSync, "backup-sync"),
    (BackupDeletion, "backup-deletion"),
    (BackupRepository, "backup-repo"),
    (DownloadRequest, "download-request"),
    (Gc, "gc"),
    (Restore, "restore"),
    (RestoreOperations, "restore-operations"),
    (RestoreFinalizer, "restore-finalizer"),
    (Schedule, "schedule"),
    (ServerStatusRequest, "server-status-request"),
];

/// Controllers that are one here, so that none of a pair can be switched off alone.
const PAIRS: [(Controller, Controller, &str); 2] = [
    (
        BackupOperations,
        BackupFinalizer,
        "backup-operations and backup-finalizer, which are one here, both or neither of them",
    ),
    (
        RestoreOperations,
        RestoreFinalizer,
        "restore-operations and restore-finalizer, which are one here, both or neither of them",
    ),
];

/// What `--restore-only` switches off. With the peer the queue stays on, and backups stop in the middle of their way.
const RESTORE_ONLY: [Controller; 7] = [
    BackupQueue,
    Backup,
    BackupDeletion,
    BackupFinalizer,
    BackupOperations,
    Gc,
    Schedule,
];

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ALL.iter().find(|(controller, _)| controller == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Controller {
    type Err = SettingsError;

    fn from_str(name: &str) -> Result<Self, SettingsError> {
        let expected = match name {
            "backup-storage-location" => {
                "it is needed by all others and cannot be switched off; leave it out"
            }
            _ => {
                "name backup-queue, backup, backup-operations, backup-finalizer, backup-sync, backup-deletion, backup-repo, \
                 download-request, gc, restore, restore-operations, restore-finalizer, schedule or server-status-request"
            }
        };
        let found = ALL.iter().find(|(_, own)| *own == name);
        found
            .map(|(controller, _)| *controller)
            .ok_or_else(|| SettingsError::new(FLAG, name, expected))
    }
}

/// The controllers that `--disable-controllers` and `--restore-only` switch off.
///
/// # Errors
/// For a name that is unknown, or given twice, also by `--restore-only`, and for half of what is one here.
pub(super) fn disabled(
    names: &[String],
    restore_only: bool,
) -> Result<BTreeSet<Controller>, SettingsError> {
    let mut disabled: BTreeSet<Controller> = BTreeSet::new();
    if restore_only {
        disabled.extend(RESTORE_ONLY);
    }
    for name in names
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
    {
        if !disabled.insert(name.parse()?) {
            let expected = match restore_only {
                true => {
                    "it is switched off already, by --restore-only or by its name; leave it out"
                }
                false => "it is named twice; name it once",
            };
            return Err(SettingsError::new(FLAG, name, expected));
        }
    }
    for (one, other, expected) in PAIRS {
        if disabled.contains(&one) != disabled.contains(&other) {
            return Err(SettingsError::new(FLAG, names.join(","), expected));
        }
    }
    Ok(disabled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &str, restore_only: bool) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        let disabled = disabled(&names, restore_only).map_err(|error| error.to_string())?;
        Ok(disabled.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn controllers_go_by_the_peers_names() {
        assert_eq!(of("", false).unwrap(), [""; 0]);
        assert_eq!(of("gc, schedule", false).unwrap(), ["gc", "schedule"]);
        for (_, name) in ALL {
            let pair = PAIRS
                .iter()
                .find(|(one, other, _)| [*one, *other].iter().any(|c| c.to_string() == name));
            match pair {
                Some((one, other, _)) => {
                    assert!(of(name, false).unwrap_err().contains("both or neither"));
                    assert_eq!(of(&format!("{other},{one}"), false).unwrap().len(), 2);
                }
                None => assert_eq!(of(name, false).unwrap(), [name]),
            }
        }
        assert_eq!(
            of("", true).unwrap(),
            [
                "backup-queue",
                "backup",
                "backup-operations",
                "backup-finalizer",
                "backup-deletion",
                "gc",
                "schedule"
            ]
        );
    }

    #[test]
    fn what_stops_the_peers_server_stops_ours() {
        for (names, restore_only, expected) in [
            (
                "backups",
                false,
                "--disable-controllers \"backups\" is not valid: name backup-queue",
            ),
            (
                "gc,gc",
                false,
                "--disable-controllers \"gc\" is not valid: it is named twice",
            ),
            (
                "gc",
                true,
                "--disable-controllers \"gc\" is not valid: it is switched off already",
            ),
            (
                "backup-storage-location",
                false,
                "--disable-controllers \"backup-storage-location\" is not valid: it is needed",
            ),
        ] {
            let error = of(names, restore_only).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
