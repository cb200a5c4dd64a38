//! Archives that come in pieces from async code.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Sends pieces of an archive to a reader on a blocking thread.
#[derive(Debug, Clone)]
pub struct ArchiveSender {
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

/// Reads what an [`ArchiveSender`] sends; ends when all senders are gone.
#[derive(Debug)]
pub struct ArchivePieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

/// Connects async code that receives an archive with the engine, which reads it. At most `pieces` pieces wait.
///
/// A sender that fails says so by [`ArchiveSender::fail`]; one that is dropped early makes the archive look cut short,
/// which the engine notices.
pub fn archive_channel(pieces: usize) -> (ArchiveSender, ArchivePieces) {
    let (sender, receiver) = mpsc::channel(pieces.max(1));
    (
        ArchiveSender { pieces: sender },
        ArchivePieces {
            pieces: receiver,
            current: Bytes::new(),
        },
    )
}

impl ArchiveSender {
    /// Sends a piece; `false` when nobody reads any more.
    pub async fn send(&self, piece: Bytes) -> bool {
        self.pieces.send(Ok(piece)).await.is_ok()
    }

    /// Makes the reader fail with this error.
    pub async fn fail(self, error: io::Error) {
        // Nobody reading any more is no loss.
        let _ = self.pieces.send(Err(error)).await;
    }
}

impl Read for ArchivePieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let n = self.current.len().min(buf.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_arrive_in_order_and_errors_too() {
        let (sender, mut reader) = archive_channel(1);
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            (reader.read_to_end(&mut all).map_err(|e| e.to_string()), all)
        });
        assert!(sender.send(Bytes::from_static(b"ab")).await && sender.send(Bytes::new()).await);
        assert!(sender.send(Bytes::from_static(b"c")).await);
        sender.fail(io::Error::other("lost")).await;
        assert_eq!(
            read.await.unwrap(),
            (Err("lost".to_owned()), b"abc".to_vec())
        );
    }
}
