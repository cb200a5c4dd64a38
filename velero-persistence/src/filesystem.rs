//! A store in a folder.
//!
//! Written on `std::fs` rather than on OpenDAL's file system service, which keeps empty folders (they would look like
//! backups), needs a second folder for atomic writes, and decides "only if absent" in two steps.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::backend::{ObjectBackend, ObjectEntry, PutMode, UploadBackend};
use crate::error::{Error, Result};
use crate::fs_tree::{self, Removed};

const CHUNK: usize = 256 << 10;
/// A parent folder can vanish between its creation and its use, when another writer's last object in it is deleted.
const CREATE_ATTEMPTS: usize = 8;

/// A folder as an object store.
///
/// Writes are atomic: readers see the old object or the whole new one, also after a crash. Folders that hold no object
/// are not listed, and deletions remove them. Links to folders are not followed in listings.
#[derive(Clone, Debug)]
pub(crate) struct FsBackend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    store: String,
    deadline: Duration,
}

impl FsBackend {
    /// Makes the backend; nothing is touched yet.
    pub(crate) fn new(root: PathBuf, deadline: Duration) -> Self {
        let store = format!("file://{}", root.display());
        Self {
            shared: Arc::new(Shared {
                root,
                store,
                deadline,
            }),
        }
    }

    /// Makes the root folder and those above it, unless it is there.
    pub(crate) async fn create_root(&self) -> Result<()> {
        self.run("create", "", |shared| fs::create_dir_all(&shared.root))
            .await
    }

    /// Runs blocking work off the async threads, for at most the deadline.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(&Shared) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let deadline = self.shared.deadline;
        let task = tokio::task::spawn_blocking(move || work(&shared));
        let outcome = match tokio::time::timeout(deadline, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(join)) => Err(io::Error::other(join.to_string())),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        outcome.map_err(|err| self.shared.error(action, key, &err))
    }
}

impl Shared {
    fn path(&self, key: &str) -> PathBuf {
        fs_tree::path_of(&self.root, key)
    }

    fn error(&self, action: &str, key: &str, err: &io::Error) -> Error {
        let store = self.store.clone();
        let operation = match key {
            "" => format!("{action} the root"),
            key => format!("{action} {key:?}"),
        };
        let detail = err.to_string();
        match err.kind() {
            _ if fs_tree::is_absent(err) && !self.root.is_dir() => Error::BucketNotFound {
                detail: format!(
                    "folder {:?} does not exist",
                    self.root.display().to_string()
                ),
                store,
            },
            _ if fs_tree::is_absent(err) && action == "read" => {
                let key = key.to_owned();
                Error::NotFound { store, key }
            }
            // Of folders alone this is no fault.
            io::ErrorKind::AlreadyExists if key.is_empty() => Error::Store {
                detail: format!("{} is no folder", self.root.display()),
                store,
                operation,
                retryable: false,
            },
            io::ErrorKind::AlreadyExists => {
                let key = key.to_owned();
                Error::AlreadyExists { store, key }
            }
            io::ErrorKind::PermissionDenied => Error::PermissionDenied {
                store,
                operation,
                detail,
            },
            io::ErrorKind::TimedOut => Error::Unreachable {
                store,
                operation,
                detail: format!(
                    "no answer from the file system within {}s",
                    self.deadline.as_secs()
                ),
            },
            _ => Error::Store {
                store,
                operation,
                detail,
                retryable: false,
            },
        }
    }

    /// Starts a file next to `target`, making the folders in between, but never the root.
    fn start(&self, target: &Path) -> io::Result<Partial> {
        let dir = target.parent().unwrap_or(&self.root);
        let mut attempt = 0;
        loop {
            fs::metadata(&self.root)?;
            let started = fs::create_dir_all(dir).and_then(|()| {
                let path = fs_tree::partial_in(dir);
                let file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&path)?;
                Ok((path, file))
            });
            match started {
                Ok((path, file)) => {
                    return Ok(Partial {
                        root: self.root.clone(),
                        target: target.to_path_buf(),
                        path,
                        file: Some(file),
                    });
                }
                Err(err) if err.kind() == io::ErrorKind::NotFound && attempt < CREATE_ATTEMPTS => {
                    attempt += 1;
                }
                Err(err) => return Err(err),
            }
        }
    }
}

