//! Operations that actions leave running, from their start to the end of the backup.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_bin::server::Settings;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOperation, BackupOutcome,
    OperationProgress, ResourceSelector,
};
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, DownloadRequest};
use velero_core::archive::{ArchiveReader, EntryKind, VersionDir};
use velero_core::{GroupResource, ItemTree, ResourceIdentifier};

use super::world::{Ahead, World, files, folder, gunzip, settings};

pub(super) type State = Arc<Mutex<OperationProgress>>;

/// Starts one operation, at a Secret, and says of it what it is told to say. The Secret is read again afterwards.
struct Snap {
    state: State,
}

#[async_trait]
impl BackupItemAction for Snap {
    fn name(&self) -> &str {
        "example.com/snap"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["secrets"])
    }

    async fn execute(
        &self,
        mut item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        let this = ResourceIdentifier::namespaced(
            GroupResource::core("secrets"),
            item.namespace(),
            item.name(),
        );
        if cx.run.phase().as_str().starts_with("Finalizing") {
            item.set_annotation("example.com/final", "yes");
            return Ok(BackupOutcome::changed(item));
        }
        Ok(BackupOutcome::unchanged().started(BackupOperation::new("op-1").then_read([this])))
    }

    async fn progress(
        &self,
        _: &str,
        _: &ActionContext<'_, Backup>,
    ) -> Result<OperationProgress, ActionError> {
        Ok(self.state.lock().unwrap().clone())
    }
}

pub(super) fn quick(state: &State) -> Settings {
    Settings {
        item_operation_sync_frequency: Duration::from_millis(30),
        backup_actions: vec![Arc::new(Snap {
            state: Arc::clone(state),
        })],
        ..settings()
    }
}

/// An operator with the action, a location and a namespace to back up.
pub(super) async fn world(folder: &Path, state: &State) -> World {
    world_by(folder, quick(state)).await
}

async fn world_by(folder: &Path, settings: Settings) -> World {
    let mut world = World::empty();
    world.start(settings).await;
    world.add_folder("default", folder).await;
    world
        .wait::<BackupStorageLocation>(
            "default",
            "is available",
            BackupStorageLocation::is_available,
        )
        .await;
    world.seed_shop("shop");
    world
}

pub(super) async fn begin(world: &World, name: &str) -> Backup {
    let spec = json!({"includedNamespaces": ["shop"]});
    world
        .create::<Backup>(json!({"metadata": {"name": name}, "spec": spec}))
        .await;
    world
        .wait::<Backup>(name, "waits", |backup| {
            *backup.phase() == BackupPhase::WaitingForPluginOperations
        })
        .await
}

pub(super) fn set(state: &State, progress: OperationProgress) {
    *state.lock().unwrap() = progress;
}

fn metadata(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("velero-backup.json")).unwrap()).unwrap()
}

pub(super) fn document(dir: &Path, name: &str) -> Value {
    serde_json::from_str(&gunzip(&dir.join(name))).unwrap()
}

