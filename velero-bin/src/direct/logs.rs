//! `velero direct logs`.

use anyhow::{Result, bail};
use velero_persistence::BackupFile;

use super::store::StoreArgs;
use crate::cli::{Exit, console, names};

/// Flags of `direct logs`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectLogs {
    /// Name of the backup; one that has failed has a log as well
    name: String,
    #[command(flatten)]
    store: StoreArgs,
}

impl DirectLogs {
    pub(super) async fn run(self) -> Result<Exit> {
        names::check("backup", &self.name)?;
        let store = self.store.open_for_reading().await?;
        match store.get_bytes(&BackupFile::Logs.of(&self.name)).await? {
            Some(log) => console::out(String::from_utf8_lossy(&log)),
            None => bail!(
                "there is no log of a backup {:?} in {}",
                self.name,
                store.store().describe()
            ),
        }
        Ok(Exit::Success)
    }
}
