//! Runs whose items are done, and that somebody wants ended.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_bin::server::Settings;
use velero_core::ItemTree;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOperation, BackupOutcome,
    OperationProgress, ResourceSelector, RestoreInput, RestoreItemAction, RestoreOutcome,
};
use velero_core::api::{Backup, BackupPhase, DeleteBackupRequest, Restore, RestorePhase};

use super::operations::document;
use super::world::{World, files, folder, gunzip, settings};

const CANCEL: &str = "x.velero.io/cancel";

/// Longest time until a run has ended that somebody wants ended.
const SOON: Duration = Duration::from_secs(5);

/// Starts an operation at each Secret that never ends by itself.
#[derive(Clone, Default)]
struct Endless {
    /// Whether it answers nobody.
    is_silent: bool,
    cancelled: Arc<Mutex<Vec<String>>>,
}

impl Endless {
    async fn answer(&self) {
        if self.is_silent {
            std::future::pending().await
        }
    }

    async fn end(&self, operation: &str) -> Result<(), ActionError> {
        self.cancelled.lock().unwrap().push(operation.to_owned());
        self.answer().await;
        Ok(())
    }

    fn settings(&self) -> Settings {
        Settings {
            item_operation_sync_frequency: Duration::from_secs(10),
            backup_actions: vec![Arc::new(self.clone())],
            restore_actions: vec![Arc::new(self.clone())],
            ..settings()
        }
    }
}

const NAME: &str = "example.com/endless";

