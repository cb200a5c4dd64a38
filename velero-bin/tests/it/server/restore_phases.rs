//! Restores whose operations do not all end alike, or that are ended from outside: their phases, and what stays of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_bin::server::Settings;
use velero_core::action::{
    ActionContext, ActionError, OperationProgress, ResourceSelector, RestoreInput,
    RestoreItemAction, RestoreOutcome,
};
use velero_core::api::{BackupStorageLocation, Restore, RestorePhase};
use velero_testkit::{Fault, FaultAction};

use super::operations::document;
use super::world::{World, eventually, files, folder, gunzip, settings};

/// What the operations say of themselves, by their ids; those that nobody has spoken for are under way.
type Said = Arc<Mutex<BTreeMap<String, OperationProgress>>>;

/// Starts an operation at each of two ConfigMaps.
struct Each(Said);

#[async_trait]
impl RestoreItemAction for Each {
    fn name(&self) -> &str {
        "example.com/each"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        let name = input.item.name().to_owned();
        let outcome = RestoreOutcome::create(input.item);
        Ok(match name.as_str() {
            "config-0" | "config-1" => outcome.started(name),
            _ => outcome,
        })
    }

    async fn progress(
        &self,
        id: &str,
        _: &ActionContext<'_, Restore>,
    ) -> Result<OperationProgress, ActionError> {
        let said = self.0.lock().unwrap().get(id).cloned();
        Ok(said.unwrap_or_else(|| OperationProgress::running(1, 2, "Bytes")))
    }
}

async fn phase(world: &World, phase: RestorePhase) -> Restore {
    world
        .wait::<Restore>("r", phase.as_str(), |restore| *restore.phase() == phase)
        .await
}

async fn begin(world: &World) {
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
}

#[tokio::test]
async fn a_failed_operation_shows_while_others_are_under_way() {
    let (folder, said) = (folder(), Said::default());
    let mut world = World::empty();
    let settings = Settings {
        item_operation_sync_frequency: Duration::from_millis(30),
        restore_actions: vec![Arc::new(Each(Arc::clone(&said)))],
        ..settings()
    };
    world.start(settings).await;
    world.add_folder("default", folder.path()).await;
    world
        .wait::<BackupStorageLocation>("default", "is available", |l| l.is_available())
        .await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    begin(&world).await;
    let counts = |restore: &Restore| {
        let status = &restore.status;
        (
            status.restore_item_operations_attempted,
            status.restore_item_operations_completed,
            status.restore_item_operations_failed,
            status.errors,
        )
    };
    let waiting = phase(&world, RestorePhase::WaitingForPluginOperations).await;
    assert_eq!(counts(&waiting), (2, 0, 0, 0));

    let say = |id: &str, progress| said.lock().unwrap().insert(id.to_owned(), progress);
    say("config-0", OperationProgress::failed("no space"));
    let partly = phase(
        &world,
        RestorePhase::WaitingForPluginOperationsPartiallyFailed,
    )
    .await;
    assert_eq!(counts(&partly), (2, 0, 1, 1));
    assert_eq!(partly.status.completion_timestamp, None);
    // The store tells the same.
    let dir = folder.path().join("bucket/restores/r");
    let phases = || -> BTreeMap<String, String> {
        let operations = document(&dir, "restore-r-itemoperations.json.gz");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of = |one: &Value| {
            (
                text(&one["spec"]["operationID"]),
                text(&one["status"]["phase"]),
            )
        };
        operations.as_array().unwrap().iter().map(of).collect()
    };
    let told = eventually(async || {
        let phases = phases();
        (phases["config-0"] == "Failed" && phases["config-1"] == "InProgress").then_some(())
    });
    assert!(told.await.is_some(), "{:?}", phases());

    say("config-1", OperationProgress::succeeded());
    let ended = world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::PartiallyFailed);
    assert_eq!(counts(&ended), (2, 1, 1, 1));
    assert!(ended.status.completion_timestamp.is_some());
    assert_eq!(phases()["config-1"], "Completed");
    let results = document(&dir, "restore-r-results.gz");
    let lines = results["errors"]["namespaces"]["copy"].as_array().unwrap();
    assert!(
        lines.len() == 1 && lines[0].as_str().unwrap().contains("no space"),
        "{results}"
    );
}

#[tokio::test]
async fn a_cancelled_restore_leaves_log_and_results() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    // Secrets come before ConfigMaps.
    world.api.faults().add(
        // Later than the wish to end it, and soon enough for a run that was cancelled.
        Fault::new(FaultAction::Slow(Duration::from_secs(1)))
            .verb("create")
            .resource("secrets")
            .namespace("copy"),
    );
    begin(&world).await;
    let creates = |resource: &str| {
        let log = world.api.calls().log().into_iter();
        let of_copy = log.filter(|call| call.namespace.as_deref() == Some("copy"));
        of_copy
            .filter(|call| call.verb == "create" && call.resource == resource)
            .count()
    };
    let asked = eventually(async || (creates("secrets") == 1).then_some(()));
    assert!(asked.await.is_some(), "{:?}", world.api.calls().counts());
    let cancel = json!({"metadata": {"annotations": {"x.velero.io/cancel": "anna"}}});
    let began = std::time::Instant::now();
    world
        .kind::<Restore>()
        .patch("r", &Default::default(), &kube::api::Patch::Merge(&cancel))
        .await
        .unwrap();
    let restore = world.restore_ended("r").await;
    assert!(began.elapsed() < Duration::from_secs(5));
    let status = &restore.status;
    assert_eq!(*restore.phase(), RestorePhase::Failed, "{status:#?}");
    assert_eq!(status.failure_reason, "cancelled by anna");
    assert!(status.start_timestamp.is_some() && status.completion_timestamp.is_some());
    let dir = folder.path().join("bucket/restores/r");
    // The journal goes after the end is written.
    let gone = eventually(async || (files(&dir).len() == 5).then_some(())).await;
    assert!(gone.is_some(), "{:?}", files(&dir));
    assert_eq!(
        files(&dir),
        [
            "r-volumeinfo.json.gz",
            "restore-r-itemoperations.json.gz",
            "restore-r-logs.gz",
            "restore-r-resource-list.json.gz",
            "restore-r-results.gz",
        ]
    );
    let log = gunzip(&dir.join("restore-r-logs.gz"));
    assert!(
        log.contains("starting the restore") && log.contains("phase=Failed"),
        "{log}"
    );
    let results = document(&dir, "restore-r-results.gz");
    let told = results["errors"]["velero"].to_string();
    assert!(
        told.contains("the restore was cancelled; what it has created stays"),
        "{results}"
    );
    assert!(status.errors > 0, "{status:#?}");
    let list = document(&dir, "restore-r-resource-list.json.gz");
    assert_eq!(list["v1/Secret"], json!(["copy/password(created)"]));
    // Nothing more was taken up.
    let log = world.api.calls().log().into_iter();
    let more = log.filter(|call| {
        call.verb == "create"
            && call.resource == "configmaps"
            && call.namespace.as_deref() == Some("copy")
    });
    assert_eq!(more.count(), 0);
}
