//! Tidying up behind a run that has failed. The store may be why it has, so all of it has one deadline.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use velero_core::CancellationToken;
use velero_core::api::Backup;
use velero_core::result::chain;
use velero_persistence::{BackupStore, layout};

use super::RunError;
use super::claim::Claim;
use super::failure::{BackupFailure, Failure, FailureLog, Unkept, store_failure};

/// How long a cancelled run waits for the call of the store that is under way.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Longest time for tidying up behind a run that was cancelled: somebody waits for its end.
const AFTER_CANCEL: Duration = Duration::from_secs(10);

/// Longest time for tidying up behind another failure.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Does a part of a run, for which one that is cancelled does not wait long.
pub(super) async fn unless_late<T>(
    cancel: &CancellationToken,
    part: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    let late = async {
        cancel.cancelled().await;
        tokio::time::sleep(LAST_CALL).await;
    };
    tokio::select! {
        biased;
        outcome = part => outcome,
        () = late => Err(RunError::Cancelled),
    }
}

/// Keys of the files that a run may have in the store. A cheap clone; clones share the list.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<Mutex<BTreeSet<String>>>);

impl Written {
    /// The mark of a claim on a name.
    pub(super) fn of_claim(backup: &str) -> Self {
        let written = Self::default();
        written.note(&BackupStore::reservation_key(backup));
        written
    }

    /// Notes a file whose writing begins.
    pub(super) fn note(&self, key: &str) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned());
    }

    /// The keys, sorted.
    pub(super) fn keys(&self) -> Vec<String> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().cloned().collect()
    }
}

/// What there is to tidy up behind a run that has failed, and until when.
pub(super) struct Tidy<'a> {
    store: &'a BackupStore,
    backup: &'a Backup,
    claim: Claim,
    written: Written,
    cancel: &'a CancellationToken,
    deadline: Instant,
    /// When it ends as the run was cancelled, before or meanwhile.
    cancelled_end: OnceLock<Instant>,
}

impl<'a> Tidy<'a> {
    pub(super) fn new(
        store: &'a BackupStore,
        backup: &'a Backup,
        claim: Claim,
        written: Written,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            store,
            backup,
            claim,
            written,
            cancel,
            deadline: Instant::now() + AFTER_FAILURE,
            cancelled_end: OnceLock::new(),
        }
    }

    /// Puts what is known of a failure in the place of the files of its run; nothing when nobody wants to know.
    ///
    /// The claim on the name is given back when nothing stays that is to be removed: while it is there, it says that the
    /// files beside it are no backup, and whose they are.
    pub(super) async fn after(
        self,
        error: RunError,
        failure: Option<Failure>,
        mut log: FailureLog,
    ) -> BackupFailure {
        if let Some(failure) = &failure {
            tracing::error!("the backup has failed: {}", failure.reason);
        }
        let log = log.finish().unwrap_or_else(|error| {
            tracing::warn!(%error, "the log of the failed backup cannot be read");
            Bytes::new()
        });
        let mut failed = BackupFailure::from(error);
        match self.in_time(self.claim.confirm()).await {
            Some(Ok(())) => {}
            // What lies there is another run's.
            Some(Err(RunError::ClaimLost(lost))) => {
                let lost = chain(&lost);
                tracing::warn!(lost, "the folder of the failed backup is left alone");
                return failed;
            }
            Some(Err(problem)) => {
                return self.gives_up(failed, failure, log, problem.chain()).await;
            }
            None => return self.gives_up(failed, failure, log, no_end()).await,
        }
        let name = self.name();
        if let Some(failure) = &failure {
            let work = store_failure(self.store, self.backup, &name, failure.clone(), log.clone());
            match self.within(work).await {
                Ok(kept) => {
                    failed.backup = Some(Box::new(kept));
                    self.claim.clone().release_until(self.end()).await;
                    return failed;
                }
                Err(problem) => tracing::warn!(
                    backup = name,
                    problem,
                    "the failed backup leaves no log in the store"
                ),
            }
        }
        if let Err(problem) = self.within(self.store.discard(&name)).await {
            return self.gives_up(failed, failure, log, problem).await;
        }
        failed.unkept = self.unkept(failure, log);
        self.claim.clone().release_until(self.end()).await;
        failed
    }

    /// Leaves the files of the run where they are, and says which.
    async fn gives_up(
        self,
        mut failed: BackupFailure,
        failure: Option<Failure>,
        log: Bytes,
        problem: String,
    ) -> BackupFailure {
        let name = self.name();
        let dir = layout::backup_dir(&name);
        failed.left = match self.within(self.store.store().list(&dir)).await {
            Ok(entries) if !entries.is_empty() => {
                entries.into_iter().map(|entry| entry.key).collect()
            }
            // A folder that cannot be seen is not an empty one.
            _ => self.written.keys(),
        };
        failed.unkept = self.unkept(failure, log);
        tracing::warn!(
            backup = name,
            problem,
            files = failed.left.join(", "),
            "files of the failed backup stay in the store"
        );
        failed
    }

    /// What the store has not taken; `None` when nobody wants to know.
    fn unkept(&self, failure: Option<Failure>, log: Bytes) -> Option<Box<Unkept>> {
        let backup = self.backup.clone();
        failure.map(|failure| {
            Box::new(Unkept {
                backup,
                failure,
                log,
            })
        })
    }

    fn name(&self) -> String {
        self.backup.metadata.name.clone().unwrap_or_default()
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, velero_persistence::Error>>,
    ) -> Result<T, String> {
        match self.in_time(work).await {
            Some(outcome) => outcome.map_err(|error| chain(&error)),
            None => Err(no_end()),
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            outcome = work => Some(outcome),
            () = self.end() => None,
        }
    }

    /// Ends when there is no time left.
    async fn end(&self) {
        let cancelled = async {
            self.cancel.cancelled().await;
            let end = || Instant::now() + AFTER_CANCEL;
            sleep_until(*self.cancelled_end.get_or_init(end)).await;
        };
        tokio::select! {
            () = sleep_until(self.deadline) => {}
            () = cancelled => {}
        }
    }
}

fn no_end() -> String {
    "the store has not answered in time".to_owned()
}
