//! The writer thread: items in, archive bytes out.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinHandle};
use velero_core::CancellationToken;
use velero_core::archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath};

use crate::guard::panic_text;
use crate::{ArchiveBase, ArchiveSink, Error};

/// How long a writer that was told to stop may take to do so.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Bytes collected before the sink is called.
const BUFFER: usize = 64 << 10;

/// One item on its way into the archive.
pub(crate) struct Entry {
    pub(crate) path: ItemPath,
    pub(crate) version: String,
    pub(crate) preferred: bool,
    pub(crate) json: Bytes,
}

/// An item and the room that it takes; `None` ends the archive.
type Message = Option<(Entry, OwnedSemaphorePermit)>;

/// Whether the sink may still be written to. The compressor writes an end of its own accord when it is dropped; behind
/// a closed valve an archive that was given up gets none.
#[derive(Debug, Default)]
struct Valve {
    closed: AtomicBool,
    bytes: AtomicU64,
}

struct Guarded<S> {
    sink: S,
    valve: Arc<Valve>,
    buffer: Vec<u8>,
    /// Whether the sink is being called, or has failed or panicked: nothing is written to it then, not even while its
    /// panic goes on, as a second one would end the process.
    busy: bool,
}

impl<S: ArchiveSink> Guarded<S> {
    fn check(&self) -> io::Result<()> {
        if self.busy || self.valve.closed.load(Ordering::Acquire) {
            return Err(io::Error::other("the archive was given up"));
        }
        Ok(())
    }

    fn drain(&mut self) -> io::Result<()> {
        self.check()?;
        self.busy = true;
        self.sink
            .put(&self.buffer)
            .inspect_err(|_| self.valve.closed.store(true, Ordering::Release))?;
        self.busy = false;
        self.valve
            .bytes
            .fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        self.buffer.clear();
        Ok(())
    }
}

impl<S: ArchiveSink> Write for Guarded<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.drain()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A handle on the writer thread. Dropping it gives the archive up.
pub(crate) struct Writer {
    sender: mpsc::UnboundedSender<Message>,
    room: Arc<Semaphore>,
    capacity: usize,
    valve: Arc<Valve>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Writer {
    /// Starts the thread. At most about `capacity` bytes of items wait for it.
    pub(crate) fn start<S: ArchiveSink + 'static>(
        sink: S,
        options: ArchiveWriterOptions,
        capacity: usize,
    ) -> Self {
        Self::begin(sink, capacity, move |guarded| {
            ArchiveWriter::new(guarded, options)
        })
    }

