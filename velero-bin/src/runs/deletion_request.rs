//! Requests to delete backups.

use velero_core::api::{Backup, DeleteBackupRequest, DeleteBackupRequestSpec};
use velero_core::names::{labels, valid_label_name};

/// A request to delete a backup, named by the API server. Mirrors `NewDeleteBackupRequest` in upstream's
/// `pkg/builder/delete_backup_request_builder.go`: labels tell which backup of that name is meant.
pub(crate) fn deletion_request(backup: &Backup) -> DeleteBackupRequest {
    let name = backup.metadata.name.clone().unwrap_or_default();
    let mut request = DeleteBackupRequest::default();
    request.metadata.generate_name = Some(format!("{name}-"));
    request.metadata.labels = Some(
        [
            (labels::BACKUP_NAME.to_owned(), valid_label_name(&name)),
            (
                labels::BACKUP_UID.to_owned(),
                backup.metadata.uid.clone().unwrap_or_default(),
            ),
        ]
        .into(),
    );
    request.spec = DeleteBackupRequestSpec { backup_name: name };
    request
}
