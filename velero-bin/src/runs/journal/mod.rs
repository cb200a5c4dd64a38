//! The journal of a restore under way: what another process needs to go on with it.
//!
//! It is one small file in the restore's own folder, or a ConfigMap where the store takes nothing. Object stores cannot add
//! to an object, so it is written anew each time, several changes at once; it grows with hooks and operations only. Neither
//! name is one that the peer knows or minds.

mod document;
mod map;
mod place;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tracing::Instrument as _;
use velero_cluster::Cluster;
use velero_core::CancellationToken;
use velero_core::api::Restore;
use velero_persistence::BackupStore;
use velero_restore::{Journal, JournalEntries, JournalError};

pub(crate) use document::Document;
use map::Maps;
pub(crate) use place::{KEY_END, read};
use place::{Place, Reserved, Written};

use super::{Clock, Mark, RestoreDone, RestoreFailure, RunError, TakenOver};

/// Longest time for one write: hooks wait for it.
const DEADLINE: Duration = Duration::from_secs(30);
/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(60);

/// The journal of one restore. Whatever is being written is written to its end, even if nobody waits for it.
pub struct RestoreJournal(Arc<Inner>);

struct Inner {
    /// Name of the restore.
    name: String,
    store: Mutex<BackupStore>,
    maps: Maps,
    /// Whether the store is passed over.
    is_read_only: bool,
    state: tokio::sync::Mutex<State>,
    /// Fired when another process has taken the restore over.
    taken: TakenOver,
}

struct State {
    document: Document,
    place: Place,
    /// Whether what lies there is of an earlier attempt of the same restore.
    is_found: bool,
    /// Whether whoever gives the journal has looked for one of an earlier attempt.
    is_looked_for: bool,
    /// Whether this process has kept anything in it.
    is_kept: bool,
    /// Nothing is written any more.
    is_closed: bool,
}

impl std::fmt::Debug for RestoreJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestoreJournal")
            .field("restore", &self.0.name)
            .finish_non_exhaustive()
    }
}

impl RestoreJournal {
    /// The journal of a Restore, which its uid tells from others of its name. Whoever works on it is said by the Restore
    /// itself.
    pub fn of(cluster: &Cluster, store: &BackupStore, restore: &Restore) -> Self {
        let identity = restore.metadata.uid.clone().unwrap_or_default();
        let mut document = Document::new(identity);
        document.claim = Some(Mark {
            holder: uuid::Uuid::new_v4().to_string(),
            ..Mark::default()
        });
        Self(Arc::new(Inner::new(cluster, store, restore, document)))
    }

    /// Sets what is fired when another process has taken the restore over.
    #[must_use]
    pub(crate) fn telling(mut self, taken: TakenOver) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.taken = taken;
        }
        self
    }

    /// The journal of a restore that no cluster knows: with the restore as it was begun, and a claim.
    pub(crate) fn of_command(
        cluster: &Cluster,
        store: &BackupStore,
        restore: &Restore,
        (identity, mark): (String, Mark),
        lost: CancellationToken,
    ) -> Self {
        let mut document = Document::new(identity);
        document.restore = Some(Box::new(restore.clone()));
        document.claim = Some(mark);
        let mut inner = Inner::new(cluster, store, restore, document);
        inner.taken = TakenOver::new(lost);
        inner.state.get_mut().is_looked_for = true;
        Self(Arc::new(inner))
    }

    /// Goes on with what was found of an interrupted command, which `mark` takes over.
    pub(crate) fn found(
        cluster: &Cluster,
        store: &BackupStore,
        found: Found,
        mark: Mark,
        lost: CancellationToken,
    ) -> Self {
        let Found {
            mut document,
            restore,
            written,
        } = found;
        document.claim = Some(mark);
        let mut inner = Inner::new(cluster, store, &restore, document);
        inner.taken = TakenOver::new(lost);
        let state = inner.state.get_mut();
        state.place = Place::of(written);
        state.is_found = true;
        state.is_looked_for = true;
        Self(Arc::new(inner))
    }

    /// Says that the store is not to be written.
    #[must_use]
    pub(crate) fn read_only(mut self, is_read_only: bool) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.is_read_only = is_read_only;
        }
        self
    }

    /// Goes on with another handle on the same store.
    pub(crate) fn use_store(&self, store: BackupStore) {
        *self.0.store.lock().unwrap_or_else(PoisonError::into_inner) = store;
    }

    /// Whether another process has taken the restore over: nothing of it is this one's to write any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.taken.is_fired()
    }

    /// Whether this process has begun nothing of the restore: what lies there is as an earlier attempt has left it.
    async fn is_untouched(&self) -> bool {
        !self.0.state.lock().await.is_kept
    }

    /// Writes the claim of this process at once, before it does anything else. What fails shows with the next write.
    pub(crate) async fn take_over(&self, now: Timestamp) {
        self.0.renew(now).await;
    }

    /// Removes it: the restore has ended, or goes on without it. What is kept from now on is not written.
    pub async fn forget(&self) {
        self.0.forget().await;
    }

    /// Forgets the restore after a run, unless that has left something to follow, or has failed before it began anything:
    /// what an earlier attempt has left open is not done with.
    pub(crate) async fn forget_after(&self, outcome: &Result<RestoreDone, RestoreFailure>) {
        let goes_on = match outcome {
            Ok(done) => done.left.is_some(),
            Err(_) => self.is_untouched().await,
        };
        if !goes_on {
            self.forget().await;
        }
    }

    /// Gives signs of life until the task is ended.
    pub(crate) async fn beat(self: Arc<Self>, clock: Clock) {
        loop {
            tokio::time::sleep(BEAT).await;
            self.0.renew(clock()).await;
        }
    }
}

