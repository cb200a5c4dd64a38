//! Backups whose store fails, or that are cancelled, at any point: readers of the store never find an archive that is
//! not whole, and what the failed run has left says why it failed.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::runs::{BackupDone, BackupFailure, BackupRun, RunError, cancelled_by, run_backup};
use velero_cluster::Cluster;
use velero_core::api::{Backup, BackupPhase};
use velero_core::{CancellationToken, Timestamp};
use velero_persistence::{
    BackupStore, Error, Location, ObjectBackend, ObjectEntry, ObjectStore, PutMode, Result,
    UploadBackend,
};
use velero_testkit::ApiServer;

use crate::program::files;

/// Longest time for a run, whatever happens in it.
const DEADLINE: Duration = Duration::from_secs(30);
/// Longest time for the end of a run that is cancelled while its store is silent.
const STOPS: Duration = Duration::from_secs(16);
const ARCHIVE: &str = "backups/b/b.tar.gz";

/// What happens to uploads of a store, and when.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    /// Uploads of the archive fail when they pass this byte; beyond all bytes, when they are closed.
    FailsAt(u64),
    /// The run is cancelled at this call of the store.
    CancelsAt(u64, CancellationToken),
    /// From this call on none is answered; the first that is not is told of.
    SilentFrom(u64, Arc<Notify>),
    /// From this call on each is refused.
    RefusesFrom(u64),
}

/// A store with a plan in front of it.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn ObjectBackend>,
    plan: Plan,
    calls: Arc<AtomicU64>,
}

impl Watched {
    /// A call that is not counted: whether the store still answers is decided by those that are.
    async fn late(&self) -> Result<()> {
        let at = match &self.plan {
            Plan::SilentFrom(at, _) | Plan::RefusesFrom(at) => *at,
            _ => return Ok(()),
        };
        match self.calls.load(Ordering::SeqCst) > at {
            true => self.call().await,
            false => Ok(()),
        }
    }

    /// Counts a call.
    async fn call(&self) -> Result<()> {
        count(&self.plan, &self.calls).await
    }
}

async fn count(plan: &Plan, calls: &AtomicU64) -> Result<()> {
    let call = calls.fetch_add(1, Ordering::SeqCst);
    match plan {
        Plan::CancelsAt(at, cancel) if call == *at => cancel.cancel(),
        Plan::SilentFrom(at, told) if call >= *at => {
            told.notify_one();
            std::future::pending::<()>().await;
        }
        Plan::RefusesFrom(at) if call >= *at => return Err(fault("slow down")),
        _ => {}
    }
    Ok(())
}

fn fault(detail: &str) -> Error {
    Error::Store {
        store: "watched".to_owned(),
        operation: "write".to_owned(),
        detail: detail.to_owned(),
        retryable: false,
    }
}

#[async_trait]
impl ObjectBackend for Watched {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn put(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.call().await?;
        self.inner.put(key, bytes, mode).await
    }

    async fn writer(&self, key: &str) -> Result<Box<dyn UploadBackend>> {
        self.call().await?;
        let plan = match &self.plan {
            Plan::FailsAt(_) if !key.ends_with(".tar.gz") => Plan::FailsAt(u64::MAX),
            plan => plan.clone(),
        };
        Ok(Box::new(WatchedUpload {
            inner: self.inner.writer(key).await?,
            plan,
            calls: Arc::clone(&self.calls),
            written: 0,
        }))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        self.call().await?;
        self.inner.size(key).await
    }

    async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.call().await?;
        self.inner.read(key, range).await
    }

    async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.late().await?;
        self.inner.list_dirs(prefix).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        self.late().await?;
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.late().await?;
        self.inner.delete(key).await
    }
}

#[derive(Debug)]
struct WatchedUpload {
    inner: Box<dyn UploadBackend>,
    plan: Plan,
    calls: Arc<AtomicU64>,
    written: u64,
}

impl WatchedUpload {
    async fn takes(&mut self, bytes: u64) -> Result<()> {
        count(&self.plan, &self.calls).await?;
        self.written += bytes;
        match self.plan {
            Plan::FailsAt(at) if self.written > at => Err(fault("the disk is full")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl UploadBackend for WatchedUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.takes(bytes.len() as u64).await?;
        self.inner.write(bytes).await
    }

    async fn close(&mut self) -> Result<()> {
        self.takes(1).await?;
        self.inner.close().await
    }

    async fn abort(&mut self) -> Result<()> {
        if let Plan::SilentFrom(..) | Plan::RefusesFrom(_) = self.plan {
            count(&self.plan, &self.calls).await?;
        }
        self.inner.abort().await
    }
}

/// Numbers that look random, the same for the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// Some maps whose content does not compress, of so many times 16 bytes: the archive leaves in several chunks.
pub(super) fn noisy(maps: usize, words: usize) -> ApiServer {
    let (server, mut noise) = (ApiServer::new(), Random(7));
    for at in 0..maps {
        let text: String = (0..words)
            .map(|_| format!("{:016x}", noise.below(u64::MAX)))
            .collect();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("m{at:03}"), "namespace": "shop"}, "data": {"noise": text}});
        server.store().seed_value(map).unwrap();
    }
    server
}

