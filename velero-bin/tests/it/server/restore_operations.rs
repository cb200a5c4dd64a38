//! What restores wait for when their items are done: operations of actions, and hooks of pods.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use velero_bin::server::Settings;
use velero_core::action::{
    ActionContext, ActionError, OperationProgress, ResourceSelector, RestoreInput,
    RestoreItemAction, RestoreOutcome,
};
use velero_core::api::{Backup, BackupStorageLocation, DownloadRequest, Restore, RestorePhase};
use velero_testkit::{ApiServer, ExecRequest, ExecResult};

use super::operations::{State, document, set};
use super::world::{World, eventually, files, folder, gunzip, settings};

/// Starts one operation, at a Secret, and says of it what it is told to say.
struct Fill {
    state: State,
}

#[async_trait]
impl RestoreItemAction for Fill {
    fn name(&self) -> &str {
        "example.com/fill"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["secrets"])
    }

    async fn execute(
        &self,
        input: RestoreInput,
        _: &ActionContext<'_, Restore>,
    ) -> Result<RestoreOutcome, ActionError> {
        Ok(RestoreOutcome::create(input.item).started("op-1"))
    }

    async fn progress(
        &self,
        _: &str,
        _: &ActionContext<'_, Restore>,
    ) -> Result<OperationProgress, ActionError> {
        Ok(self.state.lock().unwrap().clone())
    }
}

/// What was run in pods.
type Log = Arc<Mutex<Vec<String>>>;

struct Bench {
    world: World,
    state: State,
    log: Log,
    folder: tempfile::TempDir,
}

impl Bench {
    /// An operator with the action, a backup `b` of the namespace `shop`, and pods with hooks in it by the given commands.
    async fn new(commands: &[&str]) -> Self {
        let (folder, state, log) = (folder(), State::default(), Log::default());
        let lines = Arc::clone(&log);
        let api = ApiServer::builder()
            .exec(move |request: ExecRequest| {
                let command = request.command.join(" ");
                lines
                    .lock()
                    .unwrap()
                    .push(format!("{} {command}", request.pod));
                match command.as_str() {
                    "bad" => ExecResult::failure(3, "no luck"),
                    _ => ExecResult::default(),
                }
            })
            .build();
        let mut world = World::on(api, "");
        world.start(quick(&state)).await;
        world.add_folder("default", folder.path()).await;
        world
            .wait::<BackupStorageLocation>("default", "is available", |l| l.is_available())
            .await;
        world.seed_shop("shop");
        for command in commands {
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("pod-{command}"), "namespace": "shop",
                    "annotations": {"post.hook.restore.velero.io/command": command}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Pending"}});
            world.api.store().seed_value(pod).unwrap();
        }
        world.back_up("b", &["shop"]).await;
        Self {
            world,
            state,
            log,
            folder,
        }
    }

    async fn restore(&self, name: &str, target: &str, secrets: bool) {
        let mut spec = json!({"backupName": "b", "namespaceMapping": {"shop": target}});
        if !secrets {
            spec["excludedResources"] = json!(["secrets"]);
        }
        self.world
            .create::<Restore>(json!({"metadata": {"name": name}, "spec": spec}))
            .await;
    }

    async fn phase(&self, name: &str, phase: RestorePhase) -> Restore {
        self.world
            .wait::<Restore>(name, phase.as_str(), |restore| *restore.phase() == phase)
            .await
    }

    fn dir(&self, restore: &str) -> std::path::PathBuf {
        self.folder.path().join("bucket/restores").join(restore)
    }

