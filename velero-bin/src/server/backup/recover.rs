//! Backups that a server left behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, Document};
use velero_persistence::{BackupStore, Claimant, Error, ErrorKind, Reservation};

use super::run::{BEGINNING, queued_again};
use crate::logfile::LogFile;
use crate::runs::{Failure, LEASE, holder, is_run_of, store_failure};
use crate::server::attempts::{ATTEMPTS, attempt, count_attempt};
use crate::server::cancel::{self, cancelled_by};
use crate::server::context::{Context, after, stamp};
use crate::server::controller::Retry;
use crate::server::objects::Lock;
use crate::server::stores;

/// Since when backups cannot be looked after. A cheap clone; clones share what is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Patience {
    since: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Patience {
    /// Notes a failure; whether the first one in a row was longer ago than `limit`.
    fn is_over(&self, backup: &str, limit: Duration) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let first = since.entry(backup.to_owned()).or_insert_with(Instant::now);
        first.elapsed() >= limit
    }

    fn forget(&self, backup: &str) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.remove(backup);
    }
}

/// What there is of a backup that this server does not run, but whose resource says that it runs.
#[derive(Debug)]
enum Found {
    /// Somebody works on it.
    Alive,
    /// This is how it has ended in its store, whole or failed; its server may be about to say so.
    Ended(Box<Backup>),
    /// It was left behind, and nothing of it is in its store any more.
    Left,
    /// It was left behind for the last time, and has failed in its store by now.
    Failed(Box<Backup>),
    /// It has no place in its store.
    Nothing,
}

/// Takes up a backup that nobody works on any more. One that another server works on is left alone.
///
/// Its metadata is the last thing that a run writes into the store. If it is there, the backup is whole and only the
/// write to the resource is missing. If not, and the claim on the name gives no signs of life, what there is of it in the
/// store is removed, and the backup begins anew, first in the queue. One that has begun often enough, or that somebody has
/// cancelled, has failed instead, and the store gets the metadata and the results of a failed one. A store that cannot be
/// looked into is tried again for as long as the resource timeout.
pub(super) async fn recover(
    context: &Context,
    backup: &Backup,
    patience: &Patience,
) -> Result<(), Retry> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let key = backup.metadata.uid.as_deref().unwrap_or(name);
    let reason = why(backup);
    let mut ended = backup.clone();
    let found = look(context, backup, name, &reason).await;
    let was_stored = matches!(found, Ok(Found::Ended(_)));
    let unseen = found.is_err();
    match found {
        Ok(Found::Alive) => {
            patience.forget(key);
            tracing::debug!(backup = name, "another server works on the backup");
            return Ok(());
        }
        Ok(Found::Left) => {
            patience.forget(key);
            return again(context, backup, name).await;
        }
        Ok(Found::Ended(found) | Found::Failed(found)) => ended.status = found.status,
        Ok(Found::Nothing) => fail(context, &mut ended, reason),
        Err(error) if !patience.is_over(key, context.settings.resource_timeout) => {
            return Err(error);
        }
        Err(error) => fail(
            context,
            &mut ended,
            format!(
                "{reason}; its location could not be looked into: {:#}",
                error.0
            ),
        ),
    }
    patience.forget(key);
    context
        .objects
        .patch(backup, &ended, Lock::SameObject)
        .await?;
    if unseen {
        context.leftovers.add(&ended, None);
    }
    let phase = ended.phase();
    if was_stored {
        tracing::info!(backup = name, %phase, "the backup has ended in its store");
    } else {
        tracing::warn!(backup = name, %phase, "the backup was left behind by a server that has stopped");
    }
    Ok(())
}

/// Why a backup that was left behind has failed.
fn why(backup: &Backup) -> String {
    if let Some(who) = cancelled_by(&backup.metadata) {
        return cancel::reason(&who);
    }
    let times = attempt(&backup.metadata);
    format!(
        "the server stopped while the backup was {}, {times} times",
        backup.phase()
    )
}

/// Whether a backup that was left behind is not to begin anew.
fn is_over(backup: &Backup) -> bool {
    attempt(&backup.metadata) >= ATTEMPTS || cancelled_by(&backup.metadata).is_some()
}

/// Puts a backup that was left behind first in the queue.
async fn again(context: &Context, backup: &Backup, name: &str) -> Result<(), Retry> {
    let mut again = queued_again(backup);
    count_attempt(&mut again.metadata);
    let attempt = attempt(&again.metadata);
    let objects = &context.objects;
    objects.patch(backup, &again, Lock::Unchanged).await?;
    tracing::warn!(
        backup = name,
        attempt,
        "the backup was left behind by a server that has stopped, and begins anew"
    );
    Ok(())
}

fn fail(context: &Context, ended: &mut Backup, reason: String) {
    ended.status.failure_reason = reason;
    ended.status.phase = Some(BackupPhase::Failed);
    ended.status.completion_timestamp = stamp(context.now());
}

