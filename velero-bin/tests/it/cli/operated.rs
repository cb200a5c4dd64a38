//! Commands whose work the operator does.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::server::{Server, Settings};

use velero_testkit::{Fault, FaultAction};

use crate::program::Cluster;

/// A cluster with an operator and a folder as its location.
pub(super) struct Operated {
    pub(super) cluster: Cluster,
    _operator: Server,
    folder: TempDir,
}

impl Operated {
    pub(super) async fn start() -> Self {
        let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
        cluster.velero("install --crds-only").await.exits(0);
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let store = cluster.server.store();
        store
            .seed("{apiVersion: v1, kind: Namespace, metadata: {name: velero}}")
            .unwrap();
        let location = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
            "metadata": {"name": "default", "namespace": "velero"},
            "spec": {"provider": "filesystem", "default": true, "objectStorage": {"bucket": "bucket"},
                "config": {"fspath": folder.path().display().to_string()}, "validationFrequency": "1s"}});
        store.seed_value(location).unwrap();
        let settings = Settings {
            tick: Duration::from_millis(50),
            ..Settings::default()
        };
        let logs = RunLogs::install(&LogOptions::default());
        let operator = Server::start(cluster.server.client(), settings, logs)
            .await
            .unwrap();
        Self {
            cluster,
            _operator: operator,
            folder,
        }
    }

    /// The folder that is the bucket.
    pub(super) fn bucket(&self) -> std::path::PathBuf {
        self.folder.path().join("bucket")
    }

    pub(super) async fn velero(&self, line: &str) -> crate::program::Ran {
        self.cluster.velero(line).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_gives_out_is_told_with_what_is_wrong_with_its_location() {
    let world = Operated::start().await;
    let backup = "backup create first --include-namespaces shop --wait";
    world.velero(backup).await.exits(0);
    let store = world.cluster.server.store();
    let get = || {
        let (version, kind) = ("velero.io/v1", "BackupStorageLocation");
        store.get(version, kind, Some("velero"), "default").unwrap()
    };
    std::fs::remove_dir_all(world.folder.path().join("bucket")).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while get()["status"]["phase"] != "Unavailable" {
        assert!(tokio::time::Instant::now() < deadline, "{}", get());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let text = world.velero("backup logs first --timeout 2s").await.fails();
    assert!(
        text.contains("; the backup storage location \"default\" cannot be used: "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_and_a_restore_from_the_command_line() {
    let world = Operated::start().await;
    let text = world
        .velero("backup create first --include-namespaces shop --labels a=b --wait")
        .await
        .exits(0);
    assert!(
        text.starts_with("Backup request \"first\" submitted successfully.\n"),
        "{text}"
    );
    assert!(
        text.contains("Backup completed with status: Completed."),
        "{text}"
    );

    let table = world
        .velero("get backups --show-labels -L a")
        .await
        .exits(0);
    assert!(
        table.starts_with("NAME    STATUS      ERRORS   WARNINGS   CREATED"),
        "{table}"
    );
    assert!(
        table.contains("29d") && table.contains("default") && table.contains("a=b"),
        "{table}"
    );
    let one: Value =
        serde_json::from_str(&world.velero("backup get first -o json").await.exits(0)).unwrap();
    assert_eq!(
        (one["kind"].as_str(), one["status"]["phase"].as_str()),
        (Some("Backup"), Some("Completed"))
    );

    let text = world
        .velero("backup describe first --details")
        .await
        .exits(0);
    for part in [
        "Name:         first\n",
        "Phase:  Completed\n",
        "  Included:  shop\n",
        "Storage Location:  default\n",
        "v1/ConfigMap:\n",
        "- shop/settings\n",
        "Coverage:\n",
        "by namespace\n",
    ] {
        assert!(text.contains(part), "{part:?}: {text}");
    }
    let described: Value =
        serde_json::from_str(&world.velero("describe backup first -o json").await.exits(0))
            .unwrap();
    assert_eq!(described["spec"]["namespaces"]["included"], "shop");
    assert!(described.get("coverage").is_none());
    // A key of our own beside the peer's, where the details are asked for.
    let mut detailed: Value = serde_json::from_str(
        &world
            .velero("describe backup first --details -o json")
            .await
            .exits(0),
    )
    .unwrap();
    let kinds = detailed
        .as_object_mut()
        .unwrap()
        .remove("coverage")
        .unwrap();
    let maps = kinds
        .as_array()
        .unwrap()
        .iter()
        .find(|kind| kind["resource"] == "configmaps")
        .unwrap();
    assert_eq!(
        [
            &maps["reading"],
            &maps["failed"],
            &maps["leftOut"]["labelSelector"]
        ],
        [&json!("by namespace"), &json!(0), &json!(0)]
    );
    assert!(
        detailed["status"]
            .as_object_mut()
            .unwrap()
            .remove("resourceList")
            .is_some()
    );
    assert_eq!(detailed, described);
    let log = world.velero("backup logs first").await.exits(0);
    assert!(
        log.contains("msg=\"backup completed\" backup=velero/first"),
        "{log}"
    );

    world
        .cluster
        .server
        .store()
        .remove("v1", "ConfigMap", Some("shop"), "settings");
    let text = world
        .velero("create restore back --from-backup first --wait")
        .await
        .exits(0);
    assert!(
        text.contains("Restore completed with status: Completed."),
        "{text}"
    );
    assert!(
        world
            .cluster
            .server
            .store()
            .get("v1", "ConfigMap", Some("shop"), "settings")
            .is_some()
    );
    let table = world.velero("restore get").await.exits(0);
    assert!(table.contains("back   first    Completed"), "{table}");
    let text = world
        .velero("restore describe back --details")
        .await
        .exits(0);
    assert!(
        text.contains("Backup:  first\n") && text.contains("- shop/settings(created)\n"),
        "{text}"
    );
    assert!(
        world
            .velero("restore logs back")
            .await
            .exits(0)
            .contains("restore=velero/back")
    );

    let text = world.velero("restore delete back --confirm").await.exits(0);
    assert_eq!(
        text,
        "Request to delete restore \"back\" submitted successfully.\n"
    );
    let text = world.velero("backup delete first --confirm").await.exits(0);
    assert!(
        text.starts_with("Request to delete backup \"first\" submitted successfully.\n"),
        "{text}"
    );
    // The mark of the cluster stays.
    let left = || -> Vec<String> {
        let files = crate::program::files(world.folder.path());
        let is_mark = |name: &String| name.contains("metadata/x-velero-cluster-");
        files.into_iter().filter(|name| !is_mark(name)).collect()
    };
    for _ in 0..400 {
        if left().is_empty() && world.velero("backup get").await.exits(0).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("left: {:?}", left());
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_tells_how_it_ended() {
    let world = Operated::start().await;
    let text = world
        .velero("backup create lost --include-namespaces gone --wait")
        .await
        .exits(2);
    assert!(
        text.contains("Backup completed with status: PartiallyFailed."),
        "{text}"
    );
    let text = world.velero("backup describe lost").await.exits(0);
    assert!(
        text.contains("Errors:") && text.contains("run `velero backup logs lost`"),
        "{text}"
    );
    let message = world
        .velero("restore create --from-backup nothing --wait")
        .await
        .fails();
    assert_eq!(
        message,
        "backups.velero.io \"nothing\" not found in namespace \"velero\""
    );
    let message = world
        .velero("backup create first --storage-location nowhere")
        .await
        .fails();
    assert_eq!(
        message,
        "backupstoragelocations.velero.io \"nowhere\" not found in namespace \"velero\""
    );
    let message = world.velero("backup logs nothing").await.fails();
    assert!(message.contains("\"nothing\" not found"), "{message}");

    // What is refused has no log to wait for: the reason is told.
    let ran = world
        .velero("backup create refused --snapshot-volumes --wait")
        .await;
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(
        ran.stderr
            .starts_with("An error occurred: backup \"refused\" was refused: ")
            && ran.stderr.contains("snapshotVolumes"),
        "{}",
        ran.stderr
    );
    let message = world.velero("backup logs refused").await.fails();
    assert!(
        message.starts_with("backup \"refused\" was refused and has no log: "),
        "{message}"
    );
}

/// What is asked for and not built is refused by the name of its field.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_by_its_field() {
    let world = Operated::start().await;
    let location = json!({"apiVersion": "velero.io/v1", "kind": "VolumeSnapshotLocation",
        "metadata": {"name": "aws", "namespace": "velero"}, "spec": {"provider": "aws"}});
    world.cluster.server.store().seed_value(location).unwrap();
    for (at, (flag, field)) in [
        ("--data-mover=mine", "spec.datamover: "),
        ("--parallel-files-upload=4", "spec.uploaderConfig: "),
        (
            "--volume-snapshot-locations=aws",
            "spec.volumeSnapshotLocations: ",
        ),
        ("--snapshot-move-data", "spec.snapshotMoveData: "),
        (
            "--default-volumes-to-fs-backup",
            "spec.defaultVolumesToFsBackup: ",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!("backup create b{at} {flag} --wait");
        let ran = world.velero(&line).await;
        assert_eq!(ran.code, 1, "{flag}: {}", ran.stdout);
        assert!(
            ran.stderr.contains(&format!("was refused: {field}")),
            "{flag}: {}",
            ran.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_failed_backup_is_printed() {
    let world = Operated::start().await;
    let faults = world.cluster.server.faults();
    faults.add(
        Fault::new(FaultAction::Unauthorized)
            .verb("list")
            .resource("secrets")
            .times(u64::MAX),
    );
    let line = "backup create b --include-namespaces shop --wait";
    let text = world.velero(line).await.exits(1);
    assert!(text.contains("completed with status: Failed."), "{text}");
    let log = world.velero("backup logs b").await.exits(0);
    assert!(
        log.contains("starting the backup") && log.contains("the backup has failed: "),
        "{log}"
    );
    let text = world.velero("backup get").await.exits(0);
    assert!(text.contains("Failed") && text.contains("29d"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_with_resource_policies() {
    let world = Operated::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p", "namespace": "velero"},
        "data": {"p.yaml": "version: v1\nincludeExcludePolicy: {excludedNamespaceScopedResources: [secrets]}\n"}});
    world.cluster.server.store().seed_value(map).unwrap();
    world
        .velero(
            "backup create first --include-namespaces shop --resource-policies-configmap p --wait",
        )
        .await
        .exits(0);
    let text = world
        .velero("backup describe first --details")
        .await
        .exits(0);
    assert!(
        text.contains("Resource policies:\n  Type:  configmap\n  Name:  p\n")
            && !text.contains("v1/Secret"),
        "{text}"
    );
    let json: Value =
        serde_json::from_str(&world.velero("backup describe first -o json").await.exits(0))
            .unwrap();
    assert_eq!(
        json["resourcePolicies"],
        json!({"type": "configmap", "name": "p"})
    );
    // The reference is stored as the peer's command line stores it.
    let written = world
        .velero("backup create second --resource-policies-configmap p -o json")
        .await
        .exits(0);
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(
        written["spec"]["resourcePolicy"],
        json!({"kind": "configmap", "name": "p"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_planned_from_the_files_that_the_operator_gives_out() {
    let world = Operated::start().await;
    let line = "backup create first --include-namespaces shop --wait";
    world.velero(line).await.exits(0);
    let store = world.cluster.server.store();
    let mut map = store
        .get("v1", "ConfigMap", Some("shop"), "settings")
        .unwrap();
    map["metadata"]["name"] = json!("since");
    map["metadata"]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key == "name" || key == "namespace");
    store.seed_value(map).unwrap();
    store.remove("v1", "ConfigMap", Some("shop"), "other");

    let table = world
        .velero("restore plan --from-backup first")
        .await
        .exits(0);
    let has_row = |text: &str, words: [&str; 3]| {
        text.lines()
            .any(|line| line.split_whitespace().take(3).eq(words))
    };
    assert!(
        has_row(&table, ["create", "configmaps", "shop/other"]),
        "{table}"
    );
    assert!(
        has_row(&table, ["skip-identical", "configmaps", "shop/settings"]),
        "{table}"
    );
    // What the backup has looked at is in its log.
    let plan = "restore plan --from-backup first --existing-resource-policy mirror";
    let table = world.velero(plan).await.exits(0);
    assert!(
        has_row(&table, ["delete", "configmaps", "shop/since"]),
        "{table}"
    );

    // A restore that there is.
    let create = "restore create back --from-backup first --include-resources configmaps --wait";
    world.velero(create).await.exits(0);
    let text = world.velero("restore plan back -o json").await.exits(0);
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["plan"]["restore"]["metadata"]["name"], "back");
    assert!(
        text.lines().last().unwrap().starts_with("{\"end\":"),
        "{text}"
    );
    for (line, says) in [
        (
            "restore plan",
            "either a backup or schedule must be specified",
        ),
        ("restore plan nowhere", "not found"),
        (
            "restore plan back --include-namespaces shop",
            "is taken as it is",
        ),
        ("restore plan --from-backup nowhere", "not found"),
        ("restore plan --from-schedule never", "no completed backups"),
    ] {
        let said = world.velero(line).await.fails();
        assert!(said.contains(says), "{line}: {said}");
    }
}
