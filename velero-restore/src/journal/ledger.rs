//! The journal of a run under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use velero_core::names::labels;
use velero_core::{ItemTree, ResourceIdentifier, Timestamp};

use super::{Journal, JournalEntries, Started};
use crate::{Error, HookJournal, RestoreRequest};

/// How far the clock of the API server may be behind the one that an attempt's begin was read from: objects get their time
/// from the one, and the attempt its begin from the other.
const CLOCKS: Duration = Duration::from_secs(600);

/// What a run remembers, and where it is kept. Without a place it remembers for itself alone.
pub(crate) struct Ledger {
    journal: Option<Arc<dyn Journal>>,
    /// When the first attempt began, where this is a later one.
    resumed: Option<Timestamp>,
    /// All but the hooks, which are counted elsewhere.
    entries: Mutex<JournalEntries>,
    version: watch::Sender<u64>,
    kept: watch::Sender<u64>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::of(None, JournalEntries::default())
    }
}

impl Ledger {
    /// A ledger that goes on with what is known.
    pub(crate) fn of(journal: Option<Arc<dyn Journal>>, entries: JournalEntries) -> Self {
        Self {
            journal,
            resumed: None,
            entries: Mutex::new(entries),
            version: watch::Sender::new(0),
            kept: watch::Sender::new(0),
        }
    }

