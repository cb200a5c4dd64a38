//! After the operations: items that they have changed are read and stored once more.
//!
//! Mirrors `FinalizeBackup` in upstream's `pkg/backup/backup.go`. The archive is not written again: see [`ArchiveBase`].

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use velero_core::api::Backup;
use velero_core::archive::ArchiveWriterOptions;
use velero_core::artifact::BackupItemOperation;
use velero_core::result::{Record, ResourceList, Severity, count};
use velero_core::{ResourceIdentifier, Timestamp};

use crate::engine::{BackupEngine, BackupRun};
use crate::run::{CHUNK, Run};
use crate::writer::Writer;
use crate::{ArchiveSink, BackupRequest, Error};

/// What the items that are stored once more are added to.
pub enum ArchiveBase {
    /// An archive that ends with [`END_MEMBER`](velero_core::archive::END_MEMBER), as all that this crate writes do. The
    /// sink takes what comes in the place of those bytes; nothing of the archive is read.
    Tail,
    /// Any other archive: it is read from here, and the sink takes all of it again, and what is added.
    CopyOf(Box<dyn Read + Send>),
}

impl fmt::Debug for ArchiveBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tail => "Tail",
            Self::CopyOf(_) => "CopyOf(..)",
        })
    }
}

/// What came of storing items once more.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FinalizeResult {
    /// Items stored.
    pub stored: u64,
    /// What went wrong, in the order it happened.
    pub records: Vec<Record>,
    /// The items stored, by kind. Some are in the backup's own list already.
    pub resource_list: ResourceList,
    /// Bytes that the sink was given.
    pub archive_bytes: u64,
    /// When it was done.
    pub completed: Timestamp,
}

impl FinalizeResult {
    /// How many errors there are.
    pub fn errors(&self) -> usize {
        count(&self.records, Severity::Error)
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        count(&self.records, Severity::Warning)
    }
}

/// The items that operations want to be read again, each once, with the words for who wants it.
fn wanted(operations: &[BackupItemOperation]) -> Vec<(ResourceIdentifier, String)> {
    let mut known = std::collections::HashSet::new();
    operations
        .iter()
        .flat_map(|operation| {
            let items = operation.spec.post_operation_items.iter().flatten();
            items.map(move |id| (id, &operation.spec))
        })
        .filter(|(id, _)| known.insert((*id).clone()))
        .map(|(id, spec)| {
            let by = format!(
                "operation {:?} of action {}",
                spec.operation_id, spec.backup_item_action
            );
            (id.clone(), by)
        })
        .collect()
}

impl BackupEngine {
    /// Reads the objects again that operations name, runs their actions again, and adds them to the archive: for the
    /// time after all operations have ended, well or not.
    ///
    /// Filters do not count any more. `backup` is handed to the actions; by its phase, `Finalizing` or
    /// `FinalizingPartiallyFailed`, they see that this is not the first time. An action that starts an operation now makes
    /// an error. When nothing is stored, the sink is given up: it gets no complete archive and none is needed.
    ///
    /// # Errors
    /// As [`BackupEngine::run`]; also when the archive to copy is damaged.
    pub async fn finalize(
        &self,
        backup: &Backup,
        operations: &[BackupItemOperation],
        base: ArchiveBase,
        sink: impl ArchiveSink + 'static,
        run: BackupRun,
    ) -> Result<FinalizeResult, Error> {
        let catalog = self.cluster().catalog();
        // Filters do not count, so that of an empty spec, which nothing can be wrong with, will do.
        let request = BackupRequest::resolve(&Backup::default(), &catalog, &[])
            .map_err(|faults| Error::Invalid { faults })?;
        let cancel = run.cancel.child_token();
        let _on_end = cancel.clone().drop_guard();
        let actions = self.bind(
            Arc::new(backup.clone()),
            &catalog,
            Arc::clone(&run.clock),
            cancel.clone(),
        )?;
        let options = ArchiveWriterOptions::default()
            .mtime(u64::try_from(run.start.as_second()).unwrap_or_default())
            .level(self.settings().gzip_level);
        let writer = Writer::start_on(base, sink, options, self.settings().queue_bytes);
        let mut work = Run::new(
            self.cluster(),
            &request,
            actions,
            self.settings(),
            &run,
            &writer,
        );
        let outcome = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled),
            outcome = work.finalize(wanted(operations)) => outcome,
        };
        let finished = work.into_output();
        let written = match outcome {
            Ok(()) if finished.stored() == 0 => {
                writer.abandon().await;
                Ok(0)
            }
            Ok(()) => writer.finish_unless(&cancel).await,
            Err(Error::Sink { .. }) => Err(writer.failure().await),
            Err(error) => {
                writer.abandon().await;
                Err(error)
            }
        };
        match written {
            Ok(bytes) => Ok(finished.into_finalized(bytes, (run.clock)())),
            Err(error) => {
                run.noted.put(finished.records);
                Err(error)
            }
        }
    }
}

impl Run<'_> {
    /// Stores items once more, and what their actions ask for.
    async fn finalize(&mut self, wanted: Vec<(ResourceIdentifier, String)>) -> Result<(), Error> {
        self.finalizing = true;
        // No kind is listed: each item is read by its name.
        self.kinds.clear();
        self.sources.clear();
        self.kind_of.clear();
        let mut wanted = wanted.into_iter();
        loop {
            let chunk: Vec<_> = wanted.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            let found = self.find_named(chunk).await?;
            self.work_and_lay(found).await?;
        }
    }
}
