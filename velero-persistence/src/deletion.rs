//! Which files go with a backup or a restore, and how.

use crate::backup_store::BackupStore;
use crate::error::{Error, Result};
use crate::layout::{BackupFile, backup_dir, check_name, restore_dir};

/// How the names of our own files begin, in the folder of a backup or a restore.
const OWN_FILES: &str = "x-velero-";

/// What the deletion of a backup or a restore has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deleted {
    /// How many objects were deleted.
    pub objects: usize,
    /// Keys, relative to the location's prefix, of what lies in the folder and is no file of the backup or restore. It
    /// stays.
    pub foreign: Vec<String>,
}

/// A folder, and which files in it are whose name it has.
struct Folder {
    dir: String,
    /// How the names of its files begin.
    starts: Vec<String>,
    /// The file that goes last, if it is one of those that are deleted.
    last: Option<String>,
    /// A file that stays.
    kept: Option<String>,
}

impl Folder {
    fn of_backup(backup: &str) -> Self {
        Self {
            dir: backup_dir(backup),
            starts: vec![
                format!("{backup}-"),
                format!("{backup}."),
                OWN_FILES.to_owned(),
            ],
            last: Some(BackupFile::Metadata.of(backup).key().to_owned()),
            kept: None,
        }
    }

    fn of_restore(restore: &str) -> Self {
        Self {
            dir: restore_dir(restore),
            starts: vec![
                format!("{restore}-"),
                format!("{restore}."),
                format!("restore-{restore}-"),
                OWN_FILES.to_owned(),
            ],
            last: None,
            kept: None,
        }
    }

    fn is_ours(&self, key: &str) -> bool {
        let Some(name) = key.strip_prefix(&self.dir) else {
            return false;
        };
        self.last.as_deref() == Some(key) || self.starts.iter().any(|start| name.starts_with(start))
    }
}

impl BackupStore {
    /// Deletes the files of a backup: `velero-backup.json`, those whose names start with `<b>-` or `<b>.`, and our own.
    ///
    /// Whatever else lies in the folder stays, and is named in the answer. Carries on after failures. `velero-backup.json`
    /// goes last and only when the rest is gone, so that what could not be deleted stays in sight as a backup.
    ///
    /// The peer deletes all that lies below the folder, in any order (`pkg/persistence/object_store.go`).
    ///
    /// # Errors
    ///
    /// [`Error::DeleteIncomplete`] with one error for each file that is left.
    pub async fn delete_backup(&self, backup: &str) -> Result<Deleted> {
        check_name("backup", backup)?;
        let folder = Folder::of_backup(backup);
        let deleted = self.delete_files(&folder).await?;
        self.store().clear_folder(&folder.dir).await?;
        Ok(deleted)
    }

    /// Deletes the files of a restore: those whose names start with `<r>-`, `<r>.` or `restore-<r>-`, and our own.
    ///
    /// Whatever else lies in the folder stays, and is named in the answer. Carries on after failures.
    ///
    /// # Errors
    ///
    /// [`Error::DeleteIncomplete`] with one error for each file that is left.
    pub async fn delete_restore(&self, restore: &str) -> Result<Deleted> {
        check_name("restore", restore)?;
        let folder = Folder::of_restore(restore);
        let deleted = self.delete_files(&folder).await?;
        self.store().clear_folder(&folder.dir).await?;
        Ok(deleted)
    }

    /// Deletes the files of a backup but one, the mark of who writes it; and what writes that broke off have left.
    pub(crate) async fn delete_unfinished(&self, backup: &str, mark: String) -> Result<()> {
        let folder = Folder {
            kept: Some(mark),
            ..Folder::of_backup(backup)
        };
        self.delete_files(&folder).await?;
        self.store().sweep(&folder.dir).await
    }

    async fn delete_files(&self, folder: &Folder) -> Result<Deleted> {
        let entries = self.store().list(&folder.dir).await?;
        let mut keys: Vec<String> = entries.into_iter().map(|entry| entry.key).collect();
        keys.retain(|key| folder.kept.as_ref() != Some(key));
        let (mut ours, foreign): (Vec<String>, Vec<String>) =
            keys.into_iter().partition(|key| folder.is_ours(key));
        let objects = ours.len();
        let last = match &folder.last {
            Some(last) => ours.iter().position(|key| key == last),
            None => None,
        };
        let last = last.map(|at| ours.remove(at));
        let mut errors = Vec::new();
        for key in &ours {
            if let Err(err) = self.store().delete(key).await {
                errors.push(err);
            }
        }
        if let Some(last) = last.filter(|_| errors.is_empty())
            && let Err(err) = self.store().delete(&last).await
        {
            errors.push(err);
        }
        if errors.is_empty() {
            return Ok(Deleted { objects, foreign });
        }
        Err(Error::DeleteIncomplete {
            store: self.store().describe(),
            prefix: folder.dir.clone(),
            attempted: objects,
            errors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_older_and_newer_releases_are_ours_and_others_are_not() {
        let backup = Folder::of_backup("b1");
        for (key, ours) in [
            ("backups/b1/velero-backup.json", true),
            ("backups/b1/b1.tar.gz", true),
            ("backups/b1/b1-itemsnapshots.json.gz", true),
            ("backups/b1/b1-of-a-later-release", true),
            ("backups/b1/x-velero-reservation.json", true),
            ("backups/b1/notes.txt", false),
            ("backups/b1/b10-logs.gz", false),
            ("backups/b1/b1", false),
            ("backups/b1/sub/b1-logs.gz", false),
            ("backups/b1/sub/velero-backup.json", false),
            ("backups/b10/b1-logs.gz", false),
        ] {
            assert_eq!(backup.is_ours(key), ours, "{key}");
        }
        let restore = Folder::of_restore("r1");
        for (key, ours) in [
            ("restores/r1/restore-r1-logs.gz", true),
            ("restores/r1/r1-volumeinfo.json.gz", true),
            ("restores/r1/r1.json", true),
            ("restores/r1/x-velero-journal.json", true),
            ("restores/r1/restore-r10-logs.gz", false),
            ("restores/r1/velero-backup.json", false),
        ] {
            assert_eq!(restore.is_ours(key), ours, "{key}");
        }
    }
}