    /// Reads what an earlier attempt has left, and how its hooks stand.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(crate) async fn load(
        journal: Option<Arc<dyn Journal>>,
        now: Timestamp,
    ) -> Result<(Self, HookJournal), Error> {
        let found = match &journal {
            Some(journal) => journal.load().await.map_err(|source| Error::Journal {
                operation: "read what an earlier attempt has left",
                source,
            })?,
            None => None,
        };
        let is_later = found.is_some();
        let mut entries = found.unwrap_or_default();
        let hooks = std::mem::take(&mut entries.hooks);
        let since = *entries.since.get_or_insert(now);
        let mut ledger = Self::of(journal, entries);
        ledger.resumed = is_later.then_some(since);
        Ok((ledger, hooks))
    }

    /// Whether an earlier attempt was interrupted.
    pub(crate) fn resumes(&self) -> bool {
        self.resumed.is_some()
    }

    /// Whether there is a place to keep things in.
    pub(crate) fn is_kept(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether an earlier attempt of this restore has created an object: it has the restore's labels, and is not older than
    /// the restore. What the policy `update` has labelled was there before.
    pub(crate) fn has_made(&self, request: &RestoreRequest, live: &ItemTree) -> bool {
        let label = |key: &str| {
            let labels = live.at("/metadata/labels");
            labels.and_then(|l| l.get(key)).and_then(|l| l.as_str())
        };
        self.is_recent(live)
            && live.at("/metadata/deletionTimestamp").is_none()
            && label(labels::RESTORE_NAME) == Some(request.restore_label())
            && label(labels::BACKUP_NAME) == Some(request.backup_label())
    }

    /// Whether an object is not older than the restore, where an earlier attempt of that was interrupted.
    pub(crate) fn is_recent(&self, live: &ItemTree) -> bool {
        let created = live.str_at("/metadata/creationTimestamp");
        let (Some(since), Ok(created)) = (self.resumed, created.parse::<Timestamp>()) else {
            return false;
        };
        since
            .checked_sub(CLOCKS)
            .is_ok_and(|earliest| created >= earliest)
    }

    /// What an action has started for an item.
    pub(crate) fn started(&self, action: &str, item: &ResourceIdentifier) -> Option<Started> {
        let entries = self.lock();
        let mut started = entries.started.iter();
        started.find(|one| one.is_of(action, item)).cloned()
    }

    /// Notes what an action has started, and waits until that is kept.
    pub(crate) async fn note_started(&self, started: Started) {
        self.change(|entries| entries.started.push(started)).await;
    }

    /// The volume that was made for a PersistentVolume of the archive.
    pub(crate) fn volume(&self, name: &str) -> Option<String> {
        self.lock().volumes.get(name).cloned()
    }

    /// Notes that a volume was made, and waits until that is kept.
    pub(crate) async fn note_volume(&self, name: &str, id: &str) {
        let (name, id) = (name.to_owned(), id.to_owned());
        self.change(|entries| entries.volumes.insert(name, id))
            .await;
    }

    async fn change<T>(&self, change: impl FnOnce(&mut JournalEntries) -> T) {
        if self.journal.is_none() {
            return;
        }
        change(&mut self.lock());
        let mut wanted = 0;
        self.version.send_modify(|version| {
            *version += 1;
            wanted = *version;
        });
        // The sender is here. Whoever keeps the ledger ends with the run.
        let _ = self.kept.subscribe().wait_for(|kept| *kept >= wanted).await;
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Keeps all of it, beside how the hooks stand; gives the version that was kept. What cannot be kept is told, and
    /// nobody waits for it.
    pub(crate) async fn keep(&self, hooks: HookJournal) -> u64 {
        let version = *self.version.borrow();
        if let Some(journal) = &self.journal {
            let entries = JournalEntries {
                hooks,
                ..self.lock().clone()
            };
            if let Err(error) = journal.keep(&entries).await {
                tracing::warn!(
                    error = velero_core::result::chain(&*error),
                    "what the restore has to remember is not kept; should it be interrupted, hooks may be left out or run again"
                );
            }
        }
        self.kept.send_modify(|kept| *kept = version.max(*kept));
        version
    }

    /// Says that nothing is kept any more, and nobody is to wait for it.
    pub(crate) fn close(&self) {
        self.kept.send_replace(u64::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, JournalEntries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use serde_json::json;

    use super::super::JournalError;

    struct Left(Option<JournalEntries>);

    #[async_trait]
    impl Journal for Left {
        async fn load(&self) -> Result<Option<JournalEntries>, JournalError> {
            Ok(self.0.clone())
        }

        async fn keep(&self, _: &JournalEntries) -> Result<(), JournalError> {
            Err("it is full".into())
        }
    }

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[tokio::test]
    async fn only_objects_with_its_labels_that_are_not_older_are_of_an_earlier_attempt() {
        let restore =
            serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}}));
        let request = RestoreRequest::resolve(restore.unwrap()).unwrap();
        let object = |restore: &str, backup: &str, created: &str| {
            let labels =
                json!({"velero.io/restore-name": restore, "velero.io/backup-name": backup});
            ItemTree::new(json!({"metadata": {"labels": labels, "creationTimestamp": created}}))
                .unwrap()
        };
        let entries = JournalEntries {
            since: Some(at("2026-01-01T12:00:00Z")),
            ..JournalEntries::default()
        };
        let later = at("2026-01-01T13:00:00Z");
        for (left, restore, backup, created, expected) in [
            (true, "r", "b", "2026-01-01T12:00:00Z", true),
            (true, "r", "b", "2026-01-01T11:59:30Z", true),
            (true, "r", "b", "2026-01-01T11:51:00Z", true),
            (true, "r", "b", "2026-01-01T11:49:00Z", false),
            (true, "r", "b", "", false),
            (true, "r2", "b", "2026-01-01T12:30:00Z", false),
            (true, "r", "b2", "2026-01-01T12:30:00Z", false),
            (false, "r", "b", "2026-01-01T13:00:00Z", false),
        ] {
            let journal = Left(left.then(|| entries.clone()));
            let (ledger, _) = Ledger::load(Some(Arc::new(journal)), later).await.unwrap();
            let live = object(restore, backup, created);
            assert_eq!(
                ledger.has_made(&request, &live),
                expected,
                "{left} {restore} {backup} {created}"
            );
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_holds_nobody_up() {
        let ledger = Ledger::of(Some(Arc::new(Left(None))), JournalEntries::default());
        let (_, version) = tokio::join!(ledger.note_volume("pv", "vol-1"), async {
            tokio::task::yield_now().await;
            ledger.keep(HookJournal::default()).await
        });
        assert_eq!(
            (version, ledger.volume("pv").as_deref()),
            (1, Some("vol-1"))
        );
    }

    #[test]
    fn entries_are_small_and_survive_their_text() {
        let empty = serde_json::to_value(JournalEntries::default()).unwrap();
        assert_eq!(empty, json!({}));
        let mut entries = JournalEntries {
            since: Some(at("2026-01-01T12:00:00Z")),
            ..JournalEntries::default()
        };
        entries.volumes.insert("pv".into(), "vol-1".into());
        let text = serde_json::to_string(&entries).unwrap();
        assert_eq!(
            serde_json::from_str::<JournalEntries>(&text).unwrap(),
            entries
        );
    }
}
