//! The log of a run on its way to the store.

use std::io::Read as _;

use velero_persistence::{Artifact, BackupStore};

use super::RunError;
use crate::logfile::LogFile;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Uploads a log piece by piece: it may be far larger than what a run holds in memory.
pub(super) async fn put(
    store: &BackupStore,
    artifact: &Artifact,
    log: LogFile,
) -> Result<(), RunError> {
    let failed = || RunError::store("store the log of the run");
    let mut writer = store.writer(artifact).await.map_err(failed())?;
    let mut log = log;
    loop {
        let (back, piece) = tokio::task::spawn_blocking(move || read(log))
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(RunError::Log)?;
        if piece.is_empty() {
            break;
        }
        log = back;
        writer.write(piece).await.map_err(failed())?;
    }
    writer.close().await.map_err(failed())
}

fn read(mut log: LogFile) -> std::io::Result<(LogFile, Vec<u8>)> {
    let mut piece = Vec::new();
    (&mut log).take(PIECE as u64).read_to_end(&mut piece)?;
    Ok((log, piece))
}
