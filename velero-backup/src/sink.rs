//! Where an archive goes.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Takes the bytes of an archive, on a blocking thread.
///
/// Everything that implements [`Write`] is one: a file, a vector. A sink that is dropped before
/// [`ArchiveSink::complete`] holds no complete archive; writers of files write under a temporary name and rename.
pub trait ArchiveSink: Send {
    /// Takes the next bytes, all of them.
    ///
    /// # Errors
    /// An error ends the backup.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Takes note that the archive is complete. Called once, after the last bytes, and never for an archive that was
    /// given up.
    ///
    /// # Errors
    /// An error ends the backup.
    fn complete(&mut self) -> io::Result<()>;
}

impl<W: Write + Send> ArchiveSink for W {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn complete(&mut self) -> io::Result<()> {
        self.flush()
    }
}

/// Bytes in one chunk of a channel.
const CHUNK: usize = 256 << 10;

enum Message {
    Chunk(Bytes),
    End,
}

/// The writing end of [`archive_channel`].
#[derive(Debug)]
pub struct ChannelSink {
    sender: mpsc::Sender<Message>,
    buffer: Vec<u8>,
}

/// The reading end of [`archive_channel`]: the archive as chunks of at most 256 KiB, for an upload.
#[derive(Debug)]
pub struct ArchiveChunks {
    receiver: mpsc::Receiver<Message>,
    ended: bool,
}

/// Joins a backup to something async: what is written to the sink comes out as chunks.
///
/// At most `chunks` chunks are on their way; the backup waits for the reader. When the reader is dropped, the backup
/// fails; when the backup is given up, the reader gets an error and never a clean end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use velero_backup::{ArchiveSink as _, archive_channel};
///
/// let (mut sink, mut chunks) = archive_channel(4);
/// let writer = tokio::task::spawn_blocking(move || {
///     sink.put(b"archive")?;
///     sink.complete()
/// });
/// assert_eq!(chunks.next().await.unwrap().unwrap().as_ref(), b"archive");
/// assert!(chunks.next().await.is_none());
/// # writer.await.unwrap().unwrap();
/// # }
/// ```
pub fn archive_channel(chunks: usize) -> (ChannelSink, ArchiveChunks) {
    let (sender, receiver) = mpsc::channel(chunks.max(1));
    (
        ChannelSink {
            sender,
            buffer: Vec::new(),
        },
        ArchiveChunks {
            receiver,
            ended: false,
        },
    )
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chunk(bytes) => write!(f, "Chunk({} bytes)", bytes.len()),
            Self::End => f.write_str("End"),
        }
    }
}

impl ChannelSink {
    fn send(&mut self, message: Message) -> io::Result<()> {
        self.sender.blocking_send(message).map_err(|_| {
            io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the reader of the archive is gone",
            )
        })
    }

    fn send_buffer(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.buffer);
        self.send(Message::Chunk(chunk.into()))
    }
}

impl ArchiveSink for ChannelSink {
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = bytes.len().min(CHUNK - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.buffer.len() == CHUNK {
                self.send_buffer()?;
            }
        }
        Ok(())
    }

    fn complete(&mut self) -> io::Result<()> {
        self.send_buffer()?;
        self.send(Message::End)
    }
}

impl ArchiveChunks {
    /// The next chunk; `None` after the last chunk of a complete archive.
    ///
    /// # Errors
    /// When the backup was given up: what came so far is no archive.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        match self.receiver.recv().await {
            Some(Message::Chunk(bytes)) => Some(Ok(bytes)),
            Some(Message::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the archive was given up before its end",
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_are_cut_to_size_and_end_cleanly() {
        let (mut sink, mut chunks) = archive_channel(1);
        let writer = tokio::task::spawn_blocking(move || {
            sink.put(&vec![7; CHUNK + 3])?;
            sink.put(&[8])?;
            sink.complete()
        });
        let mut sizes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            sizes.push(chunk.unwrap().len());
        }
        writer.await.unwrap().unwrap();
        assert_eq!(sizes, [CHUNK, 4]);
        assert!(chunks.next().await.is_none());
    }

    #[tokio::test]
    async fn an_archive_that_is_given_up_is_an_error_at_the_reader() {
        let (mut sink, mut chunks) = archive_channel(4);
        tokio::task::spawn_blocking(move || sink.put(&vec![0; CHUNK]))
            .await
            .unwrap()
            .unwrap();
        assert!(chunks.next().await.unwrap().is_ok());
        assert!(chunks.next().await.unwrap().is_err());
        assert!(chunks.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_an_error_at_the_writer() {
        let (mut sink, chunks) = archive_channel(4);
        drop(chunks);
        let result = tokio::task::spawn_blocking(move || sink.put(&vec![0; CHUNK]))
            .await
            .unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
