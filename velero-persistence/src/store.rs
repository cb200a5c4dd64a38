//! The handle on a store.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::backend::{ObjectBackend, ObjectEntry, PutMode};
use crate::error::{Error, Result};
use crate::key;
use crate::reader::ObjectReader;
use crate::writer::{Kept, ObjectWriter};

/// Longest life of a signed URL that S3's signature allows.
const MAX_SIGNED_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// A place for objects: a bucket, a folder, or memory, below a fixed prefix.
///
/// A cheap clone (one `Arc`); clones share connections. Keys are relative to the prefix. It is a struct over the
/// [`ObjectBackend`] trait rather than a trait itself, so that prefix, key checks and the composed operations exist
/// once, and signatures that take a store need no generics.
///
/// ```
/// use velero_persistence::Location;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = Location::from_url("memory://doc-store")?.open().await?;
/// store.put("backups/b1/note", "hello".into()).await?;
/// assert_eq!(store.get("backups/b1/note", 1024).await?, "hello");
/// assert_eq!(store.list_dirs("backups/").await?, ["b1"]);
/// # Ok::<(), velero_persistence::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct ObjectStore {
    backend: Arc<dyn ObjectBackend>,
    prefix: Arc<str>,
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStore")
            .field(&self.describe())
            .finish()
    }
}

impl ObjectStore {
    /// Makes a handle on a backend below `prefix`, whose outer slashes do not matter.
    pub fn new(backend: Arc<dyn ObjectBackend>, prefix: &str) -> Result<Self> {
        Ok(Self {
            backend,
            prefix: key::normalize_root("prefix", prefix)?.into(),
        })
    }

    /// Names the store and its prefix in messages.
    pub fn describe(&self) -> String {
        let base = self.backend.describe();
        match self.prefix.strip_suffix('/') {
            Some(prefix) => match base.split_once(" at ") {
                Some((bucket, server)) if !bucket.starts_with("file://") => {
                    format!("{bucket}/{prefix} at {server}")
                }
                _ => format!("{base}/{prefix}"),
            },
            None => base,
        }
    }

    /// The prefix in front of every key: empty, or ending with `/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The backend, for decorators.
    pub fn backend(&self) -> &Arc<dyn ObjectBackend> {
        &self.backend
    }

