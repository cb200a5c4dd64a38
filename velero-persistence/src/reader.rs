//! Reading an object piece by piece.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;

use crate::error::{Error, Result};

/// The bytes of an object, in the pieces they arrive in.
///
/// A stream of `Result<Bytes>`. Dropping it ends the transfer. Each piece has the deadline
/// [`crate::StoreOptions::io_timeout`]; temporary failures are resumed where they happened.
pub struct ObjectReader {
    stream: BoxStream<'static, Result<Bytes>>,
    store: String,
    key: String,
}

impl fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectReader")
            .field("store", &self.store)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl ObjectReader {
    pub(crate) fn new(
        stream: BoxStream<'static, Result<Bytes>>,
        store: String,
        key: String,
    ) -> Self {
        Self { stream, store, key }
    }

    /// Returns the next piece, or `None` at the end.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        self.stream.next().await.transpose()
    }

    /// Reads what is left, at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] when there is more.
    pub async fn read_to_end(mut self, limit: u64) -> Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.next_chunk().await? {
            if (all.len() as u64).saturating_add(chunk.len() as u64) > limit {
                return Err(Error::TooLarge {
                    store: self.store,
                    key: self.key,
                    limit,
                });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Turns it into a [`io::Read`] for a blocking thread, such as one that unpacks an archive.
    ///
    /// Call it inside a Tokio runtime; read outside of its async tasks, in `spawn_blocking` for one.
    pub fn into_blocking(self) -> BlockingReader {
        BlockingReader {
            inner: self,
            handle: Handle::current(),
            chunk: Bytes::new(),
        }
    }
}

impl Stream for ObjectReader {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(cx)
    }
}

/// An [`ObjectReader`] for blocking threads.
#[derive(Debug)]
pub struct BlockingReader {
    inner: ObjectReader,
    handle: Handle,
    chunk: Bytes,
}

impl io::Read for BlockingReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.handle.block_on(self.inner.next_chunk()) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => return Ok(0),
                Err(err) => return Err(io::Error::other(err)),
            }
        }
        let n = buf.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}
