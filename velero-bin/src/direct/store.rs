//! The store of a command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use velero_persistence::{BackupStore, Location};

use crate::cli::console;

/// Where backups live.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StoreArgs {
    /// Where backups live: file:///folder, s3://bucket/prefix?region=...&endpoint=..., az://container/prefix?storageAccount=..., gs://bucket/prefix
    #[arg(long, value_name = "URL", env = "VELERO_STORE")]
    store: String,
}

impl StoreArgs {
    /// The store behind a URL.
    pub(super) fn new(url: String) -> Self {
        Self { store: url }
    }

    /// Checks that the store outlives the command.
    ///
    /// # Errors
    /// When it does not.
    pub(super) fn check(&self) -> Result<()> {
        if self.store.starts_with("memory:") {
            bail!(
                "--store {:?} would be gone when this command ends; file:///path or s3://bucket/prefix?region=... is needed",
                self.url()
            );
        }
        Ok(())
    }

    /// Opens the store and checks that it answers; a missing folder is made.
    ///
    /// # Errors
    /// When the URL is wrong, the store does not answer, or the bucket or the credentials are wrong.
    pub(super) async fn open_for_writing(&self) -> Result<BackupStore> {
        self.check()?;
        let location = Location::from_url(&self.store)?;
        for warning in location.warnings() {
            console::note(format_args!("warning: {warning}"));
        }
        let store = BackupStore::open(&location).await?;
        store.store().check().await?;
        Ok(store)
    }

    /// As [`StoreArgs::open_for_writing`]; a missing folder is an error.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn open_for_reading(&self) -> Result<BackupStore> {
        if let Some(path) = self.missing_folder() {
            bail!("there is no folder {} to read backups from", path.display());
        }
        self.open_for_writing().await
    }

    /// As [`StoreArgs::open_for_writing`], but makes nothing: `None` when the folder is missing.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn open_if_there(&self) -> Result<Option<BackupStore>> {
        match self.missing_folder() {
            Some(_) => Ok(None),
            None => self.open_for_writing().await.map(Some),
        }
    }

    /// The folder of the URL, if it names one that is not there.
    fn missing_folder(&self) -> Option<PathBuf> {
        let url = url::Url::parse(&self.store).ok()?;
        let path = url.to_file_path().ok()?;
        (url.scheme() == "file" && !path.is_dir()).then_some(path)
    }

    /// The URL, without what may be secret.
    pub(super) fn url(&self) -> &str {
        self.store.split('?').next().unwrap_or_default()
    }
}
