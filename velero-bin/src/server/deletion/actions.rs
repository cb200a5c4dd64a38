//! What actions do with the items of a backup before its files go.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use velero_core::ProgressUpdate;
use velero_core::api::{Backup, DeleteBackupRequest};
use velero_core::names::annotations;
use velero_core::result::chain;
use velero_persistence::{BackupFile, BackupStore};
use velero_restore::{DeletionPass, DeletionResult, Error, ErrorKind};

use super::delete::Stop;
use crate::server::context::Context;
use crate::server::progress::ProgressWriter;
use crate::server::restore::restore_options;

/// Shows the items of a backup to the actions. Without any nothing is read, and without an archive nothing is shown.
pub(super) async fn run_actions(
    context: &Context,
    request: &DeleteBackupRequest,
    backup: &Backup,
    store: &BackupStore,
) -> Result<(), Stop> {
    let now = context.settings.clock.clone();
    let pass = DeletionPass::new(context.cluster.clone())
        .actions(context.settings.delete_actions.iter().cloned())
        .options(restore_options(context))
        .clock(move || now());
    if !pass.is_needed() {
        return Ok(());
    }
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let archive = match store.reader(&BackupFile::Contents.of(name)).await {
        Ok(archive) => archive.into_blocking(),
        Err(error) if error.is_not_found() => {
            tracing::warn!(
                backup = name,
                "the backup has no archive: its items are not shown to delete actions"
            );
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let refreshed = context.cluster.refresh().await;
    refreshed.map_err(|error| Stop::Later(chain(&error)))?;
    let broke = Arc::new(AtomicBool::new(false));
    let archive = Noted {
        inner: archive,
        broke: Arc::clone(&broke),
    };
    let cancel = context.stopping.child_token();
    let writer = ProgressWriter::start(context, request, cancel.clone(), write_progress);
    let pass = pass.progress(writer.progress());
    let outcome = pass.run(backup.clone(), archive, cancel).await;
    writer.stop().await;
    match outcome {
        Ok(result) => judge(name, &result),
        Err(error) if passes(&error, &broke) => Err(Stop::Later(chain(&error))),
        Err(error) => Err(Stop::Refused(vec![format!(
            "the items of the backup cannot be shown to delete actions: {}",
            chain(&error)
        )])),
    }
}

/// Whether a pass that has failed can succeed later: an archive that was not read to its end is not a damaged one.
fn passes(error: &Error, broke: &AtomicBool) -> bool {
    match error.kind() {
        ErrorKind::Archive => broke.load(Ordering::Relaxed),
        ErrorKind::InvalidRequest => false,
        _ => true,
    }
}

/// What stands in the way of the deletion after a pass. Failures of actions do not: they are lines of the log.
fn judge(backup: &str, result: &DeletionResult) -> Result<(), Stop> {
    if result.cancelled {
        return Err(Stop::Later("the server stops".to_owned()));
    }
    if !result.unreadable.is_empty() {
        let lines = result.unreadable.iter().map(|record| record.line());
        return Err(Stop::Refused(lines.collect()));
    }
    tracing::info!(
        backup,
        items = result.items,
        failures = result.failures.len(),
        "delete actions have seen the items of the backup"
    );
    Ok(())
}

fn write_progress(request: &mut DeleteBackupRequest, update: ProgressUpdate) {
    let ProgressUpdate { done, total } = update;
    let own = request.metadata.annotations.get_or_insert_default();
    let text = format!("delete actions have seen {done} of {total} items");
    own.insert(annotations::PROGRESS.to_owned(), text);
}

/// Notes whether the bytes could not be read, whatever they are.
struct Noted<R> {
    inner: R,
    broke: Arc<AtomicBool>,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf);
        if read.is_err() {
            self.broke.store(true, Ordering::Relaxed);
        }
        read
    }
}
