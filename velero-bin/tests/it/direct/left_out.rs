//! What a restore leaves out is told by name, in its log and in its list.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::Cluster;
use crate::server::gunzip;

fn pod(name: &str, phase: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "main", "image": "web:1"}]}, "status": {"phase": phase}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_run_to_its_end_and_mirror_pods_are_named() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let mut mirror = pod("mirror", "Running");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let template = json!({"metadata": {"labels": {"job": "ended"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "web:1"}]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "ended", "namespace": "shop"},
        "spec": {"template": template}, "status": {"completionTime": "2026-01-01T00:00:00Z", "succeeded": 1}});
    for object in [
        pod("done", "Succeeded"),
        pod("broken", "Failed"),
        mirror,
        job,
    ] {
        source.server.store().seed_value(object).unwrap();
    }
    let store = format!("file://{}", folder.path().display());
    let backup = format!("direct backup first --store {store} --include-namespaces shop");
    source.velero(&backup).await.exits(0);

    let target = Cluster::start().await;
    let restore = format!("direct restore first --store {store} --restore-name back");
    target.velero(&restore).await.exits(0);
    let folder = folder.path().join("restores/back");
    let log = gunzip(&folder.join("restore-back-logs.gz"));
    for (resource, name, why) in [
        ("pods", "done", "it has run to its end"),
        ("pods", "broken", "it has run to its end"),
        ("jobs.batch", "ended", "it has run to its end"),
        ("pods", "mirror", "a kubelet makes it from a file"),
    ] {
        let parts = [
            format!("left out: {why}"),
            format!("resource={resource} "),
            "namespace=shop".to_owned(),
        ];
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| format!("{line} ").contains(&format!("name={name} ")))
            .collect();
        assert_eq!(lines.len(), 1, "{name}: {log}");
        for part in parts {
            assert!(
                format!("{} ", lines[0]).contains(&part),
                "{part}: {}",
                lines[0]
            );
        }
    }
    // As with the peer, the list has the mirror pod alone.
    let list = gunzip(&folder.join("restore-back-resource-list.json.gz"));
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["v1/Pod"], json!(["shop/mirror(skipped)"]));
    assert_eq!(list.get("batch/v1/Job"), None);
    let there = target.server.store().list("v1", "Pod", Some("shop"));
    assert_eq!(there, Vec::<Value>::new());
}