    /// Writes an object, replacing one that is there.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let key = self.full(key)?;
        self.backend.put(&key, bytes, PutMode::Replace).await
    }

    /// Writes an object unless it is there, decided by the store in one step.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`]; [`Error::Unsupported`] when the store has no conditional writes.
    pub async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<()> {
        let key = self.full(key)?;
        self.backend.put(&key, bytes, PutMode::Create).await
    }

    /// Replaces a small object while it still is `old`; `false` when it is something else by now, or gone.
    ///
    /// Decided by the store in one step where it can: in folders, and on S3 servers with conditional writes.
    pub async fn swap(&self, key: &str, old: &Bytes, new: Bytes) -> Result<bool> {
        let key = self.full(key)?;
        self.backend.swap(&key, old, new).await
    }

    /// Removes what writes that broke off have left directly below `prefix` (ending with `/`) out of sight.
    pub async fn sweep(&self, prefix: &str) -> Result<()> {
        let prefix = self.full_prefix(prefix)?;
        self.backend.sweep(&prefix).await
    }

    /// Takes away a folder in which no object is left: marks that consoles put in place of folders, and writes to the local
    /// file system that broke off. One that has objects stays as it is.
    pub(crate) async fn clear_folder(&self, prefix: &str) -> Result<()> {
        let prefix = self.full_prefix(prefix)?;
        self.backend.clear_folder(&prefix).await
    }

    /// Uploads a stream. A failing stream leaves nothing behind.
    ///
    /// Returns the number of bytes.
    pub async fn put_stream<S, E>(&self, key: &str, stream: S) -> Result<u64>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Send,
        E: fmt::Display,
    {
        let mut writer = self.writer(key).await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(item) = stream.next().await {
            match item {
                Ok(bytes) => writer.write(bytes).await?,
                Err(err) => {
                    if let Err(left) = writer.abort().await {
                        tracing::warn!(error = %left, "a failed upload could not be cleaned up");
                    }
                    return Err(Error::Store {
                        store: self.describe(),
                        operation: format!("upload {key:?}"),
                        detail: format!("its source failed: {err}"),
                        retryable: false,
                    });
                }
            }
        }
        let written = writer.written();
        writer.close().await?;
        Ok(written)
    }

    /// Starts an upload of unknown length.
    pub async fn writer(&self, key: &str) -> Result<ObjectWriter> {
        let key = self.full(key)?;
        let upload = self.backend.writer(&key).await?;
        let store = self.backend.describe();
        Ok(ObjectWriter::start(upload, None, store, key))
    }

    /// Starts to replace an object by its first `keep` bytes and what is written then.
    ///
    /// The old object is there, whole, until [`ObjectWriter::close`]. What is kept does not pass through this program where
    /// the store can copy: S3 does so for all but the last few MiB, a folder's file system by itself.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Corrupt`] when the object has fewer bytes than are to be kept.
    pub async fn extend(&self, key: &str, keep: u64) -> Result<ObjectWriter> {
        let store = self.backend.describe();
        let key = self.full(key)?;
        match self.backend.size(&key).await? {
            Some(size) if size >= keep => {}
            Some(size) => {
                let detail = format!("it has {size} bytes, and {keep} are to be kept");
                return Err(Error::Corrupt { store, key, detail });
            }
            None => return Err(Error::NotFound { store, key }),
        }
        let upload = self.backend.writer(&key).await?;
        let kept = Kept {
            source: Arc::clone(&self.backend),
            key: key.clone(),
            bytes: keep,
        };
        Ok(ObjectWriter::start(upload, Some(kept), store, key))
    }

    /// Reads a whole object of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::TooLarge`] when it is larger.
    pub async fn get(&self, key: &str, limit: u64) -> Result<Bytes> {
        self.reader(key).await?.read_to_end(limit).await
    }

    /// Opens an object for reading from its start.
    pub async fn reader(&self, key: &str) -> Result<ObjectReader> {
        self.open(key, None).await
    }

    /// Opens a range of an object's bytes. What lies beyond its end is left out.
    pub async fn range_reader(&self, key: &str, range: Range<u64>) -> Result<ObjectReader> {
        self.open(key, Some(range)).await
    }

    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<ObjectReader> {
        let key = self.full(key)?;
        let stream = self.backend.read(&key, range).await?;
        Ok(ObjectReader::new(stream, self.backend.describe(), key))
    }

    /// Says whether an object is there.
    ///
    /// S3 answers the same for an absent object and an absent bucket; [`ObjectStore::check`] tells them apart.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.size(key).await?.is_some())
    }

    /// Returns an object's size in bytes, or `None` when it is absent.
    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        let key = self.full(key)?;
        self.backend.size(&key).await
    }

    /// Lists the folders directly below `prefix` (empty, or ending with `/`), as last path elements, sorted.
    pub async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        let prefix = self.full_prefix(prefix)?;
        self.backend.list_dirs(&prefix).await
    }

    /// Lists every object below `prefix` (empty, or ending with `/`), sorted by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let prefix = self.full_prefix(prefix)?;
        let mut entries = self.backend.list(&prefix).await?;
        // Markers that consoles put in place of folders are no objects of ours.
        entries.retain(|entry| !entry.key.ends_with('/'));
        for entry in &mut entries {
            if let Some(relative) = entry.key.strip_prefix(&*self.prefix) {
                entry.key = relative.to_owned();
            }
        }
        Ok(entries)
    }

    /// Deletes an object. One that is absent is deleted already.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let key = self.full(key)?;
        self.backend.delete(&key).await
    }

    /// Deletes every object below `prefix`, which must not be empty, carrying on after failures.
    ///
    /// Returns how many there were.
    ///
    /// # Errors
    ///
    /// [`Error::DeleteIncomplete`] with one error for each object that is left.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<usize> {
        if prefix.is_empty() {
            return Err(Error::InvalidName {
                what: "prefix to delete",
                value: String::new(),
                expected: "it names a folder and ends with '/'",
            });
        }
        let prefix = self.full_prefix(prefix)?;
        let (attempted, errors) = self.backend.delete_all(&prefix).await?;
        if errors.is_empty() {
            return Ok(attempted);
        }
        Err(Error::DeleteIncomplete {
            store: self.backend.describe(),
            prefix,
            attempted,
            errors,
        })
    }

    /// Signs a URL that reads an object for `ttl` (one second to seven days) without credentials.
    ///
    /// The object need not exist. Buckets can; memory and file system stores answer [`Error::Unsupported`], and
    /// [`ObjectStore::local_path`] gives a path to make a `file://` URL of.
    pub async fn presign_get(&self, key: &str, ttl: Duration) -> Result<String> {
        let key = self.full(key)?;
        if ttl < Duration::from_secs(1) || ttl > MAX_SIGNED_TTL {
            return Err(Error::config(
                "life of the signed URL",
                format!("{}s", ttl.as_secs()),
                "one second to seven days",
            ));
        }
        self.backend.presign_get(&key, ttl).await
    }

    /// The file that holds an object, for file system stores.
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        let key = self.full(key).ok()?;
        self.backend.local_path(&key)
    }

    /// Checks that the bucket or root folder is there and that this store's prefix may be listed.
    ///
    /// # Errors
    ///
    /// [`Error::BucketNotFound`], [`Error::PermissionDenied`] or [`Error::Unreachable`], each within seconds.
    pub async fn check(&self) -> Result<()> {
        self.backend.check(&self.prefix).await
    }

    fn full(&self, key: &str) -> Result<String> {
        key::check(key)?;
        Ok(format!("{}{key}", self.prefix))
    }

    fn full_prefix(&self, prefix: &str) -> Result<String> {
        key::check_prefix(prefix)?;
        Ok(format!("{}{prefix}", self.prefix))
    }
}
