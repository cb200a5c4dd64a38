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

/// What came of writing a journal where nobody has written one.
pub(super) enum Reserved {
    Here,
    /// Something lies there already.
    Taken(Bytes),
}

/// Writes a journal where there is none; one that is there stays.
pub(super) async fn reserve(
    store: &BackupStore,
    restore: &str,
    bytes: &Bytes,
) -> Result<Reserved, String> {
    let key = key(restore);
    let taken = async || {
        let found = read(store, restore).await;
        found.map_err(|error| chain(&error))
    };
    match store.store().put_if_absent(&key, bytes.clone()).await {
        Ok(()) => Ok(Reserved::Here),
        Err(Error::AlreadyExists { .. }) => match taken().await? {
            Some(found) => Ok(Reserved::Taken(found)),
            None => Err("another one was there, and is not any more".to_owned()),
        },
        // A look before has to do.
        Err(Error::Unsupported { .. }) => match taken().await? {
            Some(found) => Ok(Reserved::Taken(found)),
            None => {
                let put = store.store().put(&key, bytes.clone()).await;
                put.map(|()| Reserved::Here).map_err(|error| chain(&error))
            }
        },
        Err(error) => Err(chain(&error)),
    }
}

/// Removes a journal, unless somebody else has written it since.
pub(super) async fn remove(
    store: &BackupStore,
    restore: &str,
    before: &Bytes,
) -> Result<(), String> {
    let found = read(store, restore).await.map_err(|error| chain(&error))?;
    let is_ours = |found: &Bytes| found == before || has_same_holder(found, before);
    match found {
        Some(found) if is_ours(&found) => {
            let deleted = store.store().delete(&key(restore)).await;
            deleted.map_err(|error| chain(&error))
        }
        _ => Ok(()),
    }
}

/// Whether the same process has written two journals.
pub(super) fn has_same_holder(one: &Bytes, other: &Bytes) -> bool {
    let holder = |bytes: &Bytes| Some(Document::parse(bytes).ok()?.claim?.holder);
    holder(one).is_some_and(|one| Some(one) == holder(other))
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
    let Some(found) = found.filter(|found| has_same_holder(found, bytes)) else {
        return Ok(Written::Lost);
    };
    let swapped = store.store().swap(&key, &found, bytes.clone()).await;
    match swapped.map_err(|error| chain(&error))? {
        true => Ok(Written::Here),
        false => Ok(Written::Lost),
    }
}
