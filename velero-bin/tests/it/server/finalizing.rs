//! The end of a backup on a store that fails in between: whatever was added is there once.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use velero_bin::logfile::RunLogs;
use velero_bin::runs::{BackupRun, Follow, FollowRun, cancelled_by, run_backup, system_clock};
use velero_cluster::Cluster;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOperation, BackupOutcome,
    OperationProgress, ResourceSelector,
};
use velero_core::api::{Backup, BackupPhase};
use velero_core::archive::{ArchiveReader, EntryKind, VersionDir};
use velero_core::{GroupResource, ItemTree, ResourceIdentifier};
use velero_persistence::{
    BackupFile, BackupStore, Error, Location, ObjectBackend, ObjectEntry, ObjectStore, PutMode,
    Result, UploadBackend,
};

use velero_testkit::ApiServer;

use super::world::World;

/// Starts an operation at a Secret; another one when the Secret is read again, which is a fault. May remove the Secret
/// then, as the peer's action for VolumeSnapshots does with these.
struct Late {
    removes_from: Option<ApiServer>,
}

#[async_trait]
impl BackupItemAction for Late {
    fn name(&self) -> &str {
        "example.com/late"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["secrets"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> std::result::Result<BackupOutcome, ActionError> {
        if cx.run.phase().as_str().starts_with("Finalizing")
            && let Some(api) = &self.removes_from
        {
            let (namespace, name) = (item.namespace(), item.name());
            api.store().remove("v1", "Secret", Some(namespace), name);
        }
        let this = ResourceIdentifier::namespaced(
            GroupResource::core("secrets"),
            item.namespace(),
            item.name(),
        );
        Ok(BackupOutcome::unchanged().started(BackupOperation::new("op-1").then_read([this])))
    }

    async fn progress(
        &self,
        _: &str,
        _: &ActionContext<'_, Backup>,
    ) -> std::result::Result<OperationProgress, ActionError> {
        Ok(OperationProgress::succeeded())
    }
}

/// When the call that fails does so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    /// Nothing was done.
    Before,
    /// It was done, and the answer got lost.
    After,
}

/// A store of which one call fails.
#[derive(Debug, Clone)]
struct Faulty<I> {
    inner: I,
    fails: Fails,
    /// Calls until the one that fails.
    left: Arc<AtomicI64>,
}

impl<I> Faulty<I> {
    fn call(&self) -> bool {
        self.left.fetch_sub(1, Ordering::SeqCst) == 0
    }

    fn error() -> Error {
        Error::Unreachable {
            store: "faulty".to_owned(),
            operation: "do it".to_owned(),
            detail: "connection reset".to_owned(),
        }
    }

    /// Makes a call, or fails in front of it or behind it.
    async fn over<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let now = self.call();
        if now && self.fails == Fails::Before {
            return Err(Self::error());
        }
        let done = work.await?;
        if now {
            return Err(Self::error());
        }
        Ok(done)
    }
}

#[async_trait]
impl ObjectBackend for Faulty<Arc<dyn ObjectBackend>> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn put(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.over(self.inner.put(key, bytes, mode)).await
    }

    async fn swap(&self, key: &str, old: &Bytes, new: Bytes) -> Result<bool> {
        self.inner.swap(key, old, new).await
    }

    async fn writer(&self, key: &str) -> Result<Box<dyn UploadBackend>> {
        Ok(Box::new(Faulty {
            inner: self.over(self.inner.writer(key)).await?,
            fails: self.fails,
            left: Arc::clone(&self.left),
        }))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        self.over(self.inner.size(key)).await
    }

    async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.over(self.inner.read(key, range)).await
    }

    async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.list_dirs(prefix).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectEntry>> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.inner.delete(key).await
    }
}