pub(super) struct Bench {
    cluster: Cluster,
    folder: TempDir,
    logs: RunLogs,
}

impl Bench {
    async fn new() -> Self {
        Self::of(noisy(400, 240)).await
    }

    pub(super) async fn of(server: ApiServer) -> Self {
        Self {
            cluster: Cluster::connect(server.client()).await.unwrap(),
            folder: TempDir::new().unwrap(),
            logs: RunLogs::install(&LogOptions::default()),
        }
    }

    /// Runs a backup of that name into the folder; gives how many calls the store got, too.
    async fn run(
        &self,
        plan: Plan,
        cancel: CancellationToken,
    ) -> (std::result::Result<BackupDone, BackupFailure>, u64) {
        let calls = Arc::new(AtomicU64::new(0));
        let run = self.prepare(&self.location(), plan, cancel, &calls).await;
        let began = Instant::now();
        let ended = tokio::time::timeout(DEADLINE, run)
            .await
            .expect("the run ends within its deadline");
        assert!(began.elapsed() < DEADLINE / 2, "{:?}", began.elapsed());
        (ended, calls.load(Ordering::SeqCst))
    }

    /// The folder as a location.
    pub(super) fn location(&self) -> Location {
        let url = format!("file://{}", self.folder.path().display());
        Location::from_url(&url).unwrap()
    }

    /// A backup of that name into a location, which has not begun. The calls that the store gets are counted.
    pub(super) async fn prepare(
        &self,
        location: &Location,
        plan: Plan,
        cancel: CancellationToken,
        calls: &Arc<AtomicU64>,
    ) -> impl Future<Output = std::result::Result<BackupDone, BackupFailure>> + use<> {
        let plain = BackupStore::open(location).await.unwrap();
        let watched = Watched {
            inner: Arc::clone(plain.store().backend()),
            plan,
            calls: Arc::clone(calls),
        };
        let store = BackupStore::new(ObjectStore::new(Arc::new(watched), "").unwrap());
        let backup: Backup = serde_json::from_value(json!({
            "metadata": {"name": "b", "namespace": "velero", "uid": "u"},
            "spec": {"includedNamespaces": ["shop"], "ttl": "1h0m0s"},
        }))
        .unwrap();
        run_backup(BackupRun {
            cluster: self.cluster.clone(),
            store,
            backup,
            policies: None,
            namespaces: None,
            actions: Vec::new(),
            options: Default::default(),
            log: self.logs.begin("backup", "velero/b"),
            progress: Arc::new(velero_core::NoProgress),
            cancel,
            cancelled_by: cancelled_by("the user"),
            writer: "test".to_owned(),
            // The archive holds the time: with another one it may have another size.
            clock: Arc::new(|| Timestamp::from_second(1_800_000_000).unwrap()),
        })
    }

    /// What a failed run has left: log, results and metadata that say why, and nothing else.
    fn check_failed(&self, what: &str, reason: &str) {
        let root = self.folder.path();
        assert_eq!(
            files(root),
            [
                "backups/b/b-logs.gz",
                "backups/b/b-results.gz",
                "backups/b/velero-backup.json"
            ],
            "{what}"
        );
        let status = metadata(root)["status"].clone();
        assert_eq!(status["phase"], "Failed", "{what}");
        let said = status["failureReason"].as_str().unwrap_or_default();
        assert!(said.contains(reason), "{what}: {said}");
    }
}