impl Inner {
    fn new(cluster: &Cluster, store: &BackupStore, restore: &Restore, document: Document) -> Self {
        Self {
            name: restore.metadata.name.clone().unwrap_or_default(),
            maps: Maps::new(cluster.clone(), restore, &document.identity),
            store: Mutex::new(store.clone()),
            is_read_only: false,
            taken: TakenOver::default(),
            state: tokio::sync::Mutex::new(State {
                document,
                place: Place::Untried,
                is_found: false,
                is_looked_for: false,
                is_kept: false,
                is_closed: false,
            }),
        }
    }

    fn store(&self) -> BackupStore {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    async fn forget(&self) {
        let mut state = self.state.lock().await;
        state.is_closed = true;
        if self.taken.is_fired() {
            return;
        }
        let place = std::mem::replace(&mut state.place, Place::Untried);
        let removed = match place {
            Place::Untried => return,
            Place::Store(before) => within(place::remove(&self.store(), &self.name, &before)).await,
            Place::Map(map) => within(self.maps.remove(&map)).await,
        };
        if let Err(error) = removed {
            tracing::warn!(
                restore = self.name,
                error,
                "the journal of the restore cannot be removed; it does no harm"
            );
        }
    }

    /// Gives a sign of life.
    async fn renew(&self, now: Timestamp) {
        let mut state = self.state.lock().await;
        if let Some(mark) = &mut state.document.claim {
            mark.renewed = Some(now);
        }
        let is_written = !matches!(state.place, Place::Untried);
        if is_written
            && !state.is_closed
            && let Err(error) = self.write(&mut state).await
        {
            tracing::warn!(
                restore = self.name,
                error,
                "no sign of life could be given for the restore"
            );
        }
    }

    async fn keep(&self, entries: JournalEntries) -> Result<(), String> {
        let mut state = self.state.lock().await;
        if state.is_closed || self.taken.is_fired() {
            return Ok(());
        }
        state.document.entries = entries;
        state.is_kept = true;
        self.write(&mut state).await
    }

    /// Writes the document where it lies, or where it can be.
    async fn write(&self, state: &mut State) -> Result<(), String> {
        let bytes = state.document.bytes()?;
        let store = self.store();
        let mut is_lost = false;
        match &mut state.place {
            Place::Store(before) => {
                let swapped = within(place::swap(&store, &self.name, before, &bytes)).await?;
                match swapped {
                    Written::Here => *before = bytes,
                    Written::Lost => is_lost = true,
                }
            }
            Place::Map(map) => match within(self.maps.replace(map, &bytes)).await? {
                Written::Here => {}
                Written::Lost => is_lost = true,
            },
            Place::Untried => match self.first(&store, &bytes).await? {
                Some(place) => state.place = place,
                None => is_lost = true,
            },
        }
        if is_lost {
            // It is another's from now on, to be neither written nor removed here.
            state.place = Place::Untried;
            state.is_closed = true;
            self.is_lost();
        }
        Ok(())
    }

    /// Writes it for the first time: into the restore's folder, unless that takes nothing or another restore of its name
    /// has its journal there; `None` when another process is at the same restore.
    async fn first(
        &self,
        store: &BackupStore,
        bytes: &bytes::Bytes,
    ) -> Result<Option<Place>, String> {
        let refused = if self.is_read_only {
            "the location is read-only".to_owned()
        } else {
            match within(place::reserve(store, &self.name, bytes)).await {
                Ok(Reserved::Here) => return Ok(Some(Place::Store(bytes.clone()))),
                Ok(Reserved::Taken(found)) if place::has_same_holder(&found, bytes) => {
                    // An answer to the same write was lost.
                    return Ok(Some(Place::Store(found)));
                }
                Ok(Reserved::Taken(found)) if self.maps.are_of(&found) => return Ok(None),
                Ok(Reserved::Taken(_)) => {
                    tracing::warn!(
                        restore = self.name,
                        "another restore of this name has left its journal, which stays"
                    );
                    "the journal of another restore of its name lies in the store".to_owned()
                }
                Err(error) => error,
            }
        };
        match within(self.maps.create(bytes)).await {
            Ok(Some(map)) => Ok(Some(Place::Map(map))),
            Ok(None) => Ok(None),
            Err(error) => Err(format!("{refused}; nor does a ConfigMap: {error}")),
        }
    }

    fn is_lost(&self) {
        tracing::error!(
            restore = self.name,
            "another process has taken the restore over; this one stops"
        );
        self.taken.fire();
    }
}

/// What was found of a restore that a command has left behind, or works on.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) document: Document,
    /// The restore as it was begun.
    pub(crate) restore: Restore,
    written: place::Lies,
}