    /// As [`Writer::start`], for items that are added to another archive.
    pub(crate) fn start_on<S: ArchiveSink + 'static>(
        base: ArchiveBase,
        sink: S,
        options: ArchiveWriterOptions,
        capacity: usize,
    ) -> Self {
        Self::begin(sink, capacity, move |guarded| match base {
            ArchiveBase::Tail => Ok(ArchiveWriter::tail(guarded, options)),
            ArchiveBase::CopyOf(archive) => ArchiveWriter::copy_of(archive, guarded, options),
        })
    }

    fn begin<S: ArchiveSink + 'static>(
        sink: S,
        capacity: usize,
        open: impl FnOnce(Guarded<S>) -> Result<ArchiveWriter<Guarded<S>>, velero_core::Error>
        + Send
        + 'static,
    ) -> Self {
        let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (sender, receiver) = mpsc::unbounded_channel();
        let valve = Arc::new(Valve::default());
        let guarded = Guarded {
            sink,
            valve: Arc::clone(&valve),
            buffer: Vec::with_capacity(BUFFER * 2),
            busy: false,
        };
        let thread_valve = Arc::clone(&valve);
        let thread = tokio::task::spawn_blocking(move || {
            let result = write_all(guarded, open, receiver, &thread_valve);
            // Whatever is still dropped after this must not reach the sink.
            thread_valve.closed.store(true, Ordering::Release);
            result
        });
        Self {
            sender,
            room: Arc::new(Semaphore::new(capacity)),
            capacity,
            valve,
            thread: Some(thread),
        }
    }

    /// Hands an item over, after waiting for room.
    ///
    /// # Errors
    /// When the thread has ended: [`Writer::finish`] tells why.
    pub(crate) async fn push(&self, entry: Entry) -> Result<(), Stopped> {
        let size = u32::try_from(entry.json.len().clamp(1, self.capacity)).unwrap_or(u32::MAX);
        tokio::select! {
            permit = Arc::clone(&self.room).acquire_many_owned(size) => {
                let permit = permit.map_err(|_| Stopped)?;
                self.sender.send(Some((entry, permit))).map_err(|_| Stopped)
            }
            () = self.sender.closed() => Err(Stopped),
        }
    }

    /// Ends the archive and waits for its last byte; gives the archive's size.
    pub(crate) async fn finish(mut self) -> Result<u64, Error> {
        // A thread that has ended already tells its error below.
        let _ = self.sender.send(None);
        if let Some(thread) = self.thread.as_mut() {
            let result = thread.await.unwrap_or_else(|error| Err(broken(error)));
            self.thread = None;
            result?;
        }
        Ok(self.valve.bytes.load(Ordering::Relaxed))
    }

    /// As [`Writer::finish`], unless `cancel` fires: the archive is then given up, and the sink gets no more bytes when
    /// this returns. An archive that is complete by then counts.
    pub(crate) async fn finish_unless(mut self, cancel: &CancellationToken) -> Result<u64, Error> {
        // A thread that has ended already tells its error below.
        let _ = self.sender.send(None);
        let Some(thread) = self.thread.as_mut() else {
            return self.finish().await;
        };
        let ended = tokio::select! {
            biased;
            ended = &mut *thread => ended,
            () = cancel.cancelled() => {
                self.valve.closed.store(true, Ordering::Release);
                // A sink that hangs keeps its thread; nothing is written to it any more.
                match tokio::time::timeout(STOP_DEADLINE, thread).await {
                    Ok(Ok(Ok(()))) => Ok(Ok(())),
                    _ => return Err(Error::Cancelled),
                }
            }
        };
        self.thread = None;
        ended.unwrap_or_else(|error| Err(broken(error)))?;
        Ok(self.valve.bytes.load(Ordering::Relaxed))
    }

    /// Gives the archive up and waits for the thread to end, for a few seconds at most.
    pub(crate) async fn abandon(mut self) {
        self.valve.closed.store(true, Ordering::Release);
        let thread = self.thread.take();
        drop(self);
        if let Some(thread) = thread {
            // A sink that hangs keeps its thread; nothing is written to it any more.
            let _ = tokio::time::timeout(STOP_DEADLINE, thread).await;
        }
    }

    /// The thread's error, after [`Stopped`].
    pub(crate) async fn failure(self) -> Error {
        match self.finish().await {
            Err(error) => error,
            Ok(_) => Error::Sink {
                source: io::Error::other("the archive's writer ended early"),
            },
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.valve.closed.store(true, Ordering::Release);
        }
    }
}

/// The thread has ended without a result: the sink has panicked.
fn broken(error: JoinError) -> Error {
    let source = match error.try_into_panic() {
        Ok(panic) => io::Error::other(format!("it panicked: {}", panic_text(panic.as_ref()))),
        Err(error) => io::Error::other(error),
    };
    Error::Sink { source }
}

/// The writer thread has ended before its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopped;