/// What the archive has of the Secret, first to last.
pub(super) fn secrets(dir: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    ArchiveReader::new(std::fs::File::open(dir.join("b.tar.gz")).unwrap())
        .for_each(|kind, json| {
            if let EntryKind::Item(path) = kind
                && path.version == VersionDir::Unversioned
                && path.name == "password"
            {
                all.push(serde_json::from_slice(&json).unwrap());
            }
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    all
}

#[tokio::test]
async fn a_backup_waits_for_its_operations_and_is_finalized() {
    let (folder, state) = (folder(), State::default());
    let world = world(folder.path(), &state).await;
    let waiting = begin(&world, "b").await;
    assert_eq!(waiting.status.backup_item_operations_attempted, 1);
    assert_eq!(waiting.status.completion_timestamp, None);
    let dir = folder.path().join("bucket/backups/b");
    assert_eq!(
        metadata(&dir)["status"]["phase"],
        "WaitingForPluginOperations"
    );
    assert_eq!(secrets(&dir).len(), 1);
    // The claim of who follows it goes at the end.
    let mut listed = files(&dir);
    listed.retain(|name| name != "x-velero-reservation.json");
    let operations = document(&dir, "b-itemoperations.json.gz");
    assert_eq!(operations[0]["status"]["phase"], "New");
    assert_eq!(operations[0]["spec"]["operationID"], "op-1");

    // Nobody else waits for it.
    let other = json!({"includedNamespaces": ["velero"], "includedResources": ["configmaps"]});
    world
        .create::<Backup>(json!({"metadata": {"name": "other"}, "spec": other}))
        .await;
    let other = world.backup_ended("other").await;
    assert_eq!(*other.phase(), BackupPhase::Completed);
    let still = world.get::<Backup>("b").await.unwrap();
    assert_eq!(*still.phase(), BackupPhase::WaitingForPluginOperations);

    set(&state, OperationProgress::running(1, 2, "Bytes"));
    set(&state, OperationProgress::succeeded());
    let ended = world.backup_ended("b").await;
    assert_eq!(
        *ended.phase(),
        BackupPhase::Completed,
        "{:#?}",
        ended.status
    );
    assert_eq!(ended.status.backup_item_operations_completed, 1);
    assert!(ended.status.completion_timestamp.is_some());
    assert_eq!(files(&dir), listed);
    let stored = metadata(&dir);
    assert_eq!(
        stored["status"],
        serde_json::to_value(&ended.status).unwrap()
    );
    assert_eq!(
        document(&dir, "b-itemoperations.json.gz")[0]["status"]["phase"],
        "Completed"
    );
    let found = secrets(&dir);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["metadata"]["annotations"], Value::Null);
    assert_eq!(
        found[1]["metadata"]["annotations"]["example.com/final"],
        "yes"
    );
    let log = gunzip(&dir.join("b-logs.gz"));
    assert!(
        log.contains("starting the backup") && log.contains("backup completed"),
        "{log}"
    );
    world
        .wait_metric("velero_backup_success_total{schedule=\"\"} 2")
        .await;
}

#[tokio::test]
async fn a_failed_operation_makes_a_partial_backup() {
    let (folder, state) = (folder(), State::default());
    let world = world(folder.path(), &state).await;
    begin(&world, "b").await;
    set(&state, OperationProgress::failed("no space"));
    let ended = world.backup_ended("b").await;
    assert_eq!(*ended.phase(), BackupPhase::PartiallyFailed);
    assert_eq!(
        (
            ended.status.errors,
            ended.status.backup_item_operations_failed
        ),
        (1, 1)
    );
    assert!(ended.status.completion_timestamp.is_some());
    let dir = folder.path().join("bucket/backups/b");
    let results = document(&dir, "b-results.gz");
    let line = results["errors"]["namespaces"]["shop"][0].as_str().unwrap();
    assert!(
        line.starts_with(" resource: /secrets name: /password error: /")
            && line.contains("no space"),
        "{line}"
    );
    let log = gunzip(&dir.join("b-logs.gz"));
    assert!(log.contains("no space"), "{log}");
    // What the failed operation has left is stored all the same.
    assert_eq!(secrets(&dir).len(), 2);
    assert_eq!(metadata(&dir)["status"]["phase"], "PartiallyFailed");
    world
        .wait_metric("velero_backup_partial_failure_total{schedule=\"\"} 1")
        .await;
}

#[tokio::test]
async fn operations_are_stored_before_they_are_downloaded() {
    let (folder, state) = (folder(), State::default());
    let world = world(folder.path(), &state).await;
    begin(&world, "b").await;
    set(&state, OperationProgress::running(5, 9, "Bytes"));
    // Several looks, none of which is worth a write by itself.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let dir = folder.path().join("bucket/backups/b");
    let stored = || document(&dir, "b-itemoperations.json.gz")[0]["status"]["nCompleted"].clone();
    assert_eq!(stored(), json!(null));
    let target = json!({"kind": "BackupItemOperations", "name": "b"});
    let request = json!({"metadata": {"name": "d"}, "spec": {"target": target}});
    world.create::<DownloadRequest>(request).await;
    world
        .wait::<DownloadRequest>("d", "is answered", |request| {
            !request.status.download_url.is_empty()
        })
        .await;
    assert_eq!(stored(), json!(5));
    set(&state, OperationProgress::succeeded());
    assert_eq!(
        *world.backup_ended("b").await.phase(),
        BackupPhase::Completed
    );
}

#[tokio::test]
async fn the_next_server_goes_on() {
    let (folder, state) = (folder(), State::default());
    let mut world = world(folder.path(), &state).await;
    let waiting = begin(&world, "b").await;
    assert!(world.stop().await, "waiting holds up the end of the server");
    let left = world.get::<Backup>("b").await.unwrap();
    assert_eq!(left.status, waiting.status);

    // A server that was killed before it could write that the backup waits.
    let api = world.kind::<Backup>();
    let patch = json!({"status": {"phase": "InProgress"}});
    api.patch("b", &Default::default(), &kube::api::Patch::Merge(&patch))
        .await
        .unwrap();
    world.start(quick(&state)).await;
    world
        .wait::<Backup>("b", "waits again", |backup| {
            *backup.phase() == BackupPhase::WaitingForPluginOperations
        })
        .await;
    assert!(world.stop().await);

    // One that was killed while it finalized.
    set(&state, OperationProgress::succeeded());
    let patch = json!({"status": {"phase": "Finalizing"}});
    api.patch("b", &Default::default(), &kube::api::Patch::Merge(&patch))
        .await
        .unwrap();
    world.start(quick(&state)).await;
    let ended = world.backup_ended("b").await;
    assert_eq!(*ended.phase(), BackupPhase::Completed);
    assert_eq!(secrets(&folder.path().join("bucket/backups/b")).len(), 2);
}

#[tokio::test]
async fn a_location_that_is_gone_ends_the_wait() {
    let (folder, state) = (folder(), State::default());
    let world = world(folder.path(), &state).await;
    begin(&world, "b").await;
    world.delete::<BackupStorageLocation>("default").await;
    let ended = world.backup_ended("b").await;
    assert_eq!(*ended.phase(), BackupPhase::PartiallyFailed);
    assert!(ended.status.completion_timestamp.is_some());
    assert!(ended.status.errors > 0);
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_is_waited_for() {
    for comes_back in [true, false] {
        let (folder, state) = (folder(), State::default());
        let ahead = Ahead::default();
        let settings = Settings {
            clock: ahead.clock(),
            ..quick(&state)
        };
        // The last operation is given up then, and what follows has had its time.
        let operations = settings.default_item_operation_timeout.to_std();
        let up = operations + settings.resource_timeout;
        let world = world_by(folder.path(), settings).await;
        begin(&world, "b").await;
        let bucket = folder.path().join("bucket");
        let aside = folder.path().join("aside");
        std::fs::rename(&bucket, &aside).unwrap();
        set(&state, OperationProgress::succeeded());
        // Shortly before the time is up it is still tried.
        let shortly = i64::try_from(operations.as_secs()).unwrap() - 60;
        for seconds in [0, shortly] {
            ahead.set(seconds);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let still = world.get::<Backup>("b").await.unwrap();
            assert!(!still.phase().is_terminal(), "{:?}", still.status);
        }
        if comes_back {
            std::fs::rename(&aside, &bucket).unwrap();
            let ended = world.backup_ended("b").await;
            assert_eq!(*ended.phase(), BackupPhase::Completed, "{:?}", ended.status);
            continue;
        }
        // That nothing has ended it so far was no accident: the store is missed.
        let over = i64::try_from(up.as_secs()).unwrap() + 1;
        ahead.set(over);
        let ended = world.backup_ended("b").await;
        assert_eq!(*ended.phase(), BackupPhase::PartiallyFailed);
        let reason = &ended.status.failure_reason;
        assert!(reason.contains("could not be finalized"), "{reason}");
        assert!(reason.contains("bucket"), "{reason}");
    }
}

#[tokio::test]
async fn a_deleted_resource_is_not_followed() {
    let (folder, state) = (folder(), State::default());
    let mut world = world(folder.path(), &state).await;
    begin(&world, "b").await;
    world.delete::<Backup>("b").await;
    // A look that is under way comes to its end.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = metadata(&folder.path().join("bucket/backups/b"));
    set(&state, OperationProgress::succeeded());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(metadata(&folder.path().join("bucket/backups/b")), before);
    assert!(world.stop().await);
}

/// Without an operator, and over an archive that another writer has made: it ends in another way.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_another_writer_is_added_to() {
    use std::io::{Read as _, Write as _};
    use velero_bin::runs::{
        BackupRun, FollowRun, cancelled_by, follow_to_end, run_backup, system_clock,
    };
    use velero_persistence::{BackupFile, BackupStore, Location};

    let (world, state) = (World::empty(), State::default());
    world.seed_shop("shop");
    let cluster = velero_cluster::Cluster::connect(world.api.client())
        .await
        .unwrap();
    let location = Location::from_url("memory://another-writer").unwrap();
    let store = BackupStore::open(&location).await.unwrap();
    let logs = velero_bin::logfile::RunLogs::install(&Default::default());
    let actions: Vec<Arc<dyn BackupItemAction>> = vec![Arc::new(Snap {
        state: Arc::clone(&state),
    })];
    let backup: Backup = serde_json::from_value(json!({
        "metadata": {"name": "b", "namespace": "elsewhere", "uid": "u"},
        "spec": {"includedNamespaces": ["shop"], "ttl": "1h0m0s"},
    }))
    .unwrap();
    let done = run_backup(BackupRun {
        cluster: cluster.clone(),
        store: store.clone(),
        backup,
        policies: None,
        namespaces: None,
        actions: actions.clone(),
        options: Default::default(),
        log: logs.begin("backup", "elsewhere/b"),
        progress: Arc::new(velero_core::NoProgress),
        cancel: Default::default(),
        cancelled_by: cancelled_by("nobody"),
        writer: "test".to_owned(),
        clock: system_clock(),
    })
    .await
    .unwrap();
    assert_eq!(
        *done.backup.phase(),
        BackupPhase::WaitingForPluginOperations
    );

    let archive = BackupFile::Contents.of("b");
    let mut plain = Vec::new();
    let ours = store.store().get(archive.key(), 1 << 20).await.unwrap();
    flate2::read::MultiGzDecoder::new(&ours[..])
        .read_to_end(&mut plain)
        .unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&plain).unwrap();
    let theirs = gzip.finish().unwrap();
    store.put_packed(&archive, theirs.into()).await.unwrap();

    set(&state, OperationProgress::succeeded());
    let follow = FollowRun {
        cluster,
        store: store.clone(),
        backup: done.backup,
        actions,
        options: Default::default(),
        logs,
        writer: "test".to_owned(),
        cancel: Default::default(),
        clock: system_clock(),
    };
    let ended = follow_to_end(follow, Duration::from_millis(5))
        .await
        .unwrap();
    assert_eq!(*ended.phase(), BackupPhase::Completed);
    let mut names = Vec::new();
    let found = store.store().get(archive.key(), 1 << 20).await.unwrap();
    ArchiveReader::new(&found[..])
        .for_each(|kind, _| {
            if let EntryKind::Item(path) = kind
                && path.version == VersionDir::Unversioned
            {
                names.push(path.name);
            }
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    let secrets = names.iter().filter(|name| *name == "password").count();
    assert_eq!(
        (secrets, names.last().map(String::as_str)),
        (2, Some("password"))
    );
}