impl Found {
    /// One that lies in a store, if it is what a command has written.
    pub(crate) fn in_store(bytes: bytes::Bytes) -> Option<Self> {
        let document = Document::parse(&bytes).ok()?;
        Some(Self {
            restore: document.restore.as_deref()?.clone(),
            document,
            written: place::Lies::Store(bytes),
        })
    }

    /// Those with this identity in ConfigMaps of a namespace, or of `default`.
    pub(crate) async fn in_maps(cluster: &Cluster, namespace: &str, identity: &str) -> Vec<Self> {
        let mut all = Vec::new();
        for (bytes, map) in map::find(cluster, namespace, identity).await {
            if let Ok(document) = Document::parse(&bytes)
                && let Some(restore) = document.restore.as_deref().cloned()
            {
                all.push(Self {
                    document,
                    restore,
                    written: place::Lies::Map(map),
                });
            }
        }
        all
    }
}

#[async_trait]
impl Journal for RestoreJournal {
    async fn load(&self) -> Result<Option<JournalEntries>, JournalError> {
        Ok(self.find().await?)
    }

    async fn keep(&self, entries: &JournalEntries) -> Result<(), JournalError> {
        let (inner, entries) = (Arc::clone(&self.0), entries.clone());
        let kept = tokio::spawn(async move { inner.keep(entries).await }.in_current_span());
        Ok(kept.await??)
    }
}

impl RestoreJournal {
    /// What an earlier attempt has left.
    ///
    /// # Errors
    /// When the store or the API server fails, or what is there is damaged.
    pub(super) async fn find(&self) -> Result<Option<JournalEntries>, RunError> {
        let damaged = |fault| RunError::Validation(vec![fault]);
        let mut state = self.0.state.lock().await;
        if state.is_found {
            return Ok(Some(state.document.entries.clone()));
        }
        if state.is_looked_for {
            // Whoever has begun the command has looked before.
            return Ok(None);
        }
        let in_store = read(&self.0.store(), &self.0.name).await;
        let in_store = in_store.map_err(RunError::store("read the journal of the restore"))?;
        if let Some(bytes) = in_store {
            let found = Document::parse(&bytes).map_err(damaged)?;
            if found.identity == state.document.identity {
                state.document.entries = found.entries.clone();
                state.place = Place::Store(bytes);
                return Ok(Some(found.entries));
            }
        }
        let Some((bytes, map)) = self.0.maps.read().await? else {
            return Ok(None);
        };
        let found = Document::parse(&bytes).map_err(damaged)?;
        state.document.entries = found.entries.clone();
        state.place = Place::Map(map);
        Ok(Some(found.entries))
    }
}

async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no end within {} s", DEADLINE.as_secs())),
    }
}
