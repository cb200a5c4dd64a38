//! Log files of single runs.
//!
//! Libraries speak `tracing`. A run is a span with the field `run`, such as `run = "backup/velero/nightly"`; a
//! [`RunLogs`] layer writes every event inside it into that run's gzip file, wherever the event came from. Lines have
//! the peer's form, text or JSON; mirrors its `pkg/util/logging` and the formatters of its logger.

mod format;
mod layer;
mod parse;

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::SpooledTempFile;
use tracing::Span;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

pub use format::LogFormat;
pub use layer::RunLogLayer;
pub(crate) use parse::fields;

/// Bytes of a compressed log that stay in memory; more go to a temporary file without a name.
const IN_MEMORY: usize = 1 << 20;

/// How the process logs.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Form of the lines in run logs and on stderr. Default text.
    pub format: LogFormat,
    /// Lowest level that our own crates log at. Default info; others log from warnings on.
    pub level: LevelFilter,
    /// Whether the process logs to stderr as well. Default off; the environment variable `RUST_LOG` switches it on.
    pub stderr: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: LevelFilter::INFO,
            stderr: false,
        }
    }
}

/// The log files that are being written. A cheap clone; clones share the files.
#[derive(Debug, Clone, Default)]
pub struct RunLogs {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    format: LogFormat,
    sinks: Mutex<HashMap<String, Arc<Sink>>>,
    /// Held while a log begins: its span finds its sink by the run, of which another log may begin.
    turn: Mutex<()>,
}

static INSTALLED: OnceLock<RunLogs> = OnceLock::new();

impl RunLogs {
    /// Makes a set of log files whose lines have the given form.
    pub fn new(format: LogFormat) -> Self {
        Self {
            shared: Arc::new(Shared {
                format,
                sinks: Mutex::default(),
                turn: Mutex::default(),
            }),
        }
    }

    /// Installs the process's logging: run logs, and stderr if asked for.
    ///
    /// Only the first call has an effect; all give the same set. For binaries and tests, not for libraries.
    pub fn install(options: &LogOptions) -> Self {
        INSTALLED
            .get_or_init(|| {
                let logs = Self::new(options.format);
                let levels = own_levels(options.level);
                let env = std::env::var("RUST_LOG")
                    .ok()
                    .filter(|text| !text.is_empty());
                let stderr = (options.stderr || env.is_some()).then(|| {
                    let filter =
                        env.map_or_else(|| EnvFilter::new(levels.to_string()), EnvFilter::new);
                    let filter = match SECRETIVE_OFF.parse() {
                        Ok(off) => filter.add_directive(off),
                        Err(_) => filter,
                    };
                    layer::StderrLayer::new(options.format).with_filter(filter)
                });
                let subscriber = tracing_subscriber::registry()
                    .with(logs.layer().with_filter(levels))
                    .with(stderr);
                if let Err(error) = subscriber.try_init() {
                    tracing::warn!(%error, "another subscriber is installed; run logs stay empty");
                }
                logs
            })
            .clone()
    }

    /// The layer that routes events of runs into their files.
    pub fn layer(&self) -> RunLogLayer {
        RunLogLayer::new(self.clone())
    }

    /// Begins the log of a run, such as `backup` and `velero/nightly`.
    ///
    /// Events go into it while they happen inside [`RunLog::span`]. A second log of the same run takes the first one's place.
    pub fn begin(&self, kind: &str, name: &str) -> RunLog {
        let key = format!("{kind}/{name}");
        let sink = Arc::new(Sink::new());
        let turn = self.shared.turn.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        self.lock().insert(key.clone(), Arc::clone(&sink));
        // The level of errors, so that no filter for levels switches the span off.
        let span = tracing::error_span!("run", run = key.as_str());
        RunLog {
            logs: self.clone(),
            key,
            sink,
            span,
        }
    }

    fn find(&self, key: &str) -> Option<Arc<Sink>> {
        self.lock().get(key).cloned()
    }

    fn format(&self) -> LogFormat {
        self.shared.format
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Sink>>> {
        self.shared
            .sinks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Libraries whose messages hold credentials. What goes wrong in them is in the errors of the store.
const SECRETIVE: &str = "reqsign";
/// The directive that silences them whatever `RUST_LOG` asks for.
const SECRETIVE_OFF: &str = "reqsign=off";

/// Our crates at the wanted level, everything else at warnings at most.
fn own_levels(level: LevelFilter) -> Targets {
    let own = [
        "velero_bin",
        "velero_backup",
        "velero_restore",
        "velero_cluster",
        "velero_persistence",
        "velero_core",
    ];
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(own.map(|target| (target, level)))
        .with_target(SECRETIVE, LevelFilter::OFF)
}

/// The log of one run, while it is written. Dropping it throws the lines away.
#[derive(Debug)]
pub struct RunLog {
    logs: RunLogs,
    key: String,
    sink: Arc<Sink>,
    span: Span,
}

impl RunLog {
    /// The span whose events are logged; futures and threads of the run enter it.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Ends the log and gives the compressed file.
    ///
    /// # Errors
    /// When a line could not be written; the message is the first failure's.
    pub fn finish(self) -> io::Result<LogFile> {
        self.sink.finish()
    }

    /// Gives the compressed file as it is by now; what follows goes into another one.
    ///
    /// # Errors
    /// As [`RunLog::finish`].
    pub fn cut(&self) -> io::Result<LogFile> {
        self.sink.cut()
    }
}

impl Drop for RunLog {
    fn drop(&mut self) {
        let mut sinks = self.logs.lock();
        if sinks
            .get(&self.key)
            .is_some_and(|current| Arc::ptr_eq(current, &self.sink))
        {
            sinks.remove(&self.key);
        }
    }
}

/// A finished log: gzip bytes to read, in memory while they are few.
#[derive(Debug)]
pub struct LogFile {
    file: SpooledTempFile,
}

impl LogFile {
    /// Reads the compressed bytes.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for LogFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }
}

#[derive(Debug)]
struct Sink {
    state: Mutex<SinkState>,
}

#[derive(Debug)]
struct SinkState {
    gzip: Option<GzEncoder<SpooledTempFile>>,
    failure: Option<io::Error>,
}

impl Sink {
    fn new() -> Self {
        Self {
            state: Mutex::new(SinkState::default()),
        }
    }

    /// Appends a line. After a failure, and after the end, lines are dropped.
    fn write(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gzip) = &mut state.gzip
            && let Err(error) = gzip.write_all(line.as_bytes())
        {
            state.gzip = None;
            state.failure = Some(error);
        }
    }

    fn finish(&self) -> io::Result<LogFile> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.finish()
    }

    fn cut(&self) -> io::Result<LogFile> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *state).finish()
    }
}

impl Default for SinkState {
    fn default() -> Self {
        let file = SpooledTempFile::new(IN_MEMORY);
        Self {
            gzip: Some(GzEncoder::new(file, Compression::default())),
            failure: None,
        }
    }
}

impl SinkState {
    fn finish(&mut self) -> io::Result<LogFile> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let gzip = self
            .gzip
            .take()
            .ok_or_else(|| io::Error::other("the log has ended already"))?;
        let mut file = gzip.finish()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(LogFile { file })
    }
}

#[cfg(test)]
mod tests;
