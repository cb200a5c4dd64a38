//! Deletions that the operator refuses.

use serde_json::json;
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::server::{Server, Settings};

use crate::program::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_deletion_is_told() {
    let cluster = Cluster::start().await;
    cluster.velero("install --crds-only").await.exits(0);
    let store = cluster.server.store();
    store
        .seed("{apiVersion: v1, kind: Namespace, metadata: {name: velero}}")
        .unwrap();
    for name in ["one", "two"] {
        let backup = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": name, "namespace": "velero"},
            "spec": {"storageLocation": "gone"}, "status": {"phase": "Completed"}});
        store.seed_value(backup).unwrap();
    }
    // Without an operator nobody refuses, and nothing is waited for without end.
    let text = cluster.velero("backup delete one --confirm").await.exits(0);
    assert!(
        text.starts_with("Request to delete backup \"one\" submitted successfully.\n"),
        "{text}"
    );

    let logs = RunLogs::install(&LogOptions::default());
    let _operator = Server::start(cluster.server.client(), Settings::default(), logs)
        .await
        .unwrap();
    let ran = cluster.velero("backup delete one two --confirm").await;
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let fault = |name: &str| {
        format!(
            "An error occurred: backup {name:?} was not deleted: backup storage location \"gone\" not found\n"
        )
    };
    for name in ["one", "two"] {
        assert!(ran.stderr.contains(&fault(name)), "{}", ran.stderr);
    }
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
}
