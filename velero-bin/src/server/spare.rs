//! What stores did not take of restores: kept by this server, until the Restore is deleted or the server ends.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::OnceCell;
use velero_core::api::Restore;
use velero_core::names::annotations;
use velero_persistence::{BackupStore, Location};

use super::context::Context;
use crate::runs::Spare;

/// A folder of this server, laid out as a store. A cheap clone; clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Spares(Arc<OnceCell<Option<Folder>>>);

#[derive(Debug)]
struct Folder {
    store: BackupStore,
    /// Goes with the server.
    _folder: TempDir,
}

impl Spares {
    /// What takes the files of one restore.
    pub(super) fn of_restore(&self, context: &Context) -> Spare {
        let (spares, context) = (self.clone(), context.clone());
        Spare::new(move || {
            let (spares, context) = (spares.clone(), context.clone());
            async move { spares.open(&context).await }
        })
    }

    /// The store, made on the first call; nothing where no folder can be made.
    async fn open(&self, context: &Context) -> Option<BackupStore> {
        let folder = self.0.get_or_init(async || match make(context).await {
            Ok(folder) => Some(folder),
            Err(error) => {
                tracing::warn!(%error, "what stores do not take of restores cannot be kept here");
                None
            }
        });
        folder.await.as_ref().map(|folder| folder.store.clone())
    }

    /// The store, if anything can be in it.
    pub(super) fn store(&self) -> Option<&BackupStore> {
        Some(&self.0.get()?.as_ref()?.store)
    }
}

async fn make(context: &Context) -> anyhow::Result<Folder> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("velero-kept-");
    let folder = match &context.settings.spool_dir {
        Some(parent) => builder.tempdir_in(parent)?,
        None => builder.tempdir()?,
    };
    let url = url::Url::from_file_path(folder.path());
    let url =
        url.map_err(|()| anyhow::anyhow!("{} is no absolute path", folder.path().display()))?;
    let store = Location::from_url(url.as_str())?.open().await?;
    Ok(Folder {
        store: BackupStore::new(store),
        _folder: folder,
    })
}

/// Names on a restore the files that are kept here.
pub(super) fn name(restore: &mut Restore, files: &[String]) {
    if files.is_empty() {
        return;
    }
    let own = restore.metadata.annotations.get_or_insert_default();
    own.insert(annotations::KEPT_BY_SERVER.to_owned(), files.join(","));
}

/// Whether a file of a restore is kept by a server, this one or one before it.
pub(super) fn is_named(restore: &Restore, file: &str) -> bool {
    let own = restore.metadata.annotations.as_ref();
    own.and_then(|own| own.get(annotations::KEPT_BY_SERVER))
        .is_some_and(|names| names.split(',').any(|name| name == file))
}
