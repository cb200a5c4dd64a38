//! Writing an object of unknown length.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::backend::{ObjectBackend, UploadBackend};
use crate::error::{Error, Result};

/// Pieces handed over at most, so that one huge write does not sit in memory twice.
const PIECE: usize = 1 << 20;
/// Bytes a blocking writer gathers before it hands them over.
const GATHER: usize = 64 << 10;
/// Pieces waiting between the caller and the upload.
const QUEUE: usize = 4;
/// Bytes of an object that are copied in one step: few enough for one deadline.
const COPY: u64 = 256 << 20;

enum Command {
    Data(Bytes),
    Commit,
}

/// An upload under way: write pieces, then [`close`](Self::close) makes the object visible.
///
/// Without `close` nothing is left behind: [`abort`](Self::abort) waits until the store has removed the parts, and a
/// drop, also of a `write` under way, starts the same in the background. The upload is a task of its own on the runtime
/// that was current when it began, and it needs that runtime to live until it has cleaned up.
pub struct ObjectWriter {
    commands: Option<mpsc::Sender<Command>>,
    task: Option<JoinHandle<Result<()>>>,
    store: String,
    key: String,
    written: u64,
}

impl fmt::Debug for ObjectWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectWriter")
            .field("store", &self.store)
            .field("key", &self.key)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl ObjectWriter {
    /// Starts an upload, with the first bytes of the object that it replaces if `kept` says so.
    pub(crate) fn start(
        backend: Box<dyn UploadBackend>,
        kept: Option<Kept>,
        store: String,
        key: String,
    ) -> Self {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let task = tokio::spawn(upload(backend, kept, inbox));
        Self {
            commands: Some(commands),
            task: Some(task),
            store,
            key,
            written: 0,
        }
    }

    /// Bytes accepted so far, without those that are copied from an object.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends bytes, waiting while earlier ones are still on their way.
    ///
    /// # Errors
    ///
    /// The failure of an earlier piece. The upload is over and cleaned up then.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            let len = piece.len() as u64;
            let Some(commands) = &self.commands else {
                return Err(self.over());
            };
            if commands.send(Command::Data(piece)).await.is_err() {
                return Err(self.failure().await);
            }
            self.written += len;
        }
        Ok(())
    }

    /// Finishes the upload; the object is visible, whole, when this returns `Ok`.
    pub async fn close(mut self) -> Result<()> {
        let Some(commands) = self.commands.take() else {
            return Err(self.over());
        };
        // A refused command means the task has ended; its result says why.
        let _ = commands.send(Command::Commit).await;
        drop(commands);
        self.join().await
    }

    /// Gives the upload up and waits until its parts are gone.
    pub async fn abort(mut self) -> Result<()> {
        self.commands = None;
        self.join().await
    }

    /// Turns it into an [`io::Write`] for a blocking thread, such as one that packs an archive.
    ///
    /// Call it inside a Tokio runtime; write outside of its async tasks, in `spawn_blocking` for one.
    pub fn into_blocking(self) -> BlockingWriter {
        BlockingWriter {
            inner: self,
            handle: Handle::current(),
            gathered: BytesMut::new(),
        }
    }

    async fn join(&mut self) -> Result<()> {
        match self.task.take() {
            Some(task) => task
                .await
                .unwrap_or_else(|err| Err(self.broken(err.to_string()))),
            None => Err(self.over()),
        }
    }

    async fn failure(&mut self) -> Error {
        self.commands = None;
        match self.join().await {
            Err(err) => err,
            Ok(()) => self.over(),
        }
    }

    fn over(&self) -> Error {
        self.broken("the upload has ended already".to_owned())
    }

    fn broken(&self, detail: String) -> Error {
        Error::Store {
            store: self.store.clone(),
            operation: format!("upload {:?}", self.key),
            detail,
            retryable: false,
        }
    }
}

/// The first bytes of an object, to begin an upload with.
pub(crate) struct Kept {
    pub(crate) source: Arc<dyn ObjectBackend>,
    pub(crate) key: String,
    pub(crate) bytes: u64,
}

impl Kept {
    /// Copies the bytes; in the store where it can, else through here. Gives `false` when the upload is given up.
    async fn copy(
        self,
        backend: &mut dyn UploadBackend,
        inbox: &mpsc::Receiver<Command>,
    ) -> Result<bool> {
        let mut at = 0;
        while at < self.bytes {
            if inbox.is_closed() && inbox.is_empty() {
                return Ok(false);
            }
            let range = at..self.bytes.min(at + COPY);
            at = range.end;
            if !backend.copy_from(&self.key, range.clone()).await? {
                let mut pieces = self.source.read(&self.key, Some(range)).await?;
                while let Some(piece) = pieces.try_next().await? {
                    backend.write(piece).await?;
                }
            }
        }
        Ok(true)
    }
}

/// Carries out an upload; one that fails or is given up is cleaned up.
async fn upload(
    mut backend: Box<dyn UploadBackend>,
    kept: Option<Kept>,
    mut inbox: mpsc::Receiver<Command>,
) -> Result<()> {
    let failure = match follow(&mut *backend, kept, &mut inbox).await {
        Ok(true) => return Ok(()),
        Ok(false) => return backend.abort().await,
        Err(err) => err,
    };
    inbox.close();
    match backend.abort().await {
        Ok(()) => Err(failure),
        Err(err) => {
            tracing::warn!(error = %err, "a failed upload could not be cleaned up");
            Err(failure.leaving("parts of the unfinished upload may stay in the store"))
        }
    }
}

/// Does what is commanded; gives `true` when the object is closed, `false` when it is given up.
async fn follow(
    backend: &mut dyn UploadBackend,
    kept: Option<Kept>,
    inbox: &mut mpsc::Receiver<Command>,
) -> Result<bool> {
    if let Some(kept) = kept
        && !kept.copy(backend, inbox).await?
    {
        return Ok(false);
    }
    loop {
        match inbox.recv().await {
            Some(Command::Data(bytes)) => backend.write(bytes).await?,
            Some(Command::Commit) => {
                backend.close().await?;
                return Ok(true);
            }
            None => return Ok(false),
        }
    }
}

/// An [`ObjectWriter`] for blocking threads. Small writes are gathered.
#[derive(Debug)]
pub struct BlockingWriter {
    inner: ObjectWriter,
    handle: Handle,
    gathered: BytesMut,
}

impl BlockingWriter {
    /// Finishes the upload, as [`ObjectWriter::close`].
    pub fn close(mut self) -> Result<()> {
        self.send()?;
        self.handle.block_on(self.inner.close())
    }

    /// Gives the upload up, as [`ObjectWriter::abort`].
    pub fn abort(self) -> Result<()> {
        self.handle.block_on(self.inner.abort())
    }

    fn send(&mut self) -> Result<()> {
        let gathered = self.gathered.split().freeze();
        self.handle.block_on(self.inner.write(gathered))
    }
}

impl io::Write for BlockingWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = &buf[..buf.len().min(PIECE)];
        self.gathered.extend_from_slice(taken);
        if self.gathered.len() >= GATHER {
            self.send().map_err(io::Error::other)?;
        }
        Ok(taken.len())
    }

    /// Hands over what is gathered. Bytes leave when a part is full, and the object appears only with `close`.
    fn flush(&mut self) -> io::Result<()> {
        self.send().map_err(io::Error::other)
    }
}
