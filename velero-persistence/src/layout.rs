//! The keys of a bucket: pure functions from names to keys.

use velero_core::api::DownloadTarget;

use crate::error::{Error, Result};

/// The folder with one folder for each backup.
pub const BACKUPS: &str = "backups/";
/// The folder with one folder for each restore.
pub const RESTORES: &str = "restores/";
/// Folders that may lie at the root of a location; any other makes it invalid, to the peer as well.
pub const TOP_LEVEL: [&str; 6] = [
    "backups", "restores", "restic", "metadata", "plugins", "kopia",
];

/// Returns the folder of a backup, `backups/<b>/`.
pub fn backup_dir(backup: &str) -> String {
    format!("{BACKUPS}{backup}/")
}

/// Returns the folder of a restore, `restores/<r>/`.
pub fn restore_dir(restore: &str) -> String {
    format!("{RESTORES}{restore}/")
}

/// A file of a backup's folder. Upstream: `pkg/persistence/object_store_layout.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackupFile {
    /// `velero-backup.json`: the Backup, plain JSON. A folder with it is a backup.
    Metadata,
    /// `<b>.tar.gz`: the resource archive.
    Contents,
    /// `<b>-logs.gz`: the log.
    Logs,
    /// `<b>-podvolumebackups.json.gz`: a list, `null` when empty.
    PodVolumeBackups,
    /// `<b>-volumesnapshots.json.gz`: a list of native snapshots, `null` when empty.
    VolumeSnapshots,
    /// `<b>-itemoperations.json.gz`: a list.
    ItemOperations,
    /// `<b>-resource-list.json.gz`: kinds to names.
    ResourceList,
    /// `<b>-results.gz`: errors and warnings.
    Results,
    /// `<b>-volumeinfo.json.gz`: a list.
    VolumeInfos,
    /// `<b>-csi-volumesnapshots.json.gz`: a list; read only, written by releases before 1.17.
    CsiVolumeSnapshots,
    /// `<b>-csi-volumesnapshotcontents.json.gz`: a list; read only, written by releases before 1.17.
    CsiVolumeSnapshotContents,
    /// `<b>-csi-volumesnapshotclasses.json.gz`: a list; read only, written by releases before 1.18.
    CsiVolumeSnapshotClasses,
}

impl BackupFile {
    /// Every file, in the order of the reference.
    pub const ALL: [Self; 12] = [
        Self::Metadata,
        Self::Contents,
        Self::Logs,
        Self::PodVolumeBackups,
        Self::VolumeSnapshots,
        Self::ItemOperations,
        Self::ResourceList,
        Self::Results,
        Self::VolumeInfos,
        Self::CsiVolumeSnapshots,
        Self::CsiVolumeSnapshotContents,
        Self::CsiVolumeSnapshotClasses,
    ];

    /// Names this file of one backup.
    pub fn of(self, backup: &str) -> Artifact {
        let suffix = match self {
            Self::Metadata => {
                return Artifact::new(
                    "backup",
                    backup,
                    backup_dir(backup) + "velero-backup.json",
                    "null",
                );
            }
            Self::Contents => ".tar.gz",
            Self::Logs => "-logs.gz",
            Self::PodVolumeBackups => "-podvolumebackups.json.gz",
            Self::VolumeSnapshots => "-volumesnapshots.json.gz",
            Self::ItemOperations => "-itemoperations.json.gz",
            Self::ResourceList => "-resource-list.json.gz",
            Self::Results => "-results.gz",
            Self::VolumeInfos => "-volumeinfo.json.gz",
            Self::CsiVolumeSnapshots => "-csi-volumesnapshots.json.gz",
            Self::CsiVolumeSnapshotContents => "-csi-volumesnapshotcontents.json.gz",
            Self::CsiVolumeSnapshotClasses => "-csi-volumesnapshotclasses.json.gz",
        };
        let empty = match self {
            Self::ItemOperations | Self::VolumeInfos => "[]",
            _ => "null",
        };
        Artifact::new(
            "backup",
            backup,
            format!("{}{backup}{suffix}", backup_dir(backup)),
            empty,
        )
    }
}

