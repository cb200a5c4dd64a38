//! Plans of restores: looked at, kept in a file, carried out.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Cluster, files};

/// A cluster with a namespace, of which a backup `first` is in a folder, and the URL of the folder.
pub(super) async fn backed_up() -> (Cluster, TempDir, String) {
    let (cluster, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let store = format!("file://{}", folder.path().display());
    let line = format!("direct backup first --store {store} --include-namespaces shop");
    cluster.velero(&line).await.exits(0);
    (cluster, folder, store)
}

fn change(cluster: &Cluster, name: &str, color: &str) {
    let store = cluster.server.store();
    let mut map = store.get("v1", "ConfigMap", Some("shop"), name).unwrap();
    map["data"] = json!({"color": color});
    store.remove("v1", "ConfigMap", Some("shop"), name);
    store.seed_value(map).unwrap();
}

pub(super) fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The verdict on an object.
pub(super) fn verdict(lines: &[Value], name: &str) -> Value {
    let mut items = lines.iter().filter_map(|line| line.get("item"));
    items.find(|item| item["name"] == name).unwrap()["verdict"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_a_table_lines_or_documents() {
    let (cluster, folder, store) = backed_up().await;
    change(&cluster, "settings", "red");
    cluster
        .server
        .store()
        .remove("v1", "ConfigMap", Some("shop"), "other");
    let before = (
        cluster.server.store().resource_version(),
        files(folder.path()),
    );
    let plan = format!("direct plan first --store {store}");

    let table = cluster.velero(&plan).await.exits(0);
    assert!(table.contains("VERDICT"), "{table}");
    let row = |words: &[&str]| {
        let is_row = |line: &&str| {
            line.split_whitespace()
                .take(words.len())
                .eq(words.iter().copied())
        };
        assert!(table.lines().any(|line| is_row(&line)), "{words:?} {table}");
    };
    row(&["create", "configmaps", "shop/other"]);
    row(&["conflict", "configmaps", "shop/settings"]);
    row(&["data.color:", "\"red\"", "->", "\"blue\""]);
    row(&["skip-identical", "secrets", "shop/key"]);
    assert!(
        table.contains("1 conflict") && table.ends_with("The restore would have no errors.\n"),
        "{table}"
    );

    let text = cluster
        .velero(&format!("{plan} -o json --existing-resource-policy update"))
        .await
        .exits(0);
    let json = lines(&text);
    assert_eq!(json[0]["plan"]["restore"]["spec"]["backupName"], "first");
    assert!(
        json[0]["plan"]["cluster"].is_string() && json[1].get("outline").is_some(),
        "{text}"
    );
    assert_eq!(verdict(&json, "settings"), "update");
    assert_eq!(verdict(&json, "other"), "create");
    assert_eq!(json.last().unwrap()["end"]["verdicts"]["update"], 1);

    let yaml = cluster.velero(&format!("{plan} -o yaml")).await.exits(0);
    assert!(
        yaml.starts_with("---\nplan:") && yaml.contains("verdict: conflict"),
        "{yaml}"
    );

    // Neither the cluster nor the store has anything new.
    assert_eq!(
        (
            cluster.server.store().resource_version(),
            files(folder.path())
        ),
        before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_with_errors_exits_as_the_restore_would() {
    let (source, _folder, store) = backed_up().await;
    drop(source);
    let target = Cluster::start().await;
    let mut dying = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "finalizers": ["example.com/wait"],
        "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    dying["status"] = json!({"phase": "Terminating"});
    target.server.store().seed_value(dying).unwrap();
    let text = target
        .velero(&format!("direct plan first --store {store}"))
        .await
        .exits(2);
    assert!(
        text.contains("blocked") && text.contains("is being deleted"),
        "{text}"
    );
    assert!(text.ends_with("The restore would have errors.\n"), "{text}");
}

pub(super) async fn write_plan(cluster: &Cluster, store: &str, file: &Path, flags: &str) {
    let line = format!("direct plan first --store {store} --restore-name back -o json {flags}");
    let text = cluster.velero(line.trim()).await.exits(0);
    std::fs::write(file, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_carried_out_as_it_is_or_not_at_all() {
    let (cluster, folder, store) = backed_up().await;
    change(&cluster, "settings", "red");
    let file = folder.path().join("plan.jsonl");
    write_plan(&cluster, &store, &file, "--existing-resource-policy update").await;
    let restore = format!(
        "direct restore --store {store} --plan-file {}",
        file.display()
    );

    change(&cluster, "settings", "green");
    let before = cluster.server.store().resource_version();
    let line = cluster.velero(&restore).await.fails();
    assert!(
        line.contains("nothing was restored")
            && line.contains("configmaps shop/settings (now: update)"),
        "{line}"
    );
    assert_eq!(cluster.server.store().resource_version(), before);

    change(&cluster, "settings", "red");
    let text = cluster.velero(&restore).await.exits(0);
    assert!(
        text.starts_with("Restore \"back\" of backup \"first\" Completed.\n")
            && text.contains("Updated:   1"),
        "{text}"
    );
    let live = cluster
        .server
        .store()
        .get("v1", "ConfigMap", Some("shop"), "settings")
        .unwrap();
    assert_eq!(live["data"]["color"], "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_that_cannot_be_used_are_refused() {
    let (cluster, folder, store) = backed_up().await;
    let file = folder.path().join("plan.jsonl");
    write_plan(&cluster, &store, &file, "").await;
    let path = file.display();
    let whole = std::fs::read_to_string(&file).unwrap();
    let other = Cluster::start().await;
    for (text, line, expected) in [
        (
            whole.as_str(),
            format!("direct restore other --store {store} --plan-file {path}"),
            "is of backup \"first\", not of \"other\"",
        ),
        (
            "",
            format!("direct restore --store {store} --plan-file {path}"),
            "it is empty",
        ),
        (
            &whole[..whole.len() / 2],
            format!("direct restore --store {store} --plan-file {path}"),
            "cannot use the plan",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = cluster.velero(&line).await.fails();
        assert!(said.contains(expected), "{said}");
    }
    std::fs::write(&file, whole).unwrap();
    let line = format!("direct restore --store {store} --plan-file {path}");
    let said = other.velero(&line).await.fails();
    assert!(said.contains("another cluster"), "{said}");
    let line =
        format!("direct restore --store {store} --plan-file {path} --include-namespaces shop");
    let said = cluster.velero(&line).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("--plan-file"), "{}", said.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_takes_no_name_that_a_restore_has() {
    let (cluster, folder, store) = backed_up().await;
    // Whatever second it is when the plan is made, a restore has the name that would be made up first.
    let now = jiff::Zoned::now();
    for seconds in 0..120 {
        let time = &now + jiff::SignedDuration::from_secs(seconds);
        let name = format!("first-{}", time.strftime("%Y%m%d%H%M%S"));
        let restore = folder.path().join("restores").join(&name);
        std::fs::create_dir_all(&restore).unwrap();
        std::fs::write(restore.join(format!("restore-{name}-results.gz")), b"").unwrap();
    }
    let file = folder.path().join("plan.jsonl");
    let plan = format!("direct plan first --store {store} -o json");
    let text = cluster.velero(&plan).await.exits(0);
    std::fs::write(&file, &text).unwrap();
    let name = lines(&text)[0]["plan"]["restore"]["metadata"]["name"].clone();
    assert!(name.as_str().unwrap().ends_with("-2"), "{name}");
    let done = format!(
        "direct restore --store {store} --plan-file {}",
        file.display()
    );
    cluster.velero(&done).await.exits(0);
}