#[async_trait]
impl UploadBackend for Faulty<Box<dyn UploadBackend>> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.call() {
            return Err(Self::error());
        }
        self.inner.write(bytes).await
    }

    async fn close(&mut self) -> Result<()> {
        let now = self.call();
        if now && self.fails == Fails::Before {
            return Err(Self::error());
        }
        self.inner.close().await?;
        match now {
            true => Err(Self::error()),
            false => Ok(()),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

struct Bench {
    cluster: Cluster,
    logs: RunLogs,
    /// The cluster, if the action removes what it has handled in the end.
    removes_from: Option<ApiServer>,
}

impl Bench {
    fn actions(&self) -> Vec<Arc<dyn BackupItemAction>> {
        let removes_from = self.removes_from.clone();
        vec![Arc::new(Late { removes_from })]
    }

    /// A backup that waits, in a store of its own.
    async fn waiting(&self, name: &str) -> (BackupStore, Backup) {
        let location = Location::from_url(&format!("memory://{name}")).unwrap();
        let store = BackupStore::open(&location).await.unwrap();
        let backup: Backup = serde_json::from_value(json!({
            "metadata": {"name": "b", "namespace": "velero", "uid": "u"},
            "spec": {"includedNamespaces": ["shop"], "ttl": "1h0m0s"},
        }))
        .unwrap();
        let done = run_backup(BackupRun {
            cluster: self.cluster.clone(),
            store: store.clone(),
            backup,
            policies: None,
            namespaces: None,
            actions: self.actions(),
            options: Default::default(),
            log: self.logs.begin("backup", "velero/b"),
            progress: Arc::new(velero_core::NoProgress),
            cancel: Default::default(),
            cancelled_by: cancelled_by("nobody"),
            writer: "w".to_owned(),
            clock: system_clock(),
        })
        .await
        .unwrap();
        let csi = json!([{"pvName": "v", "backupMethod": "CSISnapshot", "csiSnapshotInfo": {"operationID": "op-1"}}]);
        store
            .put_json(&BackupFile::VolumeInfos.of("b"), &csi)
            .await
            .unwrap();
        (store, done.backup)
    }

    async fn follow(&self, store: &BackupStore, backup: &Backup) -> Follow {
        let run = FollowRun {
            cluster: self.cluster.clone(),
            store: store.clone(),
            backup: backup.clone(),
            actions: self.actions(),
            options: Default::default(),
            logs: self.logs.clone(),
            writer: "w".to_owned(),
            cancel: Default::default(),
            clock: system_clock(),
        };
        Follow::open(run).await.unwrap()
    }

    /// Follows to the end, in spite of the failure of call `at`; whether there was one.
    async fn run(&self, name: &str, at: i64, fails: Fails, restarts: bool) -> bool {
        let (plain, backup) = self.waiting(name).await;
        let old_size = archive_size(&plain).await;
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let faulty = Faulty {
            inner: Arc::clone(plain.store().backend()),
            fails,
            left: Arc::clone(&left),
        };
        let store = BackupStore::new(ObjectStore::new(Arc::new(faulty), "").unwrap());
        let mut follow = self.follow(&store, &backup).await;
        left.store(at, Ordering::SeqCst);
        let (mut failures, mut is_lost) = (0, false);
        while !follow.backup().phase().is_terminal() {
            let step = match follow.is_finalizing() {
                true => follow.finalize().await.map(drop),
                false => follow.look().await.map(drop),
            };
            if let Err(error) = step {
                failures += 1;
                assert!(failures < 3, "{at}: {}", error.chain());
                // What was removed before it was stored cannot come back.
                is_lost |= self.is_removed() && archive_size(&plain).await == old_size;
                if restarts {
                    // As a server that was killed, and the next one.
                    drop(follow);
                    follow = self.follow(&store, &backup).await;
                }
            }
        }
        let ended = follow.backup().clone();
        let was_reached = left.swap(i64::MAX, Ordering::SeqCst) < 0;
        follow.close().await;
        let what = format!("call {at} fails {fails:?}, restarts: {restarts}");
        if !is_lost {
            check(&plain, &ended, &what).await;
        }
        was_reached
    }

    fn is_removed(&self) -> bool {
        let secrets = |api: &ApiServer| api.store().list("v1", "Secret", Some("shop"));
        self.removes_from
            .as_ref()
            .is_some_and(|api| secrets(api).is_empty())
    }
}

async fn archive_size(store: &BackupStore) -> Option<u64> {
    let archive = BackupFile::Contents.of("b");
    store.store().size(archive.key()).await.unwrap()
}

async fn check(store: &BackupStore, ended: &Backup, what: &str) {
    assert_eq!(*ended.phase(), BackupPhase::PartiallyFailed, "{what}");
    assert_eq!(ended.status.errors, 1, "{what}: {:?}", ended.status);
    let metadata: Value = serde_json::from_slice(&store.get_metadata("b").await.unwrap()).unwrap();
    assert_eq!(metadata["status"]["phase"], "PartiallyFailed", "{what}");
    let json =
        async |file: BackupFile| -> Value { store.get_json(&file.of("b")).await.unwrap().unwrap() };
    let results = json(BackupFile::Results).await;
    let lines = results["errors"]["namespaces"]["shop"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "{what}: {results}");
    let infos = json(BackupFile::VolumeInfos).await;
    assert_eq!(infos[0]["result"], "succeeded", "{what}");
    let list = json(BackupFile::ResourceList).await;
    assert_eq!(list["v1/Secret"], json!(["shop/password"]), "{what}");
    let log = store.get_bytes(&BackupFile::Logs.of("b")).await.unwrap();
    let log = String::from_utf8(log.unwrap().to_vec()).unwrap();
    for (part, count) in [("starting the backup", 1), ("backup completed", 1)] {
        assert_eq!(log.matches(part).count(), count, "{what}: {log}");
    }
    let archive = BackupFile::Contents.of("b");
    let archive = store.store().get(archive.key(), 1 << 20).await.unwrap();
    let mut secrets = 0;
    ArchiveReader::new(&archive[..])
        .for_each(|kind, _| {
            if let EntryKind::Item(path) = kind {
                let found = path.version == VersionDir::Unversioned && path.name == "password";
                secrets += usize::from(found);
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(secrets, 2, "{what}");
    let left = store.store().list("backups/b/").await.unwrap();
    let notes = left.iter().filter(|entry| entry.key.contains("x-velero"));
    assert_eq!(notes.count(), 0, "{what}: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_added_by_a_try_that_failed_is_replaced() {
    let world = World::empty();
    world.seed_shop("shop");
    let bench = Bench {
        cluster: Cluster::connect(world.api.client()).await.unwrap(),
        logs: RunLogs::install(&Default::default()),
        removes_from: None,
    };
    for fails in [Fails::Before, Fails::After] {
        for restarts in [false, true] {
            let mut at = 0;
            let store = |at: i64| format!("finalizing-{fails:?}-{restarts}-{at}").to_lowercase();
            while bench.run(&store(at), at, fails, restarts).await {
                at += 1;
            }
            assert!(at > 20, "only {at} calls were made to fail");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_added_by_a_try_that_failed_stays_though_its_object_is_gone() {
    for restarts in [false, true] {
        let mut at = 0;
        loop {
            let world = World::empty();
            world.seed_shop("shop");
            let bench = Bench {
                cluster: Cluster::connect(world.api.client()).await.unwrap(),
                logs: RunLogs::install(&Default::default()),
                removes_from: Some(world.api.clone()),
            };
            let store = format!("removing-{restarts}-{at}");
            if !bench.run(&store, at, Fails::After, restarts).await {
                break;
            }
            at += 1;
        }
        assert!(at > 20, "only {at} calls were made to fail");
    }
}