#[async_trait]
impl BackupItemAction for Endless {
    fn name(&self) -> &str {
        NAME
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["secrets"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        let operation = BackupOperation::new(format!("op-{}", item.name()));
        Ok(BackupOutcome::unchanged().started(operation))
    }

    async fn progress(
        &self,
        _: &str,
        _: &ActionContext<'_, Backup>,
    ) -> Result<OperationProgress, ActionError> {
        self.answer().await;
        Ok(OperationProgress::running(1, 9, "Bytes"))
    }

    async fn cancel(
        &self,
        operation: &str,
        _: &ActionContext<'_, Backup>,
    ) -> Result<(), ActionError> {
        self.end(operation).await
    }
}

#[async_trait]
impl RestoreItemAction for Endless {
    fn name(&self) -> &str {
        NAME
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["secrets"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let operation = format!("op-{}", input.item.name());
        Ok(RestoreOutcome::create(input.item).started(operation))
    }

    async fn progress(
        &self,
        _: &str,
        _: &ActionContext<'_, Restore>,
    ) -> Result<OperationProgress, ActionError> {
        self.answer().await;
        Ok(OperationProgress::running(1, 9, "Bytes"))
    }

    async fn cancel(
        &self,
        operation: &str,
        _: &ActionContext<'_, Restore>,
    ) -> Result<(), ActionError> {
        self.end(operation).await
    }
}

async fn world(folder: &Path, endless: &Endless) -> World {
    let world = World::with_settings(folder, endless.settings()).await;
    world.seed_shop("shop");
    world
}

/// Backs a namespace up, until only operations are left.
async fn begin(world: &World, name: &str) {
    let spec = json!({"includedNamespaces": ["shop"]});
    let backup = json!({"metadata": {"name": name}, "spec": spec});
    world.create::<Backup>(backup).await;
    world
        .wait::<Backup>(name, "waits", |backup| {
            *backup.phase() == BackupPhase::WaitingForPluginOperations
        })
        .await;
}

fn asks() -> Value {
    json!({"metadata": {"annotations": {CANCEL: "anna"}}})
}

/// What a document in the store says of the only operation.
fn failure(dir: &Path, file: &str) -> String {
    let operations = document(dir, file);
    assert_eq!(operations[0]["status"]["phase"], "Failed");
    let error = operations[0]["status"]["error"].as_str();
    error.unwrap().to_owned()
}

fn assert_cancelled(backup: &Backup, dir: &Path) {
    let status = &backup.status;
    assert_eq!(*backup.phase(), BackupPhase::Failed, "{status:?}");
    assert_eq!(status.failure_reason, "cancelled by anna");
    assert_eq!(status.backup_item_operations_failed, 1);
    assert!(status.completion_timestamp.is_some());
    let metadata = std::fs::read(dir.join("velero-backup.json")).unwrap();
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    assert_eq!(metadata["status"], serde_json::to_value(status).unwrap());
    assert!(!dir.join("x-velero-reservation.json").exists());
    let results = gunzip(&dir.join("b-results.gz"));
    for part in [
        "cancelled by anna",
        "operation \\\"op-password\\\" of action example.com/endless",
    ] {
        assert!(results.contains(part), "{part}: {results}");
    }
    assert_eq!(status.errors, 2, "{results}");
    assert!(gunzip(&dir.join("b-logs.gz")).contains("cancelled by anna"));
}

#[tokio::test]
async fn a_backup_that_waits_for_operations_is_cancelled() {
    let folder = folder();
    let endless = Endless::default();
    let world = world(folder.path(), &endless).await;
    begin(&world, "b").await;
    let began = Instant::now();
    world.patch::<Backup>("b", asks()).await;
    let ended = world.backup_ended("b").await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let dir = folder.path().join("bucket/backups/b");
    assert_cancelled(&ended, &dir);
    assert_eq!(*endless.cancelled.lock().unwrap(), ["op-password"]);
    let reason = failure(&dir, "b-itemoperations.json.gz");
    assert_eq!(reason, "cancelled by anna");
}

#[tokio::test]
async fn an_action_that_answers_nobody_does_not_hold_a_cancelled_run_up() {
    let folder = folder();
    let endless = Endless {
        is_silent: true,
        ..Endless::default()
    };
    let world = world(folder.path(), &endless).await;
    begin(&world, "b").await;
    let began = Instant::now();
    world.patch::<Backup>("b", asks()).await;
    let ended = world.backup_ended("b").await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let dir = folder.path().join("bucket/backups/b");
    assert_cancelled(&ended, &dir);
    let reason = failure(&dir, "b-itemoperations.json.gz");
    let silent = "cancelled by anna; the action does not answer when told to cancel it";
    assert_eq!(reason, silent);
}

#[tokio::test]
async fn the_next_server_ends_what_is_to_end() {
    let folder = folder();
    let endless = Endless::default();
    let mut world = world(folder.path(), &endless).await;
    begin(&world, "b").await;
    assert!(world.stop().await);
    world.patch::<Backup>("b", asks()).await;
    world.start(endless.settings()).await;
    let ended = world.backup_ended("b").await;
    assert_cancelled(&ended, &folder.path().join("bucket/backups/b"));
    assert_eq!(*endless.cancelled.lock().unwrap(), ["op-password"]);
}

#[tokio::test]
async fn a_backup_that_waits_is_ended_before_it_is_deleted() {
    let folder = folder();
    let endless = Endless::default();
    let world = world(folder.path(), &endless).await;
    begin(&world, "b").await;
    let request = json!({"metadata": {"name": "d"}, "spec": {"backupName": "b"}});
    world.create::<DeleteBackupRequest>(request).await;
    world.wait_gone::<DeleteBackupRequest>("d").await;
    assert!(world.get::<Backup>("b").await.is_none());
    assert_eq!(files(&folder.path().join("bucket")), [""; 0]);
    assert_eq!(*endless.cancelled.lock().unwrap(), ["op-password"]);
}

#[tokio::test]
async fn a_restore_that_waits_for_operations_is_cancelled() {
    for is_silent in [false, true] {
        let folder = folder();
        let endless = Endless {
            is_silent,
            ..Endless::default()
        };
        let mut world = World::with_folder(folder.path()).await;
        world.seed_shop("shop");
        world.back_up("b", &["shop"]).await;
        assert!(world.stop().await);
        world.start(endless.settings()).await;
        let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
        let restore = json!({"metadata": {"name": "r"}, "spec": spec});
        world.create::<Restore>(restore).await;
        world
            .wait::<Restore>("r", "waits", |restore| {
                *restore.phase() == RestorePhase::WaitingForPluginOperations
            })
            .await;
        let began = Instant::now();
        world.patch::<Restore>("r", asks()).await;
        let ended = world.restore_ended("r").await;
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        let status = &ended.status;
        assert_eq!(*ended.phase(), RestorePhase::Failed, "{status:?}");
        assert_eq!(status.failure_reason, "cancelled by anna");
        assert_eq!(status.restore_item_operations_failed, 1);
        let annotations = ended.metadata.annotations.unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), [CANCEL]);
        let dir = folder.path().join("bucket/restores/r");
        let reason = failure(&dir, "restore-r-itemoperations.json.gz");
        assert!(reason.starts_with("cancelled by anna"), "{reason}");
        let results = document(&dir, "restore-r-results.gz");
        let line = results["errors"]["velero"][0].as_str().unwrap();
        assert!(line.ends_with("cancelled by anna"), "{results}");
        assert_eq!(status.errors, 2, "{results}");
        let log = gunzip(&dir.join("restore-r-logs.gz"));
        assert!(log.contains("cancelled by anna"), "{log}");
        assert_eq!(*endless.cancelled.lock().unwrap(), ["op-password"]);
        assert!(!dir.join("x-velero-journal.json").exists());
    }
}
