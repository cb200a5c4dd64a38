//! Which runs this process has under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use velero_core::CancellationToken;

/// What a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RunKind {
    Backup,
    /// Operations that actions of a backup have left running, and what follows them.
    Operations,
    Restore,
    /// Operations and hooks that a restore has left running.
    RestoreOperations,
}

/// Wishes to store something that may wait for one run.
const FLUSHES: usize = 8;

type Key = (RunKind, String);

/// Who has cancelled a run, once somebody has: what stands behind `cancelled by`.
pub(super) type CancelReason = Arc<OnceLock<String>>;

/// Asks a run to store what it has in memory; the answer says that it has.
type Flush = oneshot::Sender<()>;

#[derive(Debug)]
struct Run {
    cancel: CancellationToken,
    by: CancelReason,
    flush: mpsc::Sender<Flush>,
}

/// The runs under way. A cheap clone; clones share the list.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracker {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: Mutex<HashMap<Key, Run>>,
    ended: Notify,
}

impl Tracker {
    /// Takes note of a run, unless that one is under way already.
    pub(super) fn begin(
        &self,
        kind: RunKind,
        name: &str,
        cancel: CancellationToken,
    ) -> Option<Running> {
        let mut runs = self.lock();
        let key = (kind, name.to_owned());
        if runs.contains_key(&key) {
            return None;
        }
        let by = CancelReason::default();
        let (flush, flushes) = mpsc::channel(FLUSHES);
        let run = Run {
            cancel,
            by: Arc::clone(&by),
            flush,
        };
        runs.insert(key.clone(), run);
        Some(Running {
            tracker: self.clone(),
            key,
            by,
            flushes,
        })
    }

    /// Whether a run of that name is under way.
    pub(super) fn contains(&self, kind: RunKind, name: &str) -> bool {
        self.lock()
            .keys()
            .any(|(running, of)| *running == kind && of == name)
    }

    /// Names of the runs of a kind that are under way.
    pub(super) fn names(&self, kind: RunKind) -> Vec<String> {
        let runs = self.lock();
        let of_kind = runs.keys().filter(|(running, _)| *running == kind);
        of_kind.map(|(_, name)| name.clone()).collect()
    }

    /// Cancels a run, if it is under way, as its resource is gone.
    pub(super) fn cancel(&self, kind: RunKind, name: &str) {
        if let Some(run) = self.lock().get(&(kind, name.to_owned())) {
            run.cancel.cancel();
        }
    }

    /// Cancels a run, if it is under way, for somebody who is to be named. Whether it was.
    pub(super) fn cancel_for(&self, kind: RunKind, name: &str, by: &str) -> bool {
        let runs = self.lock();
        let Some(run) = runs.get(&(kind, name.to_owned())) else {
            return false;
        };
        run.by.get_or_init(|| by.to_owned());
        run.cancel.cancel();
        true
    }

    /// Has a run store what it has in memory, if it is under way, and waits for that, no longer than so.
    pub(super) async fn flush(&self, kind: RunKind, name: &str, patience: Duration) {
        let run = (kind, name.to_owned());
        let Some(flush) = self.lock().get(&run).map(|run| run.flush.clone()) else {
            return;
        };
        let (stored, is_stored) = oneshot::channel();
        if flush.try_send(stored).is_ok() {
            // A run that has ended meanwhile has stored all of it.
            let _ = tokio::time::timeout(patience, is_stored).await;
        }
    }

    /// Waits until no run is under way, at most for `deadline`; says whether that came about.
    pub(super) async fn drained(&self, deadline: Duration) -> bool {
        let drained = async {
            loop {
                let ended = self.inner.ended.notified();
                if self.lock().is_empty() {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(deadline, drained).await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Run>> {
        self.inner
            .runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run under way; dropping it takes it off the list.
#[derive(Debug)]
pub(super) struct Running {
    tracker: Tracker,
    key: Key,
    by: CancelReason,
    flushes: mpsc::Receiver<Flush>,
}

impl Running {
    /// Waits until somebody wants what the run has in memory to be stored.
    pub(super) async fn flush_wanted(&mut self) -> Flush {
        match self.flushes.recv().await {
            Some(flush) => flush,
            // The list of runs keeps the other end.
            None => std::future::pending().await,
        }
    }

    /// Who has cancelled it, once somebody has.
    pub(super) fn cancelled_by(&self) -> CancelReason {
        Arc::clone(&self.by)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tracker.lock().remove(&self.key);
        self.tracker.inner.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_are_known_by_kind_and_name() {
        let tracker = Tracker::default();
        let cancel = CancellationToken::new();
        let first = tracker.begin(RunKind::Backup, "a", cancel.clone()).unwrap();
        assert!(
            tracker
                .begin(RunKind::Backup, "a", CancellationToken::new())
                .is_none()
        );
        let restore = tracker.begin(RunKind::Restore, "a", CancellationToken::new());
        assert!(
            restore.is_some()
                && tracker.contains(RunKind::Backup, "a")
                && !tracker.contains(RunKind::Backup, "b")
        );

        let operations = ["a", "b"]
            .map(|name| tracker.begin(RunKind::Operations, name, CancellationToken::new()));
        assert!(operations.iter().all(Option::is_some));
        assert!(
            tracker
                .begin(RunKind::Operations, "a", CancellationToken::new())
                .is_none()
        );
        drop(operations);

        assert_eq!(tracker.names(RunKind::Backup), ["a"]);
        tracker.cancel(RunKind::Backup, "b");
        assert!(!cancel.is_cancelled());
        let by = first.cancelled_by();
        assert!(by.get().is_none());
        assert!(!tracker.cancel_for(RunKind::Backup, "b", "somebody"));
        assert!(tracker.cancel_for(RunKind::Backup, "a", "somebody"));
        assert!(tracker.cancel_for(RunKind::Backup, "a", "another"));
        assert!(cancel.is_cancelled());
        assert_eq!(by.get().map(String::as_str), Some("somebody"));
        // Of a resource that is gone nobody is to be named.
        tracker.cancel(RunKind::Restore, "a");
        let by = restore.as_ref().map(Running::cancelled_by);
        assert!(by.is_some_and(|by| by.get().is_none()));

        assert!(!tracker.drained(Duration::from_millis(5)).await);
        drop((first, restore));
        assert!(tracker.drained(Duration::from_secs(5)).await);
        assert_eq!(tracker.names(RunKind::Backup), [""; 0]);
    }
}
