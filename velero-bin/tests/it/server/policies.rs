//! Resource policies of operated backups.

use serde_json::{Value, json};
use velero_core::api::{Backup, BackupPhase};

use super::world::{World, folder};

fn policies(world: &World, name: &str, data: Value) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "velero"}, "data": data});
    world.api.store().seed_value(map).unwrap();
}

async fn run(world: &World, name: &str, mut spec: Value, map: &str) -> Backup {
    spec["resourcePolicy"] = json!({"kind": "ConfigMap", "name": map});
    spec["includedNamespaces"] = json!(["shop"]);
    world
        .create::<Backup>(json!({"metadata": {"name": name}, "spec": spec}))
        .await;
    world.backup_ended(name).await
}

#[tokio::test]
async fn policies_that_cannot_be_used_fail_the_validation() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let rule = "version: v1\nvolumePolicies: [{action: {type: skip}}, {conditions: {capacity: '5,1'}, action: {type: skip}}]\n";
    policies(&world, "two", json!({"a": rule, "b": rule}));
    policies(&world, "none", json!(null));
    policies(&world, "bad", json!({"policy.yaml": rule}));
    policies(
        &world,
        "ask",
        json!({"p": "version: v1\nvolumePolicies: [{action: {type: snapshot}}]\n"}),
    );
    policies(
        &world,
        "lists",
        json!({"p": "version: v1\nincludeExcludePolicy: {excludedNamespaceScopedResources: [secrets]}\n"}),
    );
    for (at, (map, spec, faults)) in [
        ("gone", json!({}), &["policy ConfigMap velero/gone: it does not exist"][..]),
        ("two", json!({}), &["policy ConfigMap velero/two: it has 2 data keys"]),
        ("none", json!({}), &["policy ConfigMap velero/none: it has 0 data keys"]),
        ("bad", json!({}), &["policy ConfigMap velero/bad, key policy.yaml: volumePolicies[1].conditions.capacity: \"5,1\": the smallest"]),
        ("ask", json!({}), &["resource policies: volumePolicies[0].action.type: \"snapshot\""]),
        ("lists", json!({"includedResources": ["pods"]}), &["the resource policies have includeExcludePolicy"]),
        // Other faults are found as well.
        ("bad", json!({"snapshotMoveData": true}), &["policy ConfigMap velero/bad, key policy.yaml: ", "spec.snapshotMoveData: "]),
    ]
    .into_iter()
    .enumerate()
    {
        let backup = run(&world, &format!("b{at}"), spec, map).await;
        assert_eq!(*backup.phase(), BackupPhase::FailedValidation, "{map}");
        let errors = &backup.status.validation_errors;
        assert_eq!(errors.len(), faults.len(), "{errors:?}");
        for (error, fault) in errors.iter().zip(faults) {
            assert!(error.starts_with(fault), "{map}: {error}");
        }
    }
}

#[tokio::test]
async fn policies_decide_what_is_taken() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let text = "version: v1\nvolumePolicies: [{action: {type: skip}}]\nincludeExcludePolicy: {excludedNamespaceScopedResources: [secrets]}\n";
    policies(&world, "p", json!({"any-name": text}));
    let backup = run(&world, "b", json!({}), "p").await;
    assert_eq!(
        *backup.phase(),
        BackupPhase::Completed,
        "{:#?}",
        backup.status
    );
    let list = super::world::gunzip(
        &folder
            .path()
            .join("bucket/backups/b/b-resource-list.json.gz"),
    );
    assert!(
        list.contains("ConfigMap") && !list.contains("Secret"),
        "{list}"
    );
    let policy = backup.spec.resource_policy.unwrap();
    assert_eq!(
        (policy.kind.as_str(), policy.name.as_str()),
        ("ConfigMap", "p")
    );
}
