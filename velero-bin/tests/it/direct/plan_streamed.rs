//! A plan is told line by line while the cluster is asked: nothing of it waits for the end.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::Cluster;
use crate::server::eventually;

/// Objects: their lines are many times what a pipe and the queues of the program hold.
const OBJECTS: usize = 3000;

fn asked(cluster: &Cluster) -> u64 {
    cluster.server.calls().count("create", "configmaps")
}

/// Waits until nothing more is asked for a while, and says how much was.
async fn stalled(cluster: &Cluster) -> u64 {
    let mut last = 0;
    let stalled = eventually(async || {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let before = std::mem::replace(&mut last, asked(cluster));
        (last > 0 && last == before).then_some(last)
    });
    stalled.await.expect("the program asks on and on")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_the_look_up() {
    let (cluster, folder) = (Cluster::start().await, TempDir::new().unwrap());
    let server = &cluster.server;
    let seed = |value: Value| server.store().seed_value(value).unwrap();
    seed(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
    let name = |at: usize| format!("settings-{at:05}");
    for at in 0..OBJECTS {
        let meta = json!({"name": name(at), "namespace": "shop"});
        seed(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "b"}}),
        );
    }
    let store = format!("file://{}", folder.path().display());
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    cluster.velero(&line).await.exits(0);
    for at in 0..OBJECTS {
        server
            .store()
            .remove("v1", "ConfigMap", Some("shop"), &name(at));
    }

    let args = ["direct", "plan", "first", "-o", "json", "--store", &store];
    let mut child = cluster
        .command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A pipe holds 64 KiB, which are a few hundred lines.
    let held = stalled(&cluster).await;
    assert!(held < OBJECTS as u64 / 2, "{held} objects were asked about");
    let out = child.stdout.take().unwrap();
    let (mut lines, mut items) = (BufReader::new(out).lines(), 0);
    // The namespace has objects of its own.
    let is_item = |line: &str| line.starts_with("{\"item\":") && line.contains("\"settings-");
    // What is read makes room.
    while items < 100 {
        items += usize::from(is_item(&lines.next().unwrap().unwrap()));
    }
    let all = tokio::task::spawn_blocking(move || {
        items + lines.filter(|line| is_item(line.as_ref().unwrap())).count()
    });
    assert_eq!(all.await.unwrap(), OBJECTS);
    assert!(asked(&cluster) >= OBJECTS as u64);
    let status = tokio::task::spawn_blocking(move || child.wait()).await;
    assert!(status.unwrap().unwrap().success());
}