/// A file of a restore's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestoreFile {
    /// `restore-<r>-logs.gz`: the log.
    Logs,
    /// `restore-<r>-results.gz`: errors and warnings.
    Results,
    /// `restore-<r>-resource-list.json.gz`: kinds to names with what was done.
    ResourceList,
    /// `restore-<r>-itemoperations.json.gz`: a list.
    ItemOperations,
    /// `<r>-volumeinfo.json.gz`: a list; the one name without `restore-` in front.
    VolumeInfos,
}

impl RestoreFile {
    /// Every file, in the order of the reference.
    pub const ALL: [Self; 5] = [
        Self::Logs,
        Self::Results,
        Self::ResourceList,
        Self::ItemOperations,
        Self::VolumeInfos,
    ];

    /// Names this file of one restore.
    pub fn of(self, restore: &str) -> Artifact {
        let dir = restore_dir(restore);
        let key = match self {
            Self::Logs => format!("{dir}restore-{restore}-logs.gz"),
            Self::Results => format!("{dir}restore-{restore}-results.gz"),
            Self::ResourceList => format!("{dir}restore-{restore}-resource-list.json.gz"),
            Self::ItemOperations => format!("{dir}restore-{restore}-itemoperations.json.gz"),
            Self::VolumeInfos => format!("{dir}{restore}-volumeinfo.json.gz"),
        };
        Artifact::new("restore", restore, key, "[]")
    }
}

/// One file of one backup or restore.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Artifact {
    owner: &'static str,
    name: String,
    key: String,
    empty_list: &'static str,
}

impl Artifact {
    fn new(owner: &'static str, name: &str, key: String, empty_list: &'static str) -> Self {
        Self {
            owner,
            name: name.to_owned(),
            key,
            empty_list,
        }
    }

    /// The key, relative to the location's prefix.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name of the file in its folder.
    pub fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// How the peer writes this file's list when it is empty: `null` or `[]`.
    pub fn empty_list(&self) -> &'static str {
        self.empty_list
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_name(self.owner, &self.name)
    }
}

/// Checks that a name is one path element, so that it cannot reach into another's folder.
pub(crate) fn check_name(owner: &'static str, name: &str) -> Result<()> {
    if name.is_empty() || name.contains('/') || matches!(name, "." | "..") || name.trim() != name {
        return Err(Error::InvalidName {
            what: if owner == "restore" {
                "restore name"
            } else {
                "backup name"
            },
            value: name.to_owned(),
            expected: "a name is not empty, has no '/' and no blanks at its ends",
        });
    }
    Ok(())
}

/// Returns the file a download request's `spec.target` stands for: its kind, and the backup's or restore's name.
///
/// # Errors
///
/// [`Error::Config`] for a kind that does not exist. There is none for `velero-backup.json`, the pod volume backups
/// and the CSI classes.
pub fn download_target(kind: &str, name: &str) -> Result<Artifact> {
    Ok(match kind {
        "BackupLog" => BackupFile::Logs.of(name),
        "BackupContents" => BackupFile::Contents.of(name),
        "BackupVolumeSnapshots" => BackupFile::VolumeSnapshots.of(name),
        "BackupItemOperations" => BackupFile::ItemOperations.of(name),
        "BackupResourceList" => BackupFile::ResourceList.of(name),
        "BackupResults" => BackupFile::Results.of(name),
        "BackupVolumeInfos" => BackupFile::VolumeInfos.of(name),
        "CSIBackupVolumeSnapshots" => BackupFile::CsiVolumeSnapshots.of(name),
        "CSIBackupVolumeSnapshotContents" => BackupFile::CsiVolumeSnapshotContents.of(name),
        "RestoreLog" => RestoreFile::Logs.of(name),
        "RestoreResults" => RestoreFile::Results.of(name),
        "RestoreResourceList" => RestoreFile::ResourceList.of(name),
        "RestoreItemOperations" => RestoreFile::ItemOperations.of(name),
        "RestoreVolumeInfo" => RestoreFile::VolumeInfos.of(name),
        other => {
            return Err(Error::config(
                "spec.target.kind",
                other,
                "a kind of file that can be downloaded, such as BackupLog or RestoreResults",
            ));
        }
    })
}