/// A file being written under a name that listings leave out. Dropped unfinished, it is removed.
#[derive(Debug)]
struct Partial {
    root: PathBuf,
    target: PathBuf,
    path: PathBuf,
    file: Option<File>,
}

impl Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Err(io::Error::other("the write has ended already")),
        }
    }

    /// Appends a range of another file. Where the file system can, its blocks are shared.
    fn copy(&mut self, source: &Path, range: &Range<u64>) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the write has ended already"));
        };
        let mut source = File::open(source)?;
        source.seek(SeekFrom::Start(range.start))?;
        let wanted = range.end.saturating_sub(range.start);
        let copied = io::copy(&mut source.take(wanted), file)?;
        if copied < wanted {
            return Err(io::Error::other(format!(
                "the source has {copied} bytes where {wanted} should be"
            )));
        }
        Ok(())
    }

    /// Makes the file durable and gives it its name.
    fn finish(&mut self, mode: PutMode) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            return Err(io::Error::other("the write has ended already"));
        };
        let done = file.sync_all().and_then(|()| match mode {
            PutMode::Replace => fs::rename(&self.path, &self.target),
            PutMode::Create => self.claim(),
        });
        if done.is_err() {
            self.discard();
        } else if let Some(dir) = self.target.parent() {
            fs_tree::sync_dir(dir);
        }
        done
    }

    /// Names the file only if the name is free: a hard link cannot replace anything.
    fn claim(&self) -> io::Result<()> {
        match fs::hard_link(&self.path, &self.target) {
            Ok(()) => fs::remove_file(&self.path),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Err(err),
            // File systems without hard links: an empty file claims the name, the whole one replaces it.
            Err(_) => {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&self.target)?;
                fs::rename(&self.path, &self.target)
            }
        }
    }

    fn discard(&mut self) {
        self.file = None;
        // Already gone is as good as removed.
        let _ = fs::remove_file(&self.path);
        if let Some(dir) = self.path.parent() {
            fs_tree::prune(&self.root, dir);
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.discard();
        }
    }
}

#[async_trait]
impl ObjectBackend for FsBackend {
    fn describe(&self) -> String {
        self.shared.store.clone()
    }

    async fn put(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        let name = key.to_owned();
        self.run("write", key, move |shared| {
            let mut partial = shared.start(&shared.path(&name))?;
            partial.write(&bytes)?;
            partial.finish(mode)
        })
        .await
    }

    async fn swap(&self, key: &str, old: &Bytes, new: Bytes) -> Result<bool> {
        let (name, old) = (key.to_owned(), old.clone());
        self.run("replace", key, move |shared| {
            let path = shared.path(&name);
            let dir = path.parent().unwrap_or(&shared.root);
            let Some(_lock) = fs_tree::lock_dir(dir)? else {
                return Ok(false);
            };
            match fs::read(&path) {
                Ok(found) if found == old => {}
                Ok(_) => return Ok(false),
                Err(err) if fs_tree::is_absent(&err) => return Ok(false),
                Err(err) => return Err(err),
            }
            let mut partial = shared.start(&path)?;
            partial.write(&new)?;
            partial.finish(PutMode::Replace).map(|()| true)
        })
        .await
    }

    async fn sweep(&self, prefix: &str) -> Result<()> {
        let name = prefix.to_owned();
        self.run("clean up", prefix, move |shared| {
            fs_tree::sweep(&shared.path(&name))
        })
        .await
    }

    async fn clear_folder(&self, prefix: &str) -> Result<()> {
        let name = prefix.to_owned();
        self.run("clean up", prefix, move |shared| {
            let dir = shared.path(&name);
            fs_tree::sweep(&dir)?;
            fs_tree::prune(&shared.root, &dir);
            Ok(())
        })
        .await
    }

    async fn writer(&self, key: &str) -> Result<Box<dyn UploadBackend>> {
        let name = key.to_owned();
        let partial = self
            .run("write", key, move |shared| {
                shared.start(&shared.path(&name))
            })
            .await?;
        Ok(Box::new(FsUpload {
            backend: self.clone(),
            key: key.to_owned(),
            partial: Some(partial),
        }))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        let name = key.to_owned();
        self.run("look for", key, move |shared| {
            match fs::metadata(shared.path(&name)) {
                Ok(meta) => Ok(meta.is_file().then_some(meta.len())),
                Err(err) if fs_tree::is_absent(&err) && shared.root.is_dir() => Ok(None),
                Err(err) => Err(err),
            }
        })
        .await
    }

