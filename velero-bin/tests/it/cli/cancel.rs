//! `velero backup cancel` and `velero restore cancel`.

use std::time::Duration;

use serde_json::json;
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::server::{Server, Settings};
use velero_testkit::{Fault, FaultAction};

use crate::program::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_cancelled_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bucket")).unwrap();
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    let store = cluster.server.store();
    for name in ["velero", "shop"] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        store.seed_value(namespace).unwrap();
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices", "namespace": "shop"}});
    store.seed_value(map).unwrap();
    let location = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": {"name": "default", "namespace": "velero"},
        "spec": {"provider": "filesystem", "default": true, "config": {"fspath": folder.path()},
            "objectStorage": {"bucket": "bucket"}}});
    store.seed_value(location).unwrap();
    // Nobody is there to end it.
    let alone = "backup create alone --include-namespaces shop";
    cluster.velero(alone).await.exits(0);
    let ran = cluster.velero("backup cancel alone --timeout 1s").await;
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let fault = "An error occurred: backup \"alone\" is still New: is `velero server` running in this namespace?\n";
    assert_eq!(ran.stderr, fault);

    let logs = RunLogs::install(&LogOptions::default());
    let settings = Settings {
        metrics_address: None,
        ..Settings::default()
    };
    let operator = Server::start(cluster.server.client(), settings, logs);
    let _operator = operator.await.unwrap();
    let ran = cluster.velero("backup create whole --include-namespaces shop --wait");
    ran.await.exits(0);
    let slow = Fault::new(FaultAction::Slow(Duration::from_secs(30))).verb("list");
    let slow = slow.resource("configmaps").times(u64::MAX);
    cluster.server.faults().add(slow);
    for name in ["one", "two"] {
        let create = format!("backup create {name} --include-namespaces shop");
        cluster.velero(&create).await.exits(0);
    }
    let began = std::time::Instant::now();
    let ran = cluster
        .velero("backup cancel one nothing whole alone two")
        .await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let cancelled = "backup \"one\" is cancelled.\nbackup \"two\" is cancelled.\n";
    assert_eq!(ran.stdout, cancelled);
    let faults: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        faults,
        [
            "An error occurred: backups.velero.io \"nothing\" not found in namespace \"velero\"",
            "An error occurred: backup \"whole\" has ended already, as Completed",
            "An error occurred: backup \"alone\" was cancelled already",
        ]
    );
    let backup = store
        .get("velero.io/v1", "Backup", Some("velero"), "one")
        .unwrap();
    let status = &backup["status"];
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["failureReason"], "cancelled by velero backup cancel");
    cluster.server.faults().clear();

    let slow = Fault::new(FaultAction::Slow(Duration::from_secs(30))).verb("create");
    let slow = slow.resource("configmaps").times(u64::MAX);
    cluster.server.faults().add(slow);
    let restore = "restore create r --from-backup whole --namespace-mappings shop:copy";
    cluster.velero(restore).await.exits(0);
    let text = cluster
        .velero("restore cancel r --timeout 0")
        .await
        .exits(0);
    assert_eq!(text, "restore \"r\" is asked to end.\n");
    let ran = cluster.velero("restore cancel r").await;
    assert!(
        ran.stdout == "restore \"r\" is cancelled.\n"
            || ran
                .stderr
                .ends_with("restore \"r\" was cancelled already\n"),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
}