fn metadata(root: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(root.join("backups/b/velero-backup.json")).unwrap())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_any_byte_shows_no_archive() {
    let bench = Bench::new().await;
    let whole = Plan::FailsAt(u64::MAX);
    let (done, _) = bench.run(whole.clone(), CancellationToken::new()).await;
    let bytes = done.unwrap().result.archive_bytes;
    assert!(bytes > 600_000, "{bytes}");
    std::fs::remove_dir_all(bench.folder.path().join("backups")).unwrap();
    for at in [0, 1, 300_000, bytes / 2, bytes - 1, bytes] {
        let (ended, _) = bench.run(Plan::FailsAt(at), CancellationToken::new()).await;
        let what = format!("byte {at} of {bytes}");
        assert!(ended.is_err(), "{what}");
        bench.check_failed(&what, "the disk is full");
    }
    // A failed one makes room for the next try.
    let (done, _) = bench.run(whole, CancellationToken::new()).await;
    assert_eq!(*done.unwrap().backup.phase(), BackupPhase::Completed);
    assert!(bench.folder.path().join(ARCHIVE).is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_cancelled_at_any_call_of_the_store_show_no_archive() {
    let bench = Bench::new().await;
    let never = CancellationToken::new();
    let (done, calls) = bench
        .run(Plan::CancelsAt(u64::MAX, never.clone()), never)
        .await;
    done.unwrap();
    let mut cancelled = 0;
    for at in 0..calls {
        std::fs::remove_dir_all(bench.folder.path().join("backups")).unwrap();
        let cancel = CancellationToken::new();
        let (ended, _) = bench.run(Plan::CancelsAt(at, cancel.clone()), cancel).await;
        let what = format!("call {at} of {calls}");
        match ended {
            Err(_) => {
                bench.check_failed(&what, "cancelled by the user");
                cancelled += 1;
            }
            // Nothing was left to do but to tell.
            Ok(done) => {
                assert_eq!(*done.backup.phase(), BackupPhase::Completed, "{what}");
                let size = bench.folder.path().join(ARCHIVE).metadata().unwrap().len();
                assert_eq!(size, done.result.archive_bytes, "{what}");
            }
        }
    }
    assert!(cancelled >= calls / 2, "{cancelled} of {calls}");
}

/// Runs a backup into a store that is silent from a call on, cancels it there, and says how it has ended, and how long
/// that took by the runtime's clock.
async fn cancelled_in_silence(
    bench: &Bench,
    at: u64,
) -> (std::result::Result<BackupDone, BackupFailure>, Duration) {
    let (silent, cancel) = (Arc::new(Notify::new()), CancellationToken::new());
    let plan = Plan::SilentFrom(at, Arc::clone(&silent));
    let calls = Arc::default();
    let location = bench.location();
    let run = bench.prepare(&location, plan, cancel.clone(), &calls).await;
    let run = tokio::spawn(run);
    tokio::time::timeout(DEADLINE, silent.notified())
        .await
        .expect("the store is called that often");
    // From here on time goes by itself.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    cancel.cancel();
    let ended = tokio::time::timeout(DEADLINE * 10, run)
        .await
        .expect("the run ends")
        .unwrap();
    let took = began.elapsed();
    tokio::time::resume();
    (ended, took)
}

#[tokio::test]
async fn runs_that_are_cancelled_while_their_store_is_silent_end_soon_and_say_what_stays() {
    let bench = Bench::of(noisy(40, 60)).await;
    let never = CancellationToken::new();
    let plan = Plan::CancelsAt(u64::MAX, never.clone());
    let (done, calls) = bench.run(plan, never).await;
    done.unwrap();
    let (mut whole, mut marked, mut with_archive) = (0, 0, 0);
    for at in 0..calls {
        std::fs::remove_dir_all(bench.folder.path().join("backups")).unwrap_or_default();
        let (ended, took) = cancelled_in_silence(&bench, at).await;
        let what = format!("call {at} of {calls}");
        assert!(took <= STOPS, "{what}: {took:?}");
        let files = files(bench.folder.path());
        match ended {
            // Nothing was left to do but to give the name back.
            Ok(done) => {
                assert_eq!(*done.backup.phase(), BackupPhase::Completed, "{what}");
                whole += 1;
            }
            Err(failure) => {
                assert!(
                    matches!(failure.error, RunError::Cancelled),
                    "{what}: {failure:?}"
                );
                assert!(failure.backup.is_none(), "{what}");
                let told = failure.chain();
                for file in files.iter().filter(|file| !file.contains("/.velero-")) {
                    assert!(failure.left.contains(file), "{what}: {file}: {told}");
                    assert!(told.contains(file.as_str()), "{what}: {told}");
                }
                marked += u64::from(told.contains("backups/b/x-velero-reservation.json"));
                with_archive += u64::from(told.contains(ARCHIVE));
            }
        }
    }
    assert!(whole <= 4, "{whole} of {calls}");
    assert!(
        marked >= calls / 2 && with_archive >= 5,
        "{marked}, {with_archive} of {calls}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_everything_from_a_write_on_leaves_what_the_error_names() {
    let bench = Bench::of(noisy(40, 60)).await;
    let never = CancellationToken::new;
    let (done, calls) = bench.run(Plan::RefusesFrom(u64::MAX), never()).await;
    done.unwrap();
    let mut with_archive = 0;
    for at in 0..calls {
        std::fs::remove_dir_all(bench.folder.path().join("backups")).unwrap_or_default();
        let (ended, _) = bench.run(Plan::RefusesFrom(at), never()).await;
        let what = format!("call {at} of {calls}");
        let Err(failure) = ended else { continue };
        let (told, files) = (failure.chain(), files(bench.folder.path()));
        assert!(told.contains("slow down"), "{what}: {told}");
        for file in &files {
            assert!(told.contains(file.as_str()), "{what}: {file}: {told}");
        }
        with_archive += u64::from(files.iter().any(|file| file == ARCHIVE));
        // Whoever comes next takes the name over, with what lies there.
        let (again, _) = bench.run(Plan::RefusesFrom(u64::MAX), never()).await;
        assert_eq!(
            *again.unwrap().backup.phase(),
            BackupPhase::Completed,
            "{what}"
        );
    }
    assert!(with_archive >= 5, "{with_archive} of {calls}");
}
