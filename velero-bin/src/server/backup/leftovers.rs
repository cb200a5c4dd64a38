//! Failed backups whose store has broken: what lies there is tidied up, and the failure is put on record, once it is back.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::Notify;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation};
use velero_persistence::{BackupStore, Claimant, Error, ErrorKind, Reservation};

use super::recover::log_of_failure;
use crate::runs::{Failure, LEASE, Unkept, holder, is_run_of, store_failure, without_left};
use crate::server::context::Context;
use crate::server::controller::{Retry, panic_text};
use crate::server::objects::{ApiError, Lock};
use crate::server::stores;

/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Longest time for one backup. The deadlines of the store's single requests are shorter.
const DEADLINE: Duration = Duration::from_secs(300);

/// Most bytes of logs that wait in memory; further ones are given up, and the record says the reason alone.
const MOST_LOGS: usize = 32 << 20;

/// Failed backups of which something may lie in a store. A cheap clone; clones share the list.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Leftovers {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By uid.
    waiting: Mutex<BTreeMap<String, Arc<Leftover>>>,
    look: Notify,
}

#[derive(Debug)]
struct Leftover {
    name: String,
    uid: String,
    location: String,
    /// What belongs in the store; only known to the server that has run the backup.
    unkept: Option<Box<Unkept>>,
}

impl Leftovers {
    /// Takes note of a failed backup, with what its store has not taken of it.
    pub(in crate::server) fn add(&self, failed: &Backup, mut unkept: Option<Box<Unkept>>) {
        let (Some(name), Some(uid)) = (&failed.metadata.name, &failed.metadata.uid) else {
            return;
        };
        let mut waiting = self.lock();
        if unkept.is_none() && waiting.contains_key(uid) {
            return;
        }
        if let Some(unkept) = &mut unkept {
            let held: usize = waiting.values().map(|leftover| leftover.log_bytes()).sum();
            if held + unkept.log.len() > MOST_LOGS {
                tracing::warn!(
                    backup = name,
                    "the log of the failed backup is given up: too many wait for their stores"
                );
                unkept.log = Bytes::new();
            }
        }
        let leftover = Leftover {
            name: name.clone(),
            uid: uid.clone(),
            location: failed.spec.storage_location.clone(),
            unkept,
        };
        waiting.insert(uid.clone(), Arc::new(leftover));
        drop(waiting);
        self.look_now();
    }

    /// A store may be back: the next look comes at once.
    pub(in crate::server) fn look_now(&self) {
        self.inner.look.notify_one();
    }

    fn waiting(&self) -> Vec<Arc<Leftover>> {
        self.lock().values().cloned().collect()
    }