    async fn run_pod(&self, namespace: &str, pod: &str) {
        let pods: Api<Pod> = Api::namespaced(self.world.api.client(), namespace);
        let patch = json!({"status": {"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "image": "i",
            "imageID": "", "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}});
        pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    fn ran(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

fn quick(state: &State) -> Settings {
    Settings {
        item_operation_sync_frequency: Duration::from_millis(30),
        restore_actions: vec![Arc::new(Fill {
            state: Arc::clone(state),
        })],
        ..settings()
    }
}

fn errors(dir: &Path, restore: &str) -> Value {
    document(dir, &format!("restore-{restore}-results.gz"))["errors"].clone()
}

#[tokio::test]
async fn a_restore_waits_for_its_operations() {
    let bench = Bench::new(&[]).await;
    bench.restore("r", "copy", true).await;
    let waiting = bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    assert_eq!(waiting.status.restore_item_operations_attempted, 1);
    assert_eq!(waiting.status.completion_timestamp, None);
    let dir = bench.dir("r");
    let operations = document(&dir, "restore-r-itemoperations.json.gz");
    assert_eq!(operations[0]["status"]["phase"], "New");
    assert_eq!(
        operations[0]["spec"]["restoreItemAction"],
        "example.com/fill"
    );

    // Nobody else waits for it.
    bench.restore("other", "other", false).await;
    let other = bench.world.restore_ended("other").await;
    assert_eq!(*other.phase(), RestorePhase::Completed);
    let still = bench.world.get::<Restore>("r").await.unwrap();
    assert_eq!(*still.phase(), RestorePhase::WaitingForPluginOperations);

    set(&bench.state, OperationProgress::running(1, 2, "Bytes"));
    set(&bench.state, OperationProgress::succeeded());
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    assert_eq!(ended.status.restore_item_operations_completed, 1);
    assert!(ended.status.completion_timestamp.is_some());
    let operations = document(&dir, "restore-r-itemoperations.json.gz");
    assert_eq!(operations[0]["status"]["phase"], "Completed");
    assert_eq!(files(&dir).len(), 5);
    let log = gunzip(&dir.join("restore-r-logs.gz"));
    assert!(
        log.contains("starting the restore") && log.contains("restore completed"),
        "{log}"
    );
    bench
        .world
        .wait_metric("velero_restore_success_total{schedule=\"\"} 2")
        .await;
}

#[tokio::test]
async fn a_failed_operation_makes_a_partial_restore_and_is_in_its_results() {
    let bench = Bench::new(&[]).await;
    bench.restore("r", "copy", true).await;
    bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    set(&bench.state, OperationProgress::failed("no space"));
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::PartiallyFailed);
    let status = &ended.status;
    assert_eq!(
        (status.errors, status.restore_item_operations_failed),
        (1, 1)
    );
    let dir = bench.dir("r");
    let errors = errors(&dir, "r");
    let line = errors["namespaces"]["copy"][0].as_str().unwrap();
    assert!(
        line.starts_with(" resource: /secrets name: /password error: /")
            && line.contains("no space"),
        "{line}"
    );
    assert!(gunzip(&dir.join("restore-r-logs.gz")).contains("no space"));
    bench
        .world
        .wait_metric("velero_restore_partial_failure_total{schedule=\"\"} 1")
        .await;
}

#[tokio::test]
async fn operations_are_stored_before_they_are_downloaded() {
    let bench = Bench::new(&[]).await;
    bench.restore("r", "copy", true).await;
    bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    set(&bench.state, OperationProgress::running(5, 9, "Bytes"));
    // Several looks, none of which is worth a write by itself.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let dir = bench.dir("r");
    let stored =
        || document(&dir, "restore-r-itemoperations.json.gz")[0]["status"]["nCompleted"].clone();
    assert_eq!(stored(), json!(null));
    let target = json!({"kind": "RestoreItemOperations", "name": "r"});
    let request = json!({"metadata": {"name": "d"}, "spec": {"target": target}});
    bench.world.create::<DownloadRequest>(request).await;
    bench
        .world
        .wait::<DownloadRequest>("d", "is answered", |request| {
            !request.status.download_url.is_empty()
        })
        .await;
    assert_eq!(stored(), json!(5));
}

#[tokio::test]
async fn a_restore_from_a_location_that_is_read_only_waits_for_its_operations() {
    let bench = Bench::new(&[]).await;
    let read_only = json!({"spec": {"accessMode": "ReadOnly"}});
    bench
        .world
        .patch::<BackupStorageLocation>("default", read_only)
        .await;
    bench.restore("r", "copy", true).await;
    bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    set(&bench.state, OperationProgress::succeeded());
    let ended = bench.world.restore_ended("r").await;
    let status = &ended.status;
    assert_eq!(*ended.phase(), RestorePhase::Completed, "{status:?}");
    assert_eq!(status.restore_item_operations_completed, 1);
}

#[tokio::test]
async fn operations_that_the_store_does_not_take_are_kept_by_the_server() {
    let bench = Bench::new(&[]).await;
    // No folder can be made there.
    std::fs::write(bench.folder.path().join("bucket/restores"), "").unwrap();
    bench.restore("r", "copy", true).await;
    bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    set(&bench.state, OperationProgress::succeeded());
    let ended = bench.world.restore_ended("r").await;
    assert_eq!((ended.status.warnings, ended.status.errors), (0, 0));
    let target = json!({"kind": "RestoreItemOperations", "name": "r"});
    let request = json!({"metadata": {"name": "d"}, "spec": {"target": target}});
    bench.world.create::<DownloadRequest>(request).await;
    let has_url = |request: &DownloadRequest| !request.status.download_url.is_empty();
    let request = bench
        .world
        .wait::<DownloadRequest>("d", "has a url", has_url);
    let url = url::Url::parse(&request.await.status.download_url).unwrap();
    let operations = gunzip(&url.to_file_path().unwrap());
    assert!(operations.contains("\"Completed\""), "{operations}");
}

#[tokio::test]
async fn the_next_server_goes_on_although_the_store_has_taken_nothing() {
    let mut bench = Bench::new(&[]).await;
    // No folder can be made there.
    let restores = bench.folder.path().join("bucket/restores");
    std::fs::write(&restores, "").unwrap();
    bench.restore("r", "copy", true).await;
    bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    assert!(bench.world.stop().await);
    bench.world.start(quick(&bench.state)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    set(&bench.state, OperationProgress::succeeded());
    let ended = bench.world.restore_ended("r").await;
    let status = &ended.status;
    assert_eq!(*ended.phase(), RestorePhase::Completed, "{status:?}");
    assert_eq!(status.restore_item_operations_completed, 1);
    assert!(restores.is_file());
}

#[tokio::test]
async fn the_next_server_goes_on() {
    let mut bench = Bench::new(&[]).await;
    bench.restore("r", "copy", true).await;
    let waiting = bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    assert!(
        bench.world.stop().await,
        "waiting holds up the end of the server"
    );
    let left = bench.world.get::<Restore>("r").await.unwrap();
    assert_eq!(left.status, waiting.status);
    bench.world.start(quick(&bench.state)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let still = bench.world.get::<Restore>("r").await.unwrap();
    assert_eq!(*still.phase(), RestorePhase::WaitingForPluginOperations);
    assert!(bench.world.stop().await);

    // One that was killed while it finalized.
    set(&bench.state, OperationProgress::succeeded());
    let api = bench.world.kind::<Restore>();
    let patch = json!({"status": {"phase": "FinalizingPartiallyFailed"}});
    api.patch("r", &Default::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    bench.world.start(quick(&bench.state)).await;
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::PartiallyFailed);
}

#[tokio::test]
async fn a_restore_is_finalizing_until_its_hooks_have_ended() {
    let bench = Bench::new(&["ok", "bad"]).await;
    bench.restore("r", "copy", false).await;
    let finalizing = bench.phase("r", RestorePhase::Finalizing).await;
    let hooks = finalizing.status.hook_status.unwrap();
    assert_eq!((hooks.hooks_attempted, hooks.hooks_failed), (2, 0));
    let dir = bench.dir("r");
    let kept = eventually(async || {
        files(&dir)
            .iter()
            .any(|f| f == "x-velero-journal.json")
            .then_some(())
    });
    assert!(kept.await.is_some(), "{:?}", files(&dir));

    bench.run_pod("copy", "pod-bad").await;
    let partly = bench
        .phase("r", RestorePhase::FinalizingPartiallyFailed)
        .await;
    assert_eq!(partly.status.errors, 1);
    bench.run_pod("copy", "pod-ok").await;
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::PartiallyFailed);
    let hooks = ended.status.hook_status.unwrap();
    assert_eq!((hooks.hooks_attempted, hooks.hooks_failed), (2, 1));
    assert_eq!(bench.ran(), ["pod-bad bad", "pod-ok ok"]);
    assert_eq!(
        errors(&dir, "r"),
        json!({"namespaces": {"copy": [
            " resource: /pods name: /pod-bad error: /hook of the pod's annotations: exit code 3 in container c: no luck"]}})
    );
    let log = gunzip(&dir.join("restore-r-logs.gz"));
    assert!(
        log.contains("running [\\\"ok\\\"]") && log.contains("no luck"),
        "{log}"
    );
    assert_eq!(files(&dir).len(), 5, "{:?}", files(&dir));
}

/// A hook may wait for hours: nobody else does.
#[tokio::test]
async fn hooks_hold_up_no_other_restore_and_no_deletion() {
    let bench = Bench::new(&["ok"]).await;
    bench.restore("r", "copy", false).await;
    bench.phase("r", RestorePhase::Finalizing).await;
    let other = json!({"backupName": "b", "namespaceMapping": {"shop": "other"}, "includedResources": ["configmaps"]});
    bench
        .world
        .create::<Restore>(json!({"metadata": {"name": "other"}, "spec": other}))
        .await;
    let other = bench.world.restore_ended("other").await;
    assert_eq!(*other.phase(), RestorePhase::Completed);
    bench.world.delete::<Restore>("r").await;
    bench.world.wait_gone::<Restore>("r").await;
    bench.run_pod("copy", "pod-ok").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(bench.ran().is_empty());
    let gone = eventually(async || files(&bench.dir("r")).is_empty().then_some(()));
    assert!(gone.await.is_some(), "{:?}", files(&bench.dir("r")));
}

#[tokio::test]
async fn the_next_server_runs_the_hooks_that_wait() {
    let mut bench = Bench::new(&["ok", "first"]).await;
    bench.restore("r", "copy", false).await;
    bench.phase("r", RestorePhase::Finalizing).await;
    bench.run_pod("copy", "pod-first").await;
    let ran = eventually(async || (bench.ran() == ["pod-first first"]).then_some(()));
    assert!(ran.await.is_some());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        bench.world.stop().await,
        "hooks hold up the end of the server"
    );
    let left = bench.world.get::<Restore>("r").await.unwrap();
    assert_eq!(*left.phase(), RestorePhase::Finalizing);

    bench.run_pod("copy", "pod-ok").await;
    bench.world.start(quick(&bench.state)).await;
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    let hooks = ended.status.hook_status.unwrap();
    assert_eq!((hooks.hooks_attempted, hooks.hooks_failed), (2, 0));
    assert_eq!(bench.ran(), ["pod-first first", "pod-ok ok"]);
    assert_eq!(files(&bench.dir("r")).len(), 5);
}

#[tokio::test]
async fn a_location_that_is_gone_ends_the_wait() {
    let mut bench = Bench::new(&[]).await;
    bench.restore("r", "copy", true).await;
    bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    assert!(bench.world.stop().await);
    bench.world.delete::<BackupStorageLocation>("default").await;
    bench.world.start(quick(&bench.state)).await;
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::PartiallyFailed);
    assert!(
        ended.status.failure_reason.contains("\"default\" is gone"),
        "{:?}",
        ended.status
    );
    assert!(bench.world.get::<Backup>("b").await.is_some());
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_is_waited_for() {
    let bench = Bench::new(&[]).await;
    bench.restore("r", "copy", true).await;
    bench
        .phase("r", RestorePhase::WaitingForPluginOperations)
        .await;
    let bucket = bench.folder.path().join("bucket");
    let aside = bench.folder.path().join("aside");
    std::fs::rename(&bucket, &aside).unwrap();
    set(&bench.state, OperationProgress::failed("no space"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::rename(&aside, &bucket).unwrap_or_else(|_| {
        // Something was written meanwhile: the folder is there again.
        std::fs::remove_dir_all(&bucket).unwrap();
        std::fs::rename(&aside, &bucket).unwrap();
    });
    let ended = bench.world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::PartiallyFailed,
        "{:?}",
        ended.status
    );
    assert_eq!(ended.status.errors, 1, "{:?}", ended.status);
    let found = errors(&bench.dir("r"), "r");
    assert_eq!(
        found["namespaces"]["copy"].as_array().map(Vec::len),
        Some(1)
    );
}

/// Without an operator, and over a store that takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_followed_without_an_operator() {
    use velero_bin::runs::{
        RestoreFollowRun, RestoreRun, follow_restore, run_restore, system_clock,
    };
    use velero_persistence::{BackupStore, Location};

    let bench = Bench::new(&["ok"]).await;
    for read_only in [false, true] {
        let name = if read_only { "r2" } else { "r1" };
        let cluster = velero_cluster::Cluster::connect(bench.world.api.client())
            .await
            .unwrap();
        let url = format!("file://{}", bench.folder.path().join("bucket").display());
        let store = BackupStore::open(&Location::from_url(&url).unwrap())
            .await
            .unwrap();
        if read_only {
            // Where the log should go there is a folder, so that even root cannot write it.
            let log = bench.dir(name).join(format!("restore-{name}-logs.gz/x"));
            std::fs::create_dir_all(log).unwrap();
        }
        let logs = velero_bin::logfile::RunLogs::install(&Default::default());
        let actions: Vec<Arc<dyn RestoreItemAction>> = vec![Arc::new(Fill {
            state: Arc::clone(&bench.state),
        })];
        let restore: Restore = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "elsewhere", "uid": "u"},
            "spec": {"backupName": "b", "namespaceMapping": {"shop": name}},
        }))
        .unwrap();
        set(&bench.state, OperationProgress::running(1, 2, "Bytes"));
        let done = run_restore(RestoreRun {
            cluster: cluster.clone(),
            store: store.clone(),
            restore,
            actions: actions.clone(),
            inputs: Default::default(),
            options: Default::default(),
            priorities: Default::default(),
            log: logs.begin("restore", &format!("elsewhere/{name}")),
            progress: Arc::new(velero_core::NoProgress),
            expected: None,
            journal: None,
            spare: None,
            cancel: Default::default(),
            clock: system_clock(),
        })
        .await
        .unwrap();
        assert_eq!(
            *done.restore.phase(),
            RestorePhase::WaitingForPluginOperations
        );
        let follow = RestoreFollowRun {
            cluster,
            store,
            restore: done.restore,
            actions,
            options: Default::default(),
            left: done.left,
            logs,
            cancel: Default::default(),
            clock: system_clock(),
        };
        let said = Mutex::new(Vec::new());
        let following = follow_restore(follow, Duration::from_millis(20), |what| {
            said.lock().unwrap().push(what.to_owned());
            if said.lock().unwrap().len() == 1 {
                set(&bench.state, OperationProgress::failed("no space"));
            }
        });
        let (followed, ()) = tokio::join!(following, bench.run_pod(name, "pod-ok"));
        let followed = followed.unwrap();
        assert_eq!(*followed.restore.phase(), RestorePhase::PartiallyFailed);
        assert_eq!(followed.records.len(), 1, "{:?}", followed.records);
        assert_eq!(followed.restore.status.errors, 1);
        let said = said.into_inner().unwrap();
        assert!(
            said[0].starts_with("1 of 1 operations of actions and 1 hooks in 1 pods of "),
            "{said:?}"
        );
        let stored = bench
            .dir(name)
            .join(format!("restore-{name}-itemoperations.json.gz"));
        let operations: Value = serde_json::from_str(&gunzip(&stored)).unwrap();
        let phase = if read_only { "New" } else { "Failed" };
        assert_eq!(operations[0]["status"]["phase"], phase, "{name}");
    }
    assert_eq!(bench.ran(), ["pod-ok ok", "pod-ok ok"]);
}