fn write_all<S: ArchiveSink>(
    guarded: Guarded<S>,
    open: impl FnOnce(Guarded<S>) -> Result<ArchiveWriter<Guarded<S>>, velero_core::Error>,
    mut receiver: mpsc::UnboundedReceiver<Message>,
    valve: &Valve,
) -> Result<(), Error> {
    let archive_failed = |source| {
        valve.closed.store(true, Ordering::Release);
        Error::Archive { source }
    };
    let mut archive = open(guarded).map_err(archive_failed)?;
    loop {
        match receiver.blocking_recv() {
            Some(Some((entry, permit))) => {
                archive
                    .append(&entry.path, &entry.version, entry.preferred, &entry.json)
                    .map_err(archive_failed)?;
                drop(permit);
            }
            Some(None) => break,
            None => {
                valve.closed.store(true, Ordering::Release);
                return Err(Error::Cancelled);
            }
        }
    }
    let mut guarded = archive.finish().map_err(archive_failed)?;
    guarded
        .drain()
        .and_then(|()| guarded.sink.complete())
        .map_err(|source| Error::Sink { source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use velero_core::GroupResource;

    #[derive(Clone, Default)]
    struct Kept {
        bytes: Arc<Mutex<Vec<u8>>>,
        complete: Arc<AtomicBool>,
        fail_after: Option<usize>,
    }

    impl ArchiveSink for Kept {
        fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
            let mut kept = self.bytes.lock().unwrap();
            kept.extend_from_slice(bytes);
            match self.fail_after {
                Some(limit) if kept.len() > limit => {
                    Err(io::Error::new(io::ErrorKind::StorageFull, "full"))
                }
                _ => Ok(()),
            }
        }

        fn complete(&mut self) -> io::Result<()> {
            self.complete.store(true, Ordering::SeqCst);
            Ok(())
        }
    }

    fn entry(name: &str, size: usize) -> Entry {
        // Noise that does not compress, so that the sink is reached.
        let mut state = name.bytes().fold(88_172_645_463_325_252_u64, |sum, b| {
            (sum ^ u64::from(b)).wrapping_mul(1_099_511_628_211)
        });
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        let json: Vec<u8> = noise.take(size).collect();
        Entry {
            path: ItemPath::new(GroupResource::core("pods"), "a", name),
            version: "v1".into(),
            preferred: true,
            json: json.into(),
        }
    }

    fn read(bytes: &[u8]) -> Result<usize, velero_core::Error> {
        let mut count = 0;
        velero_core::archive::ArchiveReader::new(bytes).for_each(|_, _| {
            count += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(count)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_finished_archive_is_complete() {
        let kept = Kept::default();
        let writer = Writer::start(kept.clone(), ArchiveWriterOptions::default(), 100);
        for i in 0..20 {
            writer.push(entry(&format!("p{i}"), 1000)).await.unwrap();
        }
        let size = writer.finish().await.unwrap();
        assert_eq!(size, kept.bytes.lock().unwrap().len() as u64);
        assert!(kept.complete.load(Ordering::SeqCst));
        assert_eq!(read(&kept.bytes.lock().unwrap()).unwrap(), 41);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_archive_that_is_given_up_never_ends() {
        for abandon in [true, false] {
            let kept = Kept::default();
            let writer = Writer::start(kept.clone(), ArchiveWriterOptions::default(), 1 << 20);
            for i in 0..20 {
                writer.push(entry(&format!("p{i}"), 10_000)).await.unwrap();
            }
            if abandon {
                writer.abandon().await;
            } else {
                drop(writer);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            assert!(!kept.complete.load(Ordering::SeqCst));
            assert!(read(&kept.bytes.lock().unwrap()).is_err());
        }
    }

    /// A sink with a fault: it panics at the second call, and would again.
    #[derive(Default)]
    struct Faulty(usize);

    impl ArchiveSink for Faulty {
        fn put(&mut self, _: &[u8]) -> io::Result<()> {
            self.0 += 1;
            assert!(self.0 < 2, "the sink has a fault");
            Ok(())
        }

        fn complete(&mut self) -> io::Result<()> {
            panic!("it was never complete");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sink_that_panics_is_an_error_and_not_called_again() {
        let writer = Writer::start(Faulty::default(), ArchiveWriterOptions::default(), 1 << 20);
        for i in 0..200 {
            if writer.push(entry(&format!("p{i}"), 10_000)).await.is_err() {
                break;
            }
        }
        let error = writer.failure().await;
        let text = velero_core::result::chain(&error);
        assert!(text.contains("it panicked: the sink has a fault"), "{text}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sink_that_fails_stops_the_backup_with_its_error() {
        let kept = Kept {
            fail_after: Some(100_000),
            ..Kept::default()
        };
        let writer = Writer::start(kept.clone(), ArchiveWriterOptions::default(), 1 << 20);
        let mut stopped = false;
        for i in 0..200 {
            stopped |= writer.push(entry(&format!("p{i}"), 10_000)).await.is_err();
        }
        assert!(stopped);
        let error = writer.failure().await;
        assert!(
            velero_core::result::chain(&error).contains("full"),
            "{error:?}"
        );
        assert!(!kept.complete.load(Ordering::SeqCst));
    }
}
