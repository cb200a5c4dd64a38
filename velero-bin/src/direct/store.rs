//! The store of a command line.

use anyhow::{Result, bail};
use velero_persistence::{BackupStore, Location};

use crate::cli::console;

/// Where backups live.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct StoreArgs {
    /// Where backups live: file:///folder, s3://bucket/prefix?region=...&endpoint=...
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
        if let Ok(url) = url::Url::parse(&self.store)
            && url.scheme() == "file"
            && let Ok(path) = url.to_file_path()
            && !path.is_dir()
        {
            bail!("there is no folder {} to read backups from", path.display());
        }
        self.open_for_writing().await
    }

    /// The URL, without what may be secret.
    pub(super) fn url(&self) -> &str {
        self.store.split('?').next().unwrap_or_default()
    }
}
