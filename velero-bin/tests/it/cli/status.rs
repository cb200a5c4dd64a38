//! Commands that ask the server about itself, with an answer from a script in the server's place.

use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use velero_core::api::ServerStatusRequest;
use velero_testkit::{Fault, FaultAction};

use crate::program::Cluster;

/// Answers every request.
fn answer(cluster: &Cluster, version: &str, plugins: Value) -> JoinHandle<()> {
    let api: Api<ServerStatusRequest> = Api::namespaced(cluster.server.client(), "velero");
    let status =
        json!({"status": {"phase": "Processed", "serverVersion": version, "plugins": plugins}});
    tokio::spawn(async move {
        loop {
            for request in api.list(&Default::default()).await.unwrap() {
                let name = request.metadata.name.unwrap();
                assert!(name.starts_with("velero-cli-"), "{name}");
                let patch = Patch::Merge(&status);
                api.patch(&name, &PatchParams::default(), &patch)
                    .await
                    .unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

fn requests(cluster: &Cluster) -> usize {
    let store = cluster.server.store();
    store
        .list("velero.io/v1", "ServerStatusRequest", None)
        .len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_the_server_is_told() {
    let cluster = Cluster::installed().await;
    let client = format!(
        "Client:\n\tVersion: v{}\n\tGit commit: -\n",
        env!("CARGO_PKG_VERSION")
    );
    let client_version = concat!("v", env!("CARGO_PKG_VERSION"));
    let server = answer(&cluster, client_version, json!([]));
    let text = cluster.velero("version").await.exits(0);
    assert_eq!(
        text,
        format!("{client}Server:\n\tVersion: {client_version}\n")
    );
    server.abort();
    let _ = server.await;

    let server = answer(&cluster, "v98.7.6", json!([]));
    let text = cluster.velero("version").await.exits(0);
    let (versions, warning) = text.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(versions, format!("{client}Server:\n\tVersion: v98.7.6"));
    assert!(
        warning.starts_with("# WARNING: ") && warning.ends_with("update the client"),
        "{warning}"
    );
    server.abort();
    let _ = server.await;
    // Those that were answered are the server's to delete.
    assert_eq!(requests(&cluster), 2);

    let text = cluster.velero("version --timeout 300ms").await.exits(0);
    assert_eq!(
        text,
        format!(
            "{client}<error getting server version: timed out waiting for the server to answer; is the velero server running?>\n"
        )
    );
    // One that nobody answered is taken back.
    assert_eq!(requests(&cluster), 2);
    let text = cluster.velero("version --client-only").await.exits(0);
    assert_eq!(text, client);
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_are_listed() {
    let cluster = Cluster::installed().await;
    let plugins = json!([
        {"name": "velero.io/pod", "kind": "RestoreItemAction"},
        {"name": "velero.io/pv", "kind": "BackupItemAction"},
    ]);
    let server = answer(&cluster, "v1.0.0", plugins);
    // A name that the API server makes up may be taken.
    let taken = Fault::new(FaultAction::Conflict)
        .verb("create")
        .resource("serverstatusrequests")
        .times(2);
    cluster.server.faults().add(taken);
    for line in ["plugin get", "get plugins -o table --timeout 10s"] {
        let table = cluster.velero(line).await.exits(0);
        assert_eq!(
            table,
            "NAME            KIND\nvelero.io/pv    BackupItemAction\nvelero.io/pod   RestoreItemAction\n"
        );
    }
    let ran = cluster.velero("plugin get -o json").await;
    assert!(
        ran.code == 1 && ran.stderr.contains("table"),
        "{}",
        ran.stderr
    );
    server.abort();
    let _ = server.await;
    let message = cluster.velero("plugin get --timeout 300ms").await.fails();
    assert_eq!(
        message,
        "timed out waiting for the server to answer; is the velero server running?"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_listed() {
    let cluster = Cluster::installed().await;
    let store = cluster.server.store();
    for (namespace, name, status) in [
        (
            "velero",
            "shop-default-kopia",
            json!({"phase": "Ready", "lastMaintenanceTime": "2026-01-01T00:00:00Z"}),
        ),
        ("velero", "web-default-kopia", json!({})),
        ("other", "theirs-default-kopia", json!({})),
    ] {
        let repository = json!({"apiVersion": "velero.io/v1", "kind": "BackupRepository",
            "metadata": {"name": name, "namespace": namespace, "labels": {"name": name}},
            "spec": {"volumeNamespace": "shop", "backupStorageLocation": "default", "repositoryType": "kopia",
                "resticIdentifier": "", "maintenanceFrequency": "1h0m0s"},
            "status": status});
        store.seed_value(repository).unwrap();
    }
    let table = cluster.velero("repo get").await.exits(0);
    assert_eq!(
        table,
        "NAME                 STATUS   LAST MAINTENANCE\n\
         shop-default-kopia   Ready    2026-01-01 00:00:00 +0000 UTC\n\
         web-default-kopia    New      <never>\n"
    );
    let table = cluster
        .velero("repo get -l name=web-default-kopia --show-labels")
        .await
        .exits(0);
    assert!(
        table.ends_with("<never>            name=web-default-kopia\n")
            && table.lines().count() == 2,
        "{table}"
    );
    let one = cluster
        .velero("repo get shop-default-kopia -o json")
        .await
        .exits(0);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(
        (&one["kind"], &one["spec"]["volumeNamespace"]),
        (&json!("BackupRepository"), &json!("shop"))
    );
    let list = cluster.velero("repo get -o yaml").await.exits(0);
    assert!(list.contains("kind: BackupRepositoryList"), "{list}");
    let message = cluster.velero("repo get gone").await.fails();
    assert_eq!(
        message,
        "backuprepositories.velero.io \"gone\" not found in namespace \"velero\""
    );
}
