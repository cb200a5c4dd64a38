//! Resource policies of direct mode, and the flags for them.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::Cluster;

const POLICIES: &str =
    "version: v1\nincludeExcludePolicy: {excludedNamespaceScopedResources: [secrets]}\n";

fn map(name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "velero"}, "data": {"p.yaml": text}})
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_come_from_the_cluster_or_from_a_file() {
    let (source, folder) = (Cluster::with_shop().await, TempDir::new().unwrap());
    let objects = source.server.store();
    objects
        .seed("{apiVersion: v1, kind: Namespace, metadata: {name: velero}}")
        .unwrap();
    objects.seed_value(map("good", POLICIES)).unwrap();
    objects.seed_value(map("bad", "version: v0\n")).unwrap();
    let (good, bad) = (
        folder.path().join("good.yaml"),
        folder.path().join("bad.yaml"),
    );
    std::fs::write(&good, POLICIES).unwrap();
    std::fs::write(
        &bad,
        "version: v1\nvolumePolicies: [{action: {type: drop}}]\n",
    )
    .unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    for (at, (flag, value, fault)) in [
        ("--resource-policies-configmap", "good".to_owned(), None),
        ("--resource-policies-file", good.display().to_string(), None),
        (
            "--resource-policies-configmap",
            "bad".to_owned(),
            Some("policy ConfigMap velero/bad, key p.yaml: version: \"v0\" is not known"),
        ),
        (
            "--resource-policies-configmap",
            "gone".to_owned(),
            Some("policy ConfigMap velero/gone: it does not exist"),
        ),
        (
            "--resource-policies-file",
            bad.display().to_string(),
            Some("bad.yaml: volumePolicies[0].action.type: \"drop\" is no action"),
        ),
        (
            "--resource-policies-file",
            "/nowhere.yaml".to_owned(),
            Some("cannot read policy file /nowhere.yaml"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("b{at}");
        let args = [
            "direct",
            "backup",
            &name,
            "--store",
            &store,
            "--include-namespaces",
            "shop",
            flag,
            &value,
        ];
        let ran = source.run(args).await;
        match fault {
            None => {
                ran.exits(0);
                let listed = source
                    .run(["direct", "ls", &name, "--store", &store])
                    .await
                    .exits(0);
                assert!(
                    listed.contains("settings") && !listed.contains("key"),
                    "{listed}"
                );
            }
            Some(fault) => {
                let text = ran.fails();
                assert!(text.contains(fault), "{text}");
            }
        }
    }
}