async fn look(
    context: &Context,
    backup: &Backup,
    name: &str,
    reason: &str,
) -> Result<Found, Retry> {
    let Some(location) = context
        .objects
        .get::<BackupStorageLocation>(&backup.spec.storage_location)
        .await?
    else {
        return Ok(Found::Nothing);
    };
    let store = stores::open(&context.objects, &location).await?;
    match store.get_metadata(name).await {
        Ok(bytes) => {
            let metadata = Document::<Backup>::parse(&bytes)
                .map_err(anyhow::Error::from)?
                .into_parts()
                .1;
            let known = metadata.phase().is_terminal()
                || matches!(
                    metadata.phase(),
                    BackupPhase::WaitingForPluginOperations
                        | BackupPhase::WaitingForPluginOperationsPartiallyFailed
                );
            if metadata.metadata.uid == backup.metadata.uid && known {
                // A server that still lives has no more use for its claim either.
                if metadata.phase().is_terminal() {
                    store.break_reservation(name).await?;
                }
                Ok(Found::Ended(Box::new(metadata)))
            } else {
                Ok(Found::Nothing)
            }
        }
        Err(error) if error.is_not_found() => {
            let Some(uid) = backup.metadata.uid.as_deref() else {
                return Ok(Found::Nothing);
            };
            match claim(context, &store, backup, name, uid).await? {
                Claimed::Ours(claim) if !is_over(backup) => {
                    store.discard(name).await?;
                    claim.release(context.now()).await?;
                    Ok(Found::Left)
                }
                Claimed::Ours(claim) => {
                    leave_failure(context, &store, backup, name, reason, claim).await
                }
                Claimed::Alive => Ok(Found::Alive),
                Claimed::ByAnother => Ok(Found::Nothing),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Who holds the name of a backup that is not in its store.
enum Claimed {
    /// This server, from now on.
    Ours(Reservation),
    /// A run of this backup that gives signs of life, or has only just begun.
    Alive,
    /// The run of another backup.
    ByAnother,
}

/// Takes the name over from a run that gives no sign of life.
async fn claim(
    context: &Context,
    store: &BackupStore,
    backup: &Backup,
    name: &str,
    uid: &str,
) -> Result<Claimed, Retry> {
    let now = context.now();
    if context.is_alone() {
        free(store, name, uid).await?;
    } else if store.reservation(name).await?.is_none() && is_beginning(backup, now) {
        return Ok(Claimed::Alive);
    }
    let claimant = Claimant::new(holder(uid, &context.writer)).lease(LEASE);
    match store.reserve(name, &claimant, now).await {
        Ok(claim) => Ok(Claimed::Ours(claim)),
        Err(Error::BackupReserved { holder, .. }) if is_run_of(&holder, uid) => Ok(Claimed::Alive),
        // It was stored between the two looks: the next one finds it.
        Err(Error::BackupExists { .. }) => Ok(Claimed::Alive),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Claimed::ByAnother),
        Err(error) => Err(error.into()),
    }
}

/// Breaks the claim of a run of this backup, for a server that is alone: whoever claimed it is gone.
pub(super) async fn free(
    store: &BackupStore,
    name: &str,
    uid: &str,
) -> Result<(), velero_persistence::Error> {
    match store.reservation(name).await? {
        Some(holder) if is_run_of(&holder, uid) => store.break_reservation(name).await.map(drop),
        _ => Ok(()),
    }
}

/// Whether a run may not have come to its claim yet.
fn is_beginning(backup: &Backup, now: jiff::Timestamp) -> bool {
    let nanos = i64::try_from(BEGINNING.as_nanos()).unwrap_or(i64::MAX);
    let started = backup.status.start_timestamp.as_ref();
    started.is_some_and(|started| now < after(started.0, nanos))
}

/// Puts a failed backup in the place of the files of a run that held the name.
async fn leave_failure(
    context: &Context,
    store: &BackupStore,
    backup: &Backup,
    name: &str,
    reason: &str,
    claim: Reservation,
) -> Result<Found, Retry> {
    let log = log_of_failure(context, name, reason)?;
    let failed = store_failure(
        store,
        backup,
        name,
        Failure {
            reason: reason.to_owned(),
            records: Vec::new(),
            time: context.now(),
        },
        log,
    )
    .await?;
    claim.release(context.now()).await?;
    Ok(Found::Failed(Box::new(failed)))
}

/// A log that says why a backup has failed, for one whose own is lost.
pub(super) fn log_of_failure(
    context: &Context,
    name: &str,
    reason: &str,
) -> Result<Bytes, anyhow::Error> {
    let key = format!("{}/{name}", context.objects.namespace());
    let log = context.logs.begin("backup", &key);
    log.span()
        .in_scope(|| tracing::error!("the backup has failed: {reason}"));
    Ok(log.finish().and_then(LogFile::into_bytes)?.into())
}

#[cfg(test)]
mod tests {
    use velero_core::api::Time;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_counts_from_the_first_failure_in_a_row() {
        let (patience, limit) = (Patience::default(), Duration::from_secs(600));
        assert!(!patience.is_over("a", limit));
        tokio::time::advance(limit / 2).await;
        assert!(!patience.is_over("a", limit) && !patience.is_over("b", limit));
        tokio::time::advance(limit / 2).await;
        assert!(patience.is_over("a", limit) && !patience.is_over("b", limit));
        patience.forget("a");
        assert!(!patience.is_over("a", limit));
        assert!(patience.is_over("c", Duration::ZERO));
    }

    #[test]
    fn runs_that_have_just_begun_may_have_no_claim() {
        let at = |seconds: i64| jiff::Timestamp::from_second(1_000_000 + seconds).unwrap();
        for (started, now, expected) in [
            (Some(0), 59, true),
            (Some(0), 60, false),
            (Some(9), 0, true),
            (None, 0, false),
        ] {
            let mut backup = Backup::default();
            backup.status.start_timestamp = started.map(|s| Time(at(s)));
            assert_eq!(
                is_beginning(&backup, at(now)),
                expected,
                "{started:?} {now}"
            );
        }
    }
}