    fn remove(&self, settled: &Arc<Leftover>) {
        let mut waiting = self.lock();
        if let Some(found) = waiting.get(&settled.uid)
            && Arc::ptr_eq(found, settled)
        {
            waiting.remove(&settled.uid);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Leftover>>> {
        self.inner
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leftover {
    fn log_bytes(&self) -> usize {
        self.unkept.as_ref().map_or(0, |unkept| unkept.log.len())
    }
}

/// Tidies up until the server stops. It begins with the failed backups that the cluster knows, as a server before this
/// one may have left something of them; each is looked at until its store has told how it is.
pub(in crate::server) async fn run(context: Context) {
    let mut pause = context.settings.tick;
    let mut listed = false;
    loop {
        let round = AssertUnwindSafe(round(&context, &mut listed)).catch_unwind();
        let outcome = tokio::select! {
            () = context.stopping.cancelled() => return,
            outcome = round => outcome,
        };
        if let Err(panic) = outcome {
            tracing::error!(
                "tidying up behind failed backups panicked: {}",
                panic_text(panic.as_ref())
            );
        }
        tokio::select! {
            () = context.stopping.cancelled() => return,
            () = context.leftovers.inner.look.notified() => pause = context.settings.tick,
            () = tokio::time::sleep(pause) => {
                pause = (pause * 2).min(LONGEST_PAUSE.max(context.settings.tick));
            }
        }
    }
}

async fn round(context: &Context, listed: &mut bool) {
    if !*listed {
        match context.objects.list::<Backup>().await {
            Ok(all) => {
                let failed = all
                    .iter()
                    .filter(|backup| *backup.phase() == BackupPhase::Failed);
                for backup in failed {
                    context.leftovers.add(backup, None);
                }
                *listed = true;
            }
            Err(error) => {
                tracing::warn!(%error, "the failed backups could not be listed");
                return;
            }
        }
    }
    for leftover in context.leftovers.waiting() {
        let settled = tokio::time::timeout(DEADLINE, settle(context, &leftover)).await;
        let settled = settled.unwrap_or_else(|_| {
            let seconds = DEADLINE.as_secs();
            Err(anyhow::anyhow!("no end within {seconds} s").into())
        });
        match settled {
            Ok(Settled::Done) => context.leftovers.remove(&leftover),
            Ok(Settled::Later) => {}
            Err(error) => tracing::warn!(
                backup = leftover.name,
                %error,
                "what a failed backup has left could not be tidied up; will try again"
            ),
        }
    }
}

/// What has come of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// There is nothing more to do.
    Done,
    /// Not now: the location is not available, or somebody else may be at work.
    Later,
}

async fn settle(context: &Context, leftover: &Leftover) -> Result<Settled, Retry> {
    let location = context
        .objects
        .get::<BackupStorageLocation>(&leftover.location);
    let Some(location) = location.await? else {
        return Ok(Settled::Done);
    };
    if !location.is_available() || location.is_read_only() {
        return Ok(Settled::Later);
    }
    let backup = match wanted(context, leftover).await? {
        Wanted::Yes(backup) => Some(backup),
        Wanted::No => None,
        Wanted::Unclear => return Ok(Settled::Later),
    };
    let store = stores::open(&context.objects, &location).await?;
    let claim = match claim(context, &store, leftover, backup.is_some()).await? {
        Ok(claim) => claim,
        Err(settled) => return Ok(settled),
    };
    match backup {
        Some(backup) => record(context, &store, leftover, &backup).await?,
        None => store.discard(&leftover.name).await?,
    }
    claim.release(context.now()).await?;
    tracing::info!(
        backup = leftover.name,
        "what the failed backup had left in its store is tidied up"
    );
    Ok(Settled::Done)
}

/// Whether anybody wants to know of the failure.
enum Wanted {
    /// This is the resource.
    Yes(Box<Backup>),
    /// The resource is gone.
    No,
    /// It is being deleted.
    Unclear,
}

async fn wanted(context: &Context, leftover: &Leftover) -> Result<Wanted, ApiError> {
    let found = context.objects.get::<Backup>(&leftover.name).await?;
    let own = found.filter(|found| found.metadata.uid.as_ref() == Some(&leftover.uid));
    Ok(match own {
        Some(backup) if *backup.phase() == BackupPhase::Failed => Wanted::Yes(Box::new(backup)),
        Some(_) => Wanted::Unclear,
        None => Wanted::No,
    })
}

/// Claims the name, if there is anything to do under it.
async fn claim(
    context: &Context,
    store: &BackupStore,
    leftover: &Leftover,
    wanted: bool,
) -> Result<Result<Reservation, Settled>, Retry> {
    let (name, uid) = (&leftover.name, &leftover.uid);
    if store.backup_exists(name).await? {
        return Ok(Err(Settled::Done));
    }
    match store.reservation(name).await? {
        Some(holder) if is_run_of(&holder, uid) => {}
        Some(_) => return Ok(Err(Settled::Done)),
        None if wanted && leftover.unkept.is_some() => {}
        None => return Ok(Err(Settled::Done)),
    }
    let claimant = Claimant::new(holder(uid, &context.writer)).lease(LEASE);
    match store.reserve(name, &claimant, context.now()).await {
        Ok(claim) => Ok(Ok(claim)),
        // A server before this one, of which it is not known whether it has ended.
        Err(Error::BackupReserved { holder, .. }) if is_run_of(&holder, uid) => {
            Ok(Err(Settled::Later))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Err(Settled::Done)),
        Err(error) => Err(error.into()),
    }
}

/// Puts log, results and record of the failure in the place of what lies there, and tells the resource.
async fn record(
    context: &Context,
    store: &BackupStore,
    leftover: &Leftover,
    backup: &Backup,
) -> Result<(), Retry> {
    let reason = without_left(&backup.status.failure_reason);
    let (begun, failure, mut log) = match leftover.unkept.as_deref().cloned() {
        Some(unkept) => (unkept.backup, unkept.failure, unkept.log),
        None => {
            let ended = backup.status.completion_timestamp.as_ref();
            let failure = Failure {
                reason: reason.to_owned(),
                records: Vec::new(),
                time: ended.map_or_else(|| context.now(), |time| time.0),
            };
            (backup.clone(), failure, Bytes::new())
        }
    };
    if log.is_empty() {
        log = log_of_failure(context, &leftover.name, reason)?;
    }
    let failed = store_failure(store, &begun, &leftover.name, failure, log).await?;
    let told = Backup {
        status: failed.status,
        ..backup.clone()
    };
    match context.objects.patch(backup, &told, Lock::SameObject).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use velero_core::api::BackupSpec;

    use super::*;

    fn failed(uid: &str) -> Backup {
        let mut backup = Backup::new("velero", uid, BackupSpec::default());
        backup.metadata.uid = Some(uid.to_owned());
        backup
    }

    fn unkept(bytes: usize) -> Option<Box<Unkept>> {
        let failure = Failure {
            reason: "the store is gone".to_owned(),
            records: Vec::new(),
            time: jiff::Timestamp::UNIX_EPOCH,
        };
        Some(Box::new(Unkept {
            backup: Backup::default(),
            failure,
            log: vec![0; bytes].into(),
        }))
    }

    #[test]
    fn logs_wait_in_memory_up_to_a_limit_and_reasons_always() {
        let leftovers = Leftovers::default();
        for (uid, bytes) in [("a", MOST_LOGS - 2), ("b", 3), ("c", 2)] {
            leftovers.add(&failed(uid), unkept(bytes));
        }
        // What is known already is not forgotten for what is not.
        leftovers.add(&failed("c"), None);
        leftovers.add(&failed("d"), None);
        let waiting = leftovers.waiting();
        let held: Vec<_> = waiting
            .iter()
            .map(|one| (one.uid.as_str(), one.unkept.is_some(), one.log_bytes()))
            .collect();
        assert_eq!(
            held,
            [
                ("a", true, MOST_LOGS - 2),
                ("b", true, 0),
                ("c", true, 2),
                ("d", false, 0)
            ]
        );
        // One that was noted anew meanwhile is looked at again.
        leftovers.add(&failed("a"), unkept(1));
        for old in &waiting {
            leftovers.remove(old);
        }
        assert_eq!(leftovers.waiting().len(), 1);
    }
}
