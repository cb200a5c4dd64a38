//! News about a restore on their way into its store.

use bytes::Bytes;
use velero_core::api::Restore;
use velero_core::artifact::RestoreItemOperation;
use velero_core::result::{Record, ResultsFile};
use velero_persistence::{BackupStore, RestoreFile};
use velero_restore::artifacts;

use super::as_int;
use crate::runs::RunError;

/// News on their way into the store; what it has taken is empty.
pub(super) struct Pending {
    pub(super) operations: Vec<RestoreItemOperation>,
    pub(super) restore: Restore,
    pub(super) records: Vec<Record>,
    pub(super) log: Bytes,
}

impl Pending {
    /// Stores news about a restore whose operations the store has as `stored`; what is stored is news no more.
    pub(super) async fn write(
        &mut self,
        store: &BackupStore,
        name: &str,
        stored: &[RestoreItemOperation],
    ) -> Result<(), RunError> {
        // The records come first: of an operation that is known to have failed nobody asks again why.
        if !self.records.is_empty() {
            // Another process may have stored some of them before it could write them into the resource.
            if let Some((errors, warnings)) = add_results(store, name, &self.records).await? {
                self.restore.status.errors = errors;
                self.restore.status.warnings = warnings;
            }
            self.records.clear();
        }
        if !self.log.is_empty() {
            let log = RestoreFile::Logs.of(name);
            let written = store.append_packed(&log, self.log.clone()).await;
            written.map_err(RunError::store("add to the log of the restore"))?;
            self.log.clear();
        }
        if self.operations != stored {
            put_operations(store, name, &self.operations).await?;
        }
        Ok(())
    }
}

pub(super) async fn put_operations(
    store: &BackupStore,
    name: &str,
    operations: &[RestoreItemOperation],
) -> Result<(), RunError> {
    let bytes = artifacts::item_operations(operations).map_err(RunError::Log)?;
    store
        .put_packed(&RestoreFile::ItemOperations.of(name), bytes.into())
        .await
        .map_err(RunError::store("store the operations of the restore"))
}

/// Adds records to the results in the store, but for those that are there already; gives how many errors and warnings
/// there are then, if there were results.
async fn add_results(
    store: &BackupStore,
    name: &str,
    records: &[Record],
) -> Result<Option<(i64, i64)>, RunError> {
    let file = RestoreFile::Results.of(name);
    let results: Option<ResultsFile> = store
        .get_json(&file)
        .await
        .map_err(RunError::store("read the results of the restore"))?;
    let were_there = results.is_some();
    let mut results = results.unwrap_or_default();
    results.add_new(ResultsFile::from_records(records));
    let bytes = artifacts::results_file(&results).map_err(RunError::Log)?;
    store
        .put_packed(&file, bytes.into())
        .await
        .map_err(RunError::store("store the results of the restore"))?;
    let counts = (as_int(results.errors.len()), as_int(results.warnings.len()));
    Ok(were_there.then_some(counts))
}