    async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let name = key.to_owned();
        let (file, left) = self
            .run("read", key, move |shared| {
                let mut file = File::open(shared.path(&name))?;
                let meta = file.metadata()?;
                if !meta.is_file() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                let range = range.unwrap_or(0..meta.len());
                file.seek(SeekFrom::Start(range.start))?;
                let end = range.end.min(meta.len());
                Ok((file, end.saturating_sub(range.start)))
            })
            .await?;
        Ok(chunks(self.clone(), key.to_owned(), file, left))
    }

    async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        let name = prefix.to_owned();
        self.run("list", prefix, move |shared| {
            fs::read_dir(&shared.root)?;
            fs_tree::folders(&shared.path(&name))
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        let name = prefix.to_owned();
        self.run("list", prefix, move |shared| {
            fs::read_dir(&shared.root)?;
            fs_tree::objects(&shared.path(&name), &name)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let name = key.to_owned();
        self.run("delete", key, move |shared| {
            let path = shared.path(&name);
            match fs::remove_file(&path) {
                Err(err) if !fs_tree::is_absent(&err) || !shared.root.is_dir() => return Err(err),
                _ => {}
            }
            if let Some(dir) = path.parent() {
                fs_tree::prune(&shared.root, dir);
            }
            Ok(())
        })
        .await
    }

    async fn delete_all(&self, prefix: &str) -> Result<(usize, Vec<Error>)> {
        let name = prefix.to_owned();
        let removed = self
            .run("delete below", prefix, move |shared| {
                fs::read_dir(&shared.root)?;
                let dir = shared.path(&name);
                let mut removed = Removed::default();
                fs_tree::remove_tree(&dir, &mut removed);
                if let Some(parent) = dir.parent() {
                    fs_tree::prune(&shared.root, parent);
                }
                Ok(removed)
            })
            .await?;
        let errors = removed
            .left
            .iter()
            .map(|(path, err)| {
                let key = path.strip_prefix(&self.shared.root).unwrap_or(path);
                self.shared.error("delete", &key.to_string_lossy(), err)
            })
            .collect();
        Ok((removed.found, errors))
    }

    fn local_path(&self, key: &str) -> Option<PathBuf> {
        Some(self.shared.path(key))
    }
}

/// Streams `left` bytes from where the file stands. A replaced object stays readable through the open file.
fn chunks(
    backend: FsBackend,
    key: String,
    file: File,
    left: u64,
) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold((file, left), move |(mut file, left)| {
        let (backend, key) = (backend.clone(), key.clone());
        async move {
            if left == 0 {
                return Ok(None);
            }
            let (file, chunk) = backend
                .run("read", &key, move |_| {
                    let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
                    file.read_exact(&mut chunk)?;
                    Ok((file, Bytes::from(chunk)))
                })
                .await?;
            let left = left - chunk.len() as u64;
            Ok(Some((chunk, (file, left))))
        }
    })
    .boxed()
}

#[derive(Debug)]
struct FsUpload {
    backend: FsBackend,
    key: String,
    partial: Option<Partial>,
}

impl FsUpload {
    async fn with(
        &mut self,
        work: impl FnOnce(&mut Partial) -> io::Result<()> + Send + 'static,
    ) -> Result<()> {
        let taken = self.partial.take();
        let partial = self
            .backend
            .run("write", &self.key, move |_| {
                let mut partial =
                    taken.ok_or_else(|| io::Error::other("the write has failed already"))?;
                work(&mut partial)?;
                Ok(partial)
            })
            .await?;
        self.partial = Some(partial);
        Ok(())
    }
}

#[async_trait]
impl UploadBackend for FsUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.with(move |partial| partial.write(&bytes)).await
    }

    async fn copy_from(&mut self, key: &str, range: Range<u64>) -> Result<bool> {
        let source = self.backend.shared.path(key);
        self.with(move |partial| partial.copy(&source, &range))
            .await?;
        Ok(true)
    }

    async fn close(&mut self) -> Result<()> {
        self.with(|partial| partial.finish(PutMode::Replace)).await
    }

    async fn abort(&mut self) -> Result<()> {
        if self.partial.is_none() {
            // A failed step has removed the file already.
            return Ok(());
        }
        self.with(|partial| {
            partial.discard();
            Ok(())
        })
        .await
    }
}
