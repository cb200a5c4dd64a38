//! Where a journal lies, and its file in the store.

use bytes::Bytes;
use velero_core::result::chain;
use velero_persistence::{BackupStore, Error, layout};

use super::document::Document;
use super::map::Map;

/// The end of the file's key.
pub(crate) const KEY_END: &str = "/x-velero-journal.json";
/// Most bytes of it.
const LIMIT: u64 = 256 << 20;

/// Where a journal lies.
pub(super) enum Place {
    /// Nowhere yet.
    Untried,
    /// In the restore's folder, with this content.
    Store(Bytes),
    /// In a ConfigMap.
    Map(Map),
}

/// Where a journal was found.
#[derive(Debug)]
pub(super) enum Lies {
    Store(Bytes),
    Map(Map),
}

impl Place {
    pub(super) fn of(lies: Lies) -> Self {
        match lies {
            Lies::Store(bytes) => Self::Store(bytes),
            Lies::Map(map) => Self::Map(map),
        }
    }
}

/// What came of replacing a journal that nobody else was to touch.
pub(super) enum Written {
    Here,
    /// Somebody else has written it.
    Lost,
}

/// The key of a restore's journal.
pub(crate) fn key(restore: &str) -> String {
    layout::restore_dir(restore) + KEY_END.trim_start_matches('/')
}

/// Reads the journal of a restore.
///
/// # Errors
/// When the store fails.
pub(crate) async fn read(store: &BackupStore, restore: &str) -> Result<Option<Bytes>, Error> {
    match store.store().get(&key(restore), LIMIT).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn put(store: &BackupStore, restore: &str, bytes: &Bytes) -> Result<(), String> {
    let put = store.store().put(&key(restore), bytes.clone()).await;
    put.map_err(|error| chain(&error))
}

/// Replaces a journal that is still as it was written.
pub(super) async fn swap(
    store: &BackupStore,
    restore: &str,
    before: &Bytes,
    bytes: &Bytes,
) -> Result<Written, String> {
    let key = key(restore);
    let swapped = store.store().swap(&key, before, bytes.clone()).await;
    if swapped.map_err(|error| chain(&error))? {
        return Ok(Written::Here);
    }
    // An answer to an earlier write may have been lost.
    let found = read(store, restore).await.map_err(|error| chain(&error))?;
    let ours = |bytes: &Bytes| Document::parse(bytes).ok().and_then(|d| d.claim);
    let Some(found) = found else {
        return Ok(Written::Lost);
    };
    let (now, mine) = (ours(&found), ours(bytes));
    let is_ours = matches!((&now, &mine), (Some(now), Some(mine)) if now.holder == mine.holder);
    if !is_ours {
        return Ok(Written::Lost);
    }
    let swapped = store.store().swap(&key, &found, bytes.clone()).await;
    match swapped.map_err(|error| chain(&error))? {
        true => Ok(Written::Here),
        false => Ok(Written::Lost),
    }
}
