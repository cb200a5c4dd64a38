//! Commands about the places where backups and snapshots are kept.

use serde_json::{Value, json};

use crate::program::Cluster;

fn get(cluster: &Cluster, kind: &str, name: &str) -> Option<Value> {
    let store = cluster.server.store();
    store.get("velero.io/v1", kind, Some("velero"), name)
}

fn location(cluster: &Cluster, name: &str) -> Value {
    get(cluster, "BackupStorageLocation", name).unwrap()
}

/// A file with some bytes in the home folder, and its path.
fn file(cluster: &Cluster, name: &str, content: &str) -> String {
    let path = cluster.home.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_is_created_listed_and_changed() {
    let cluster = Cluster::installed().await;
    let path = file(&cluster, "ca.pem", "PEM");
    let flags = format!(
        "--provider aws --bucket b --prefix p --config region=eu,s3Url=http://s3 --credential cloud=key --cacert {path} \
         --backup-sync-period 0s --access-mode ReadOnly --labels a=b"
    );
    let line = format!("create backup-location first {flags} --default");
    // Neither a cluster nor a definition is asked.
    let calls = cluster.server.calls().total();
    let printed = cluster.velero(&format!("{line} -o json")).await.exits(0);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(cluster.server.calls().total(), calls);
    let table = cluster.velero(&format!("{line} -o table")).await.exits(0);
    assert_eq!(
        table,
        "NAME    PROVIDER   BUCKET/PREFIX   PHASE     LAST VALIDATED   ACCESS MODE   DEFAULT\n\
         first   aws        b/p             Unknown   Unknown          ReadOnly      true\n"
    );
    let text = cluster.velero(&line).await.exits(0);
    assert_eq!(
        text,
        "Backup storage location \"first\" configured successfully.\n"
    );
    let made = location(&cluster, "first");
    assert_eq!(made["spec"], printed["spec"]);
    assert_eq!(
        made["spec"],
        json!({"provider": "aws", "config": {"region": "eu", "s3Url": "http://s3"}, "credential": {"name": "cloud", "key": "key"},
            "objectStorage": {"bucket": "b", "prefix": "p", "caCert": "UEVN"}, "default": true, "accessMode": "ReadOnly",
            "backupSyncPeriod": "0s"})
    );

    // What is not named stays, certificates too.
    let set = async |flags: &str| {
        let line = format!("backup-location set first {flags}");
        cluster.velero(&line).await.exits(0);
        location(&cluster, "first")["spec"].clone()
    };
    let spec = set("--credential other=k --default=false").await;
    assert_eq!(spec["credential"], json!({"name": "other", "key": "k"}));
    assert_eq!(spec["objectStorage"]["caCert"], "UEVN");
    assert_eq!(spec["default"], false);
    let path = file(&cluster, "new.pem", "NEW");
    // It is applied to the one default location as well.
    set("--default").await;
    let spec = set(&format!("--default --cacert {path}")).await;
    assert_eq!(spec["objectStorage"]["caCert"], "TkVX");
    assert_eq!(
        (&spec["default"], &spec["config"]),
        (&json!(true), &made["spec"]["config"])
    );
    let spec = set("--cacert=").await;
    assert_eq!(spec["objectStorage"], json!({"bucket": "b", "prefix": "p"}));

    for (line, expected) in [
        ("backup-location set first", "there is nothing to set"),
        (
            "backup-location set first --default=",
            "there is nothing to set",
        ),
        (
            "backup-location set gone --default",
            "backupstoragelocations.velero.io \"gone\" not found",
        ),
        (
            "backup-location set first --credential a=b,c=d",
            "names 2 secrets, a and c",
        ),
        (
            "backup-location set first --cacert /no/such",
            "--cacert /no/such",
        ),
        (
            "backup-location create first --provider aws --bucket c",
            "already exists",
        ),
        ("backup-location get first gone", "\"gone\" not found"),
    ] {
        let message = cluster.velero(line).await.fails();
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_default_location() {
    let cluster = Cluster::installed().await;
    let create =
        |name: &str| format!("backup-location create {name} --provider aws --bucket {name}");
    cluster.velero(&create("one")).await.exits(0);
    cluster
        .velero(&format!("{} --default", create("two")))
        .await
        .exits(0);
    let refused = "backup storage location \"two\" is the default one; take that from it with `velero backup-location set two \
                   --default=false` first";
    let line = format!("{} --default", create("three"));
    assert_eq!(cluster.velero(&line).await.fails(), refused);
    assert_eq!(get(&cluster, "BackupStorageLocation", "three"), None);
    let line = "backup-location set one --default";
    assert_eq!(cluster.velero(line).await.fails(), refused);

    let names = async |line: &str| {
        let table = cluster.velero(line).await.exits(0);
        let names = table
            .lines()
            .skip(1)
            .map(|line| line.split(' ').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("get backup-locations").await, ["one", "two"]);
    assert_eq!(names("get backup-locations --default").await, ["two"]);
    assert_eq!(
        names("backup-location get one two --default").await,
        ["two"]
    );
    assert_eq!(
        names("backup-location get one --default").await,
        [] as [&str; 0]
    );

    for line in [
        "backup-location set two --default=false",
        "backup-location set one --default",
    ] {
        cluster.velero(line).await.exits(0);
    }
    assert_eq!(names("backup-location get --default").await, ["one"]);
    let one = cluster
        .velero("backup-location get --default -o json")
        .await
        .exits(0);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["kind"], "BackupStorageLocation");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_in_one_place() {
    let cluster = Cluster::installed().await;
    let path = file(&cluster, "ca.pem", "PEM");
    let seeded = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": {"name": "l", "namespace": "velero"},
        "spec": {"provider": "aws", "objectStorage": {"bucket": "b", "caCertRef": {"name": "certs", "key": "ca"}}}});
    cluster.server.store().seed_value(seeded).unwrap();
    let line = format!("backup-location set l --cacert {path}");
    let message = cluster.velero(&line).await.fails();
    assert!(
        message.contains("in the secret \"certs\" of objectStorage.caCertRef"),
        "{message}"
    );
    cluster
        .velero("backup-location set l --cacert=")
        .await
        .exits(0);
    let storage = &location(&cluster, "l")["spec"]["objectStorage"];
    assert_eq!(storage["caCertRef"], json!({"name": "certs", "key": "ca"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_for_the_content_of_a_location_goes_with_it() {
    let cluster = Cluster::installed().await;
    let long = "l".repeat(70);
    // Labels hold 63 characters; longer names are cut and end with a part of their hash.
    let label = velero_core::names::valid_label_name(&long);
    for (name, label) in [("keep", "keep"), ("old", "old"), (&long, label.as_str())] {
        let store = cluster.server.store();
        let location = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
            "metadata": {"name": name, "namespace": "velero"},
            "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}}});
        store.seed_value(location).unwrap();
        let repository = json!({"volumeNamespace": "shop", "backupStorageLocation": name, "repositoryType": "kopia",
            "resticIdentifier": "", "maintenanceFrequency": "1h0m0s"});
        for (kind, spec) in [("Backup", json!({})), ("BackupRepository", repository)] {
            let object = json!({"apiVersion": "velero.io/v1", "kind": kind,
                "metadata": {"name": format!("in-{name}"), "namespace": "velero",
                    "labels": {"velero.io/storage-location": label}},
                "spec": spec});
            store.seed_value(object).unwrap();
        }
    }
    let text = cluster
        .velero("backup-location delete old --confirm")
        .await
        .exits(0);
    assert_eq!(
        text,
        "Deleted backup storage location \"old\".\n\
         Deleted backup \"in-old\" of it; what lies in the bucket stays.\n\
         Deleted backup repository \"in-old\" of it; what lies in the bucket stays.\n"
    );
    let ran = cluster
        .velero(&format!("delete backup-locations gone {long} --confirm"))
        .await;
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr,
        "An error occurred: backupstoragelocations.velero.io \"gone\" not found in namespace \"velero\"\n"
    );
    for kind in ["BackupStorageLocation", "Backup", "BackupRepository"] {
        let left = cluster.server.store().list("velero.io/v1", kind, None);
        assert_eq!(left.len(), 1, "{kind}: {left:#?}");
        assert!(
            left[0]["metadata"]["name"]
                .as_str()
                .unwrap()
                .ends_with("keep")
        );
    }
    // Nothing is asked of the store, and no deletion of data is asked for.
    let requests = cluster
        .server
        .store()
        .list("velero.io/v1", "DeleteBackupRequest", None);
    assert_eq!(requests.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_locations() {
    let cluster = Cluster::installed().await;
    let create =
        "snapshot-location create aws-default --provider aws --config region=eu --labels a=b";
    let text = cluster.velero(create).await.exits(0);
    assert_eq!(
        text,
        "Snapshot volume location \"aws-default\" configured successfully.\n"
    );
    cluster
        .velero("create snapshot-location other --provider gcp --credential cloud=key")
        .await
        .exits(0);
    let table = cluster.velero("snapshot-location get").await.exits(0);
    assert_eq!(
        table,
        "NAME          PROVIDER\naws-default   aws\nother         gcp\n"
    );
    // The selector counts.
    let table = cluster
        .velero("get snapshot-locations -l a=b -L a")
        .await
        .exits(0);
    assert_eq!(
        table,
        "NAME          PROVIDER   A\naws-default   aws        b\n"
    );
    cluster
        .velero("snapshot-location set aws-default --credential s=k")
        .await
        .exits(0);
    let set = get(&cluster, "VolumeSnapshotLocation", "aws-default").unwrap();
    assert_eq!(
        set["spec"],
        json!({"provider": "aws", "config": {"region": "eu"}, "credential": {"name": "s", "key": "k"}})
    );
    for (line, expected) in [
        ("snapshot-location create l", "--provider is needed"),
        (
            "snapshot-location create l --provider p --credential a=b,c=d",
            "names 2 secrets",
        ),
        ("snapshot-location set other", "there is nothing to set"),
        (
            "snapshot-location set gone --credential a=b",
            "\"gone\" not found",
        ),
        ("snapshot-location get gone", "\"gone\" not found"),
    ] {
        let message = cluster.velero(line).await.fails();
        assert!(message.contains(expected), "{line}: {message}");
    }
    let text = cluster
        .velero("snapshot-location delete other --confirm")
        .await
        .exits(0);
    assert_eq!(text, "Deleted volume snapshot location \"other\".\n");
    assert_eq!(get(&cluster, "VolumeSnapshotLocation", "other"), None);
}