impl TryFrom<&DownloadTarget> for Artifact {
    type Error = Error;

    /// As [`download_target`].
    fn try_from(target: &DownloadTarget) -> Result<Self> {
        download_target(target.kind.as_str(), &target.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backup_keys_are_the_peers() {
        let keys: Vec<String> = BackupFile::ALL
            .iter()
            .map(|file| file.of("b1").key)
            .collect();
        assert_eq!(
            keys,
            [
                "backups/b1/velero-backup.json",
                "backups/b1/b1.tar.gz",
                "backups/b1/b1-logs.gz",
                "backups/b1/b1-podvolumebackups.json.gz",
                "backups/b1/b1-volumesnapshots.json.gz",
                "backups/b1/b1-itemoperations.json.gz",
                "backups/b1/b1-resource-list.json.gz",
                "backups/b1/b1-results.gz",
                "backups/b1/b1-volumeinfo.json.gz",
                "backups/b1/b1-csi-volumesnapshots.json.gz",
                "backups/b1/b1-csi-volumesnapshotcontents.json.gz",
                "backups/b1/b1-csi-volumesnapshotclasses.json.gz",
            ]
        );
    }

    #[test]
    fn restore_keys_are_the_peers() {
        let keys: Vec<String> = RestoreFile::ALL
            .iter()
            .map(|file| file.of("r1").key)
            .collect();
        assert_eq!(
            keys,
            [
                "restores/r1/restore-r1-logs.gz",
                "restores/r1/restore-r1-results.gz",
                "restores/r1/restore-r1-resource-list.json.gz",
                "restores/r1/restore-r1-itemoperations.json.gz",
                "restores/r1/r1-volumeinfo.json.gz",
            ]
        );
    }

    #[test]
    fn download_kinds_name_files() {
        for (kind, key) in [
            ("BackupLog", "backups/n/n-logs.gz"),
            ("BackupContents", "backups/n/n.tar.gz"),
            (
                "BackupVolumeSnapshots",
                "backups/n/n-volumesnapshots.json.gz",
            ),
            ("BackupItemOperations", "backups/n/n-itemoperations.json.gz"),
            ("BackupResourceList", "backups/n/n-resource-list.json.gz"),
            ("BackupResults", "backups/n/n-results.gz"),
            ("BackupVolumeInfos", "backups/n/n-volumeinfo.json.gz"),
            (
                "CSIBackupVolumeSnapshots",
                "backups/n/n-csi-volumesnapshots.json.gz",
            ),
            (
                "CSIBackupVolumeSnapshotContents",
                "backups/n/n-csi-volumesnapshotcontents.json.gz",
            ),
            ("RestoreLog", "restores/n/restore-n-logs.gz"),
            ("RestoreResults", "restores/n/restore-n-results.gz"),
            (
                "RestoreResourceList",
                "restores/n/restore-n-resource-list.json.gz",
            ),
            (
                "RestoreItemOperations",
                "restores/n/restore-n-itemoperations.json.gz",
            ),
            ("RestoreVolumeInfo", "restores/n/n-volumeinfo.json.gz"),
        ] {
            assert_eq!(download_target(kind, "n").unwrap().key(), key, "{kind}");
        }
        let err = download_target("BackupMetadata", "n")
            .unwrap_err()
            .to_string();
        assert!(
            err.starts_with("spec.target.kind \"BackupMetadata\" is not valid"),
            "{err}"
        );
    }

    #[test]
    fn names_cannot_reach_into_other_folders() {
        for bad in ["", "a/b", "..", ".", " a"] {
            assert!(BackupFile::Logs.of(bad).check().is_err(), "{bad:?}");
            assert!(RestoreFile::Logs.of(bad).check().is_err(), "{bad:?}");
        }
        assert!(BackupFile::Logs.of("daily-20260101").check().is_ok());
    }
}
