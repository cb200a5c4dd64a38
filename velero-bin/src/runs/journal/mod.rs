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
use velero_core::result::chain;
use velero_persistence::BackupStore;
use velero_restore::{Journal, JournalEntries, JournalError};

pub(crate) use document::Document;
use map::Maps;
pub(crate) use place::{KEY_END, key, read};
use place::{Place, Written};

use super::{Clock, Mark, RunError};

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
    lost: Option<CancellationToken>,
}

struct State {
    document: Document,
    place: Place,
    /// Whether what lies there is of an earlier attempt of the same restore.
    is_found: bool,
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
        let document = Document::new(identity);
        Self(Arc::new(Inner::new(cluster, store, restore, document)))
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
        inner.lost = Some(lost);
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
        inner.lost = Some(lost);
        let state = inner.state.get_mut();
        state.place = Place::of(written);
        state.is_found = true;
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

    /// Removes it: the restore has ended, or goes on without it. What is kept from now on is not written.
    pub async fn forget(&self) {
        self.0.forget().await;
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
            lost: None,
            state: tokio::sync::Mutex::new(State {
                document,
                place: Place::Untried,
                is_found: false,
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
        let place = std::mem::replace(&mut state.place, Place::Untried);
        let removed = match place {
            Place::Untried => return,
            Place::Store(_) => {
                let store = self.store();
                let file = key(&self.name);
                let removing = async { store.store().delete(&file).await };
                within(async { removing.await.map_err(|error| chain(&error)) }).await
            }
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
        if state.is_closed {
            return Ok(());
        }
        state.document.entries = entries;
        self.write(&mut state).await
    }

    /// Writes the document where it lies, or where it can be.
    async fn write(&self, state: &mut State) -> Result<(), String> {
        let bytes = state.document.bytes()?;
        let store = self.store();
        let mut is_lost = false;
        match &mut state.place {
            Place::Store(before) if state.document.claim.is_some() => {
                let swapped = within(place::swap(&store, &self.name, before, &bytes)).await?;
                match swapped {
                    Written::Here => *before = bytes,
                    Written::Lost => is_lost = true,
                }
            }
            Place::Store(before) => {
                within(place::put(&store, &self.name, &bytes)).await?;
                *before = bytes;
            }
            Place::Map(map) => match within(self.maps.replace(map, &bytes)).await? {
                Written::Here => {}
                Written::Lost => is_lost = true,
            },
            Place::Untried => state.place = self.first(&store, &bytes).await?,
        }
        if is_lost {
            // It is another's from now on, to be neither written nor removed here.
            state.place = Place::Untried;
            state.is_closed = true;
            self.is_lost();
        }
        Ok(())
    }

    async fn first(&self, store: &BackupStore, bytes: &bytes::Bytes) -> Result<Place, String> {
        let refused = if self.is_read_only {
            "the location is read-only".to_owned()
        } else {
            match within(place::put(store, &self.name, bytes)).await {
                Ok(()) => return Ok(Place::Store(bytes.clone())),
                Err(error) => error,
            }
        };
        match within(self.maps.create(bytes)).await {
            Ok(map) => Ok(Place::Map(map)),
            Err(error) => Err(format!("{refused}; nor does a ConfigMap: {error}")),
        }
    }

    fn is_lost(&self) {
        tracing::error!(
            restore = self.name,
            "another process has taken the restore over; this one stops"
        );
        if let Some(lost) = &self.lost {
            lost.cancel();
        }
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
        if state.document.claim.is_some() {
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
