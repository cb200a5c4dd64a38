//! Restores that delete what the backup does not have.

use serde_json::json;

use super::plan::{backed_up, lines, verdict, write_plan};
use crate::program::Cluster;

fn add(cluster: &Cluster, namespace: &str, name: &str) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
    cluster.server.store().seed_value(map).unwrap();
}

fn has(cluster: &Cluster, namespace: &str, name: &str) -> bool {
    let store = cluster.server.store();
    store
        .get("v1", "ConfigMap", Some(namespace), name)
        .is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_deletes_what_its_plan_lists() {
    let (cluster, folder, store) = backed_up().await;
    add(&cluster, "shop", "since");
    add(&cluster, "default", "since");
    // A kind of which the backup has no object: its log says that it has looked.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "since", "namespace": "shop"}, "rules": []});
    cluster.server.store().seed_value(role).unwrap();
    let mirror = "--existing-resource-policy mirror";
    let table = cluster
        .velero(&format!("direct plan first --store {store} {mirror}"))
        .await
        .exits(0);
    let is_row = |line: &&str| {
        let words = line.split_whitespace().take(3);
        words.eq(["delete", "configmaps", "shop/since"])
    };
    assert!(
        table.lines().any(|line| is_row(&line)) && table.contains("2 delete"),
        "{table}"
    );

    let file = folder.path().join("plan.jsonl");
    write_plan(&cluster, &store, &file, mirror).await;
    let plan = lines(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(verdict(&plan, "since"), "delete");
    let restore = format!(
        "direct restore --store {store} --plan-file {}",
        file.display()
    );
    add(&cluster, "shop", "later");
    let said = cluster.velero(&restore).await.fails();
    assert!(
        said.contains("configmaps shop/later (not in the plan)"),
        "{said}"
    );
    assert!(has(&cluster, "shop", "since"));
    cluster
        .server
        .store()
        .remove("v1", "ConfigMap", Some("shop"), "later");
    let text = cluster.velero(&restore).await.exits(0);
    assert!(text.contains("Deleted:   2"), "{text}");
    assert!(!has(&cluster, "shop", "since") && has(&cluster, "default", "since"));
    assert!(has(&cluster, "shop", "settings"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_plan_a_mirror_is_refused() {
    let (cluster, _folder, store) = backed_up().await;
    let before = cluster.server.store().resource_version();
    for line in [
        format!("direct restore first --store {store} --existing-resource-policy mirror"),
        "restore create r --from-backup first --existing-resource-policy mirror".to_owned(),
        format!(
            "direct restore first --store {store} --existing-resource-policy update --annotations x.velero.io/existing-resource-policy=mirror"
        ),
    ] {
        let said = cluster.velero(&line).await.fails();
        assert!(said.contains("velero direct plan"), "{line}: {said}");
    }
    assert_eq!(cluster.server.store().resource_version(), before);
}
