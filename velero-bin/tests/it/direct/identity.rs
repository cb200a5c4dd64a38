//! What makes a command that restores the same command: its backup and its cluster, not their names alone.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use velero_testkit::{Fault, FaultAction};

use crate::program::{Cluster, Ran, files};
use crate::server::eventually;

fn words(store: &Path, line: &str) -> Vec<String> {
    let store = format!("file://{}", store.display());
    let words = line.split(' ').map(str::to_owned);
    words.chain(["--store".to_owned(), store]).collect()
}

async fn back_up(cluster: &Cluster, store: &Path) {
    let line = "direct backup first --include-namespaces shop";
    cluster.run(words(store, line)).await.exits(0);
}

async fn restore(cluster: &Cluster, store: &Path) -> Ran {
    let line = "direct restore first --namespace-mappings shop:copy";
    cluster.run(words(store, line)).await
}

/// Begins a restore and kills it when its second ConfigMap is stuck.
async fn kill_restore(cluster: &Cluster, store: &Path) {
    let server = &cluster.server;
    let stuck = Fault::new(FaultAction::Slow(Duration::from_secs(60)));
    let stuck = stuck.verb("create").resource("configmaps").skip(1);
    server.faults().add(stuck.namespace("copy"));
    let line = "direct restore first --namespace-mappings shop:copy";
    let mut child = cluster
        .command(words(store, line))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_stuck = eventually(async || {
        let calls = server.calls().log().into_iter();
        let own = calls.filter(|call| {
            call.verb == "create"
                && call.resource == "configmaps"
                && call.namespace.as_deref() == Some("copy")
        });
        (own.count() == 2).then_some(())
    });
    let is_stuck = is_stuck.await;
    child.kill().unwrap();
    child.wait().unwrap();
    is_stuck.expect("the restore never got so far");
    server.faults().clear();
}

/// Journals of restores that have not ended.
fn journals(store: &Path) -> Vec<String> {
    let mut files = files(&store.join("restores"));
    files.retain(|file| file.contains("x-velero"));
    files
}

/// Runs the same command; says whether it has gone on with another.
#[track_caller]
fn goes_on(ran: Ran) -> bool {
    let goes_on = ran.stderr.contains("was interrupted and goes on");
    ran.exits(0);
    goes_on
}

/// A cluster as the other one, but for what makes it another: the uid of its first namespace.
async fn cluster_of(uid: &str) -> Cluster {
    let cluster = Cluster::start().await;
    let store = cluster.server.store();
    let mut first = store.get("v1", "Namespace", None, "kube-system").unwrap();
    first["metadata"]["uid"] = json!(uid);
    store.remove("v1", "Namespace", None, "kube-system");
    store.seed_value(first).unwrap();
    let found = store.get("v1", "Namespace", None, "kube-system").unwrap();
    assert_eq!(found["metadata"]["uid"], uid);
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn in_another_cluster_the_same_command_begins_anew() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = folder.path();
    back_up(&source, store).await;
    let one = cluster_of("11111111-1111-4111-8111-111111111111").await;
    let other = cluster_of("22222222-2222-4222-8222-222222222222").await;
    kill_restore(&one, store).await;
    let killed = journals(store);
    assert_eq!(killed.len(), 1, "{killed:?}");

    assert!(!goes_on(restore(&other, store).await));
    let maps = other.server.store().list("v1", "ConfigMap", Some("copy"));
    assert!(maps.len() >= 2, "{maps:?}");
    // The one of the first cluster is nobody else's business, and goes on there.
    assert_eq!(journals(store), killed);
    assert!(goes_on(restore(&one, store).await));
    assert_eq!(journals(store), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_another_backup_of_that_name_the_same_command_begins_anew() {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = folder.path();
    back_up(&cluster, store).await;
    kill_restore(&cluster, store).await;
    let killed = journals(store);
    assert_eq!(killed.len(), 1, "{killed:?}");

    // The same objects, at another time.
    let kept = store.join("backups/first");
    let aside = store.join("first");
    std::fs::rename(&kept, &aside).unwrap();
    back_up(&cluster, store).await;
    assert!(!goes_on(restore(&cluster, store).await));
    assert_eq!(journals(store), killed);

    std::fs::remove_dir_all(&kept).unwrap();
    std::fs::rename(&aside, &kept).unwrap();
    assert!(goes_on(restore(&cluster, store).await));
    assert_eq!(journals(store), Vec::<String>::new());
}
