//! Deleting what belongs to a backup, in its order.

use std::time::Duration;

use velero_core::api::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, Document, Restore,
};
use velero_core::result::chain;
use velero_persistence::BackupStore;

use super::actions::run_actions;
use super::decide::is_same_run;
use super::volumes::{VolumeData, undeletable};
use crate::server::context::Context;
use crate::server::controller::Retry;
use crate::server::objects::{ApiError, Lock};
use crate::server::stores::{self, StoreError};

/// How long to wait for the restores of a backup to go.
const RESTORES_GONE: Duration = Duration::from_secs(60);

/// Most files of somebody else that are named.
const NAMED_FILES: usize = 5;

/// Why a deletion does not go on.
pub(super) enum Stop {
    /// For good.
    Refused(Vec<String>),
    /// For a reason that can pass.
    Later(String),
    /// A request to the API server has failed.
    Retry(Retry),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Retry(error.into())
    }
}

impl From<velero_persistence::Error> for Stop {
    fn from(error: velero_persistence::Error) -> Self {
        let text = chain(&error);
        match error.is_retryable() {
            true => Self::Later(text),
            false => Self::Refused(vec![text]),
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        let text = chain(&error);
        match error.is_retryable() {
            true => Self::Later(text),
            false => Self::Refused(vec![text]),
        }
    }
}

/// Deletes what belongs to a backup, in the order that the peer has; nothing is left then but the Backup.
pub(super) async fn delete(
    context: &Context,
    request: &DeleteBackupRequest,
    backup: &Backup,
    location: &BackupStorageLocation,
) -> Result<(), Stop> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let store = stores::open(&context.objects, location).await?;
    let ours = owns_folder(&store, backup, name).await?;
    if ours {
        let data = VolumeData::read(&context.objects, &store, name).await?;
        let left = undeletable(backup, &data);
        if !left.is_empty() {
            return Err(Stop::Refused(left));
        }
    }
    let mut deleting = backup.clone();
    deleting.status.phase = Some(BackupPhase::Deleting);
    context
        .objects
        .patch(backup, &deleting, Lock::SameObject)
        .await?;
    if ours {
        run_actions(context, request, backup, &store).await?;
        let deleted = store.delete_backup(name).await?;
        tell_foreign("backup", name, &deleted.foreign);
    }
    delete_restores(context, name).await
}

/// Names what was left in a folder as it is nobody's that was deleted.
pub(in crate::server) fn tell_foreign(kind: &str, name: &str, foreign: &[String]) {
    if foreign.is_empty() {
        return;
    }
    let named = foreign.iter().take(NAMED_FILES).cloned();
    let named = named.collect::<Vec<_>>().join(", ");
    tracing::warn!(
        files = foreign.len(),
        "in the folder of {kind} {name:?} are files that do not belong to it, which stay: {named}"
    );
}

/// Whether the folder of that name in the store is this backup's. Leftovers without metadata are.
async fn owns_folder(store: &BackupStore, backup: &Backup, name: &str) -> Result<bool, Stop> {
    let bytes = match store.get_metadata(name).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let same = match Document::<Backup>::parse(&bytes) {
        Ok(metadata) => is_same_run(backup, metadata.get()),
        // Nobody can restore it; the user wants it gone.
        Err(error) => {
            tracing::warn!(
                backup = name,
                error = chain(&error),
                "the backup's metadata cannot be read"
            );
            true
        }
    };
    if !same {
        tracing::warn!(
            backup = name,
            "the store holds another backup of that name, which stays"
        );
    }
    Ok(same)
}

/// Deletes the restores of a backup and waits until their finalizers have cleaned up.
async fn delete_restores(context: &Context, backup: &str) -> Result<(), Stop> {
    let deadline = tokio::time::Instant::now() + RESTORES_GONE;
    let mut asked = false;
    loop {
        let restores: Vec<Restore> = context.objects.list().await?;
        let of_backup: Vec<Restore> = restores
            .into_iter()
            .filter(|restore| restore.spec.backup_name == backup)
            .collect();
        if of_backup.is_empty() {
            return Ok(());
        }
        if !asked {
            for restore in &of_backup {
                context.objects.delete(restore).await?;
            }
            asked = true;
        }
        if tokio::time::Instant::now() >= deadline {
            let names: Vec<&str> = of_backup
                .iter()
                .filter_map(|restore| restore.metadata.name.as_deref())
                .collect();
            return Err(Stop::Refused(vec![format!(
                "restores of the backup are still there after {} s: {}",
                RESTORES_GONE.as_secs(),
                names.join(", ")
            )]));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
