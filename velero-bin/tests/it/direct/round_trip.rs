//! Backups and restores that go well.

use serde_json::Value;
use tempfile::TempDir;
use velero_testkit::compare::{ALLOWED, compare};

use crate::program::{Cluster, files};

fn store(folder: &TempDir) -> String {
    format!("file://{}", folder.path().display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_listed_read_and_restored_into_another_cluster() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = store(&folder);
    let text = source
        .velero(&format!(
            "direct backup first --store {store} --include-namespaces shop"
        ))
        .await
        .exits(0);
    assert!(
        text.starts_with("Backup \"first\" Completed.\n") && text.contains("Warnings:  0"),
        "{text}"
    );
    let dir = "backups/first/";
    let expected = [
        "first-itemoperations.json.gz",
        "first-logs.gz",
        "first-podvolumebackups.json.gz",
        "first-resource-list.json.gz",
        "first-results.gz",
        "first-volumeinfo.json.gz",
        "first-volumesnapshots.json.gz",
        "first.tar.gz",
        "velero-backup.json",
    ];
    assert_eq!(
        files(folder.path()),
        expected.map(|name| format!("{dir}{name}"))
    );

    let listed = source
        .velero(&format!("direct ls --store {store}"))
        .await
        .exits(0);
    assert!(
        listed.starts_with("NAME    STATUS") && listed.contains("first   Completed   0"),
        "{listed}"
    );
    let objects = source
        .velero(&format!("direct ls first --store {store}"))
        .await
        .exits(0);
    assert!(
        objects.contains("v1/ConfigMap        shop        settings"),
        "{objects}"
    );
    let shown = source
        .velero(&format!(
            "direct cat first cm/shop/settings --store {store}"
        ))
        .await
        .exits(0);
    assert!(
        shown.contains("color: blue") && shown.contains("kind: ConfigMap"),
        "{shown}"
    );

    let target = Cluster::start().await;
    let text = target
        .velero(&format!(
            "direct restore first --store {store} --restore-name back"
        ))
        .await
        .exits(0);
    assert!(
        text.starts_with("Restore \"back\" of backup \"first\" Completed.\n"),
        "{text}"
    );
    let all = |cluster: &Cluster| -> Vec<Value> {
        let store = cluster.server.store();
        ["ConfigMap", "Secret", "ServiceAccount"]
            .iter()
            .flat_map(|kind| store.list("v1", kind, Some("shop")))
            .collect()
    };
    // Objects put in without a call have no owners of fields.
    let without_owners = |objects: Vec<Value>| -> Vec<Value> {
        objects
            .into_iter()
            .map(|mut object| {
                object["metadata"]
                    .as_object_mut()
                    .unwrap()
                    .remove("managedFields");
                object
            })
            .collect()
    };
    assert_eq!(
        compare(
            &without_owners(all(&source)),
            &without_owners(all(&target)),
            ALLOWED
        ),
        []
    );
    let names = [
        "back-itemoperations.json.gz",
        "back-resource-list.json.gz",
        "back-results.gz",
    ];
    for name in names.map(|name| format!("restores/back/restore-{name}")) {
        assert!(files(folder.path()).contains(&name), "{name}");
    }
}

/// In a disaster the medium is often read-only. What was restored is told all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_results_does_not_hide_the_report() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = store(&folder);
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    cluster.velero(&line).await.exits(0);
    // Where the log should go there is a folder, so that even root cannot write it.
    let log = folder.path().join("restores/back/restore-back-logs.gz/x");
    std::fs::create_dir_all(log).unwrap();
    let line = format!(
        "direct restore first --store {store} --restore-name back --namespace-mappings shop:copy"
    );
    let text = cluster.velero(&line).await.exits(0);
    assert!(
        text.starts_with("Restore \"back\" of backup \"first\" Completed.\n")
            && text.contains("Created:   ")
            && text.contains("Warnings:  1")
            && text.contains("; they are told here alone"),
        "{text}"
    );
    let restored = cluster.server.store();
    assert!(
        restored
            .get("v1", "ConfigMap", Some("copy"), "settings")
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_what_the_peer_would_serve() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let line = format!(
        "direct backup first --store {} -n backup --ttl 24h --labels a=b --annotations c=d",
        store(&folder)
    );
    source.velero(&line).await.exits(0);
    let bytes = std::fs::read(folder.path().join("backups/first/velero-backup.json")).unwrap();
    let backup: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(bytes.starts_with(b"{\n  \"") && !bytes.ends_with(b"\n"));
    for (pointer, expected) in [
        ("/kind", "Backup"),
        ("/apiVersion", "velero.io/v1"),
        ("/metadata/name", "first"),
        ("/metadata/namespace", "backup"),
        ("/metadata/labels/a", "b"),
        ("/metadata/annotations/c", "d"),
        ("/metadata/labels/velero.io~1storage-location", "default"),
        ("/spec/ttl", "24h0m0s"),
        ("/spec/includedNamespaces/0", "*"),
        ("/status/phase", "Completed"),
        ("/status/formatVersion", "1.1.0"),
    ] {
        assert_eq!(
            backup.pointer(pointer).and_then(Value::as_str),
            Some(expected),
            "{pointer}"
        );
    }
    for pointer in [
        "/metadata/uid",
        "/metadata/creationTimestamp",
        "/status/expiration",
        "/status/startTimestamp",
        "/status/completionTimestamp",
    ] {
        assert!(
            backup.pointer(pointer).is_some_and(Value::is_string),
            "{pointer}"
        );
    }
    assert_eq!(
        backup["status"]["progress"]["totalItems"],
        backup["status"]["progress"]["itemsBackedUp"]
    );
    let log = std::fs::read(folder.path().join("backups/first/first-logs.gz")).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(log.as_slice()), &mut text)
        .unwrap();
    assert!(
        text.contains("level=info msg=\"starting the backup\" backup=backup/first"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_are_buckets_as_well() {
    let (source, s3) = (
        Cluster::with_shop().await,
        super::s3::S3Server::start().await,
    );
    let url = s3.url("backups", "clusters/a");
    let with_keys = |line: String| {
        let mut command = source.command(line.split(' '));
        command
            .env("AWS_ACCESS_KEY_ID", super::s3::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", super::s3::SECRET_KEY);
        command
    };
    let run = |line: String| crate::program::run(with_keys(line));
    run(format!(
        "direct backup first --store {url} --include-namespaces shop"
    ))
    .await
    .exits(0);
    assert!(
        files(&s3.bucket())
            .iter()
            .any(|file| file == "clusters/a/backups/first/first.tar.gz")
    );
    source
        .server
        .store()
        .remove("v1", "ConfigMap", Some("shop"), "settings");
    run(format!("direct restore first --store {url}"))
        .await
        .exits(0);
    assert!(
        source
            .server
            .store()
            .get("v1", "ConfigMap", Some("shop"), "settings")
            .is_some()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_run_is_a_line_of_its_log() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = store(&folder);
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    source.velero(&line).await.exits(0);
    let objects = source.server.store();
    for name in ["settings", "other"] {
        let mut map = objects.get("v1", "ConfigMap", Some("shop"), name).unwrap();
        assert!(objects.remove("v1", "ConfigMap", Some("shop"), name));
        map["data"] = serde_json::json!({"something": "else"});
        objects.seed_value(map).unwrap();
    }
    let line = format!("direct restore first --store {store} --restore-name back");
    let text = source.velero(&line).await.exits(0);
    assert!(text.contains("Warnings:  2"), "{text}");
    let log = std::fs::read(folder.path().join("restores/back/restore-back-logs.gz")).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(log.as_slice()), &mut text)
        .unwrap();
    let warnings: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("level=warning"))
        .collect();
    assert_eq!(warnings.len(), 2, "{text}");
    assert!(
        warnings
            .iter()
            .all(|line| line.contains("restore=velero/back") && line.contains("namespace=shop"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_restore_names_what_was_skipped() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = store(&folder);
    cluster
        .velero(&format!(
            "direct backup first --store {store} --include-namespaces shop"
        ))
        .await
        .exits(0);
    cluster
        .velero(&format!(
            "direct restore first --store {store} --restore-name back --exclude-resources secrets"
        ))
        .await
        .exits(0);
    let log = crate::server::gunzip(&folder.path().join("restores/back/restore-back-logs.gz"));
    for name in ["settings", "other"] {
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(&format!("name={name} ")) && line.contains("skipped: "))
            .collect();
        assert_eq!(lines.len(), 1, "{name}: {log}");
        for part in [
            "level=info",
            "namespace=shop",
            "resource=configmaps",
            "it is in the cluster, as it is in the backup",
        ] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
    }
    let left: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("left out: the kind is not selected"))
        .collect();
    assert_eq!(left.len(), 1, "{log}");
    assert!(
        left[0].contains("resource=secrets") && left[0].contains("count=1"),
        "{}",
        left[0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_refused_in_one_line_before_anything_is_written() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = store(&folder);
    let backup = format!("direct backup first --store {store} --include-namespaces shop");
    source.velero(&backup).await.exits(0);
    let path = folder.path().join("backups/first/first.tar.gz");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let target = Cluster::start().await;
    let ran = target
        .velero(&format!("direct restore first --store {store}"))
        .await;
    let said = ran.fails();
    assert!(said.contains("archive"), "{said}");
    assert_eq!(target.server.calls().writes().len(), 0);
}
