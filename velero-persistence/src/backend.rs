//! The trait a kind of store implements.

use std::fmt::Debug;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;

use crate::error::{Error, Result};

/// Whether a write may replace what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Write in any case.
    Replace,
    /// Write only when the object is absent, decided by the store in one step.
    Create,
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectEntry {
    /// The key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What a store must be able to do.
///
/// [`crate::ObjectStore`] is the handle people use: it adds the location's prefix, checks keys,
/// and builds the larger operations on these. The trait is for those who bring a store of another kind (an
/// object store plugin) or wrap one (faults, counting). Keys arrive whole, with the prefix in front, and checked;
/// prefixes are empty or end with `/`. Every call must end: an implementation sets its own deadlines.
#[async_trait]
pub trait ObjectBackend: Debug + Send + Sync {
    /// Names the store in messages: `s3://bucket`, `file:///var/backups`. No secrets.
    fn describe(&self) -> String;

    /// Writes an object in one piece; readers see all of it or nothing.
    async fn put(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<()>;

    /// Replaces a small object while it still is `old`; `false` when it is something else by now, or gone.
    ///
    /// Stores that can decide it in one step do so. This form looks first, which two writers can do at once.
    async fn swap(&self, key: &str, old: &Bytes, new: Bytes) -> Result<bool> {
        let found: Vec<Bytes> = match self.read(key, None).await {
            Ok(stream) => stream.try_collect().await?,
            Err(err) if err.is_not_found() => return Ok(false),
            Err(err) => return Err(err),
        };
        if found.concat() != *old {
            return Ok(false);
        }
        self.put(key, new, PutMode::Replace).await.map(|()| true)
    }

    /// Removes what writes that broke off have left directly below a prefix and that listings leave out.
    async fn sweep(&self, prefix: &str) -> Result<()> {
        let _ = prefix;
        Ok(())
    }

    /// Takes away what is no object of a folder that has none.
    async fn clear_folder(&self, prefix: &str) -> Result<()> {
        let mut entries = self.list(prefix).await?;
        if entries.iter().all(|entry| entry.key.ends_with('/')) {
            // The deepest first.
            entries.reverse();
            for entry in &entries {
                self.delete(&entry.key).await?;
            }
        }
        Ok(())
    }

    /// Starts an upload of unknown length.
    async fn writer(&self, key: &str) -> Result<Box<dyn UploadBackend>>;

    /// Returns the size of an object, or `None` when it is absent.
    async fn size(&self, key: &str) -> Result<Option<u64>>;

    /// Reads an object, or a range of its bytes. Absent is [`Error::NotFound`].
    async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// Lists the folders directly below a prefix, as last path elements, sorted.
    ///
    /// A folder exists while an object lies below it.
    async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>>;

    /// Lists every object below a prefix, sorted by key. An absent prefix has none.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>>;

    /// Deletes an object. One that is absent is deleted already.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Deletes every object below a prefix, whatever happens to the others.
    ///
    /// Returns how many there were and the failures.
    async fn delete_all(&self, prefix: &str) -> Result<(usize, Vec<Error>)> {
        let mut entries = self.list(prefix).await?;
        // Deepest and last first: a folder's own marker object goes after what it holds.
        entries.reverse();
        let mut errors = Vec::new();
        for entry in &entries {
            if let Err(err) = self.delete(&entry.key).await {
                errors.push(err);
            }
        }
        Ok((entries.len(), errors))
    }

    /// Signs a URL that reads an object for `ttl`, usable without credentials.
    async fn presign_get(&self, key: &str, ttl: Duration) -> Result<String> {
        let _ = ttl;
        Err(Error::Unsupported {
            store: self.describe(),
            operation: format!("sign a URL for {key:?}"),
            detail: "this kind of store has no signed URLs; read the object through this program"
                .to_owned(),
        })
    }

    /// The file that holds an object, for stores on the local file system.
    fn local_path(&self, key: &str) -> Option<PathBuf> {
        let _ = key;
        None
    }

    /// Checks that the bucket or root folder is there and that `prefix` may be listed.
    async fn check(&self, prefix: &str) -> Result<()> {
        self.list_dirs(prefix).await.map(drop)
    }
}

/// An upload under way.
#[async_trait]
pub trait UploadBackend: Debug + Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Appends bytes of an object that is in the store already, without moving them through this program; says whether
    /// that was done. `false` leaves it to the caller, who then reads and writes them. The range is at most 256 MiB,
    /// and lies inside the object.
    async fn copy_from(&mut self, key: &str, range: Range<u64>) -> Result<bool> {
        let _ = (key, range);
        Ok(false)
    }

    /// Makes the object visible. Called at most once, and not after [`UploadBackend::abort`].
    async fn close(&mut self) -> Result<()>;

    /// Removes every trace of the upload.
    async fn abort(&mut self) -> Result<()>;
}
