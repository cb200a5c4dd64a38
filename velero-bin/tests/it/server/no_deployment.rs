//! Nothing of a restore goes by a Deployment called `velero`: the operator need not run in the cluster.

use serde_json::{Value, json};
use velero_core::api::{Restore, RestorePhase};

use super::world::{World, folder};

/// A pod whose files were copied by an earlier restore, so that it waits for the next one.
fn pod() -> Value {
    let wait = json!({"name": "restore-wait", "image": "velero/velero:v1.18.2", "command": ["/velero-restore-helper"],
        "args": ["11111111-1111-4111-8111-111111111111"]});
    let main = json!({"name": "web", "image": "web:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"backup.velero.io/backup-volumes-excludes": "data"}},
        "spec": {"initContainers": [wait], "containers": [main], "volumes": [{"name": "data", "emptyDir": {}}]}})
}

#[tokio::test]
async fn pods_are_restored_where_no_deployment_is_called_velero() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.api.store().seed_value(pod()).unwrap();
    world.back_up("b", &["shop"]).await;
    assert_eq!(
        world.api.store().list("apps/v1", "Deployment", None),
        Vec::<Value>::new()
    );
    world.api.calls().reset();
    world
        .create::<Restore>(json!({"metadata": {"name": "r"},
            "spec": {"backupName": "b", "namespaceMapping": {"shop": "copy"}}}))
        .await;
    let restore = world.restore_ended("r").await;
    let status = &restore.status;
    assert_eq!(*restore.phase(), RestorePhase::Completed, "{status:#?}");
    assert_eq!((status.errors, status.warnings), (0, 0));
    let found = world.api.store().get("v1", "Pod", Some("copy"), "web");
    let restored = found.unwrap();
    assert_eq!(restored["spec"]["containers"][0]["image"], "web:1");
    assert_eq!(restored["spec"].get("initContainers"), None);
    // Nobody has asked for one either.
    let calls = world.api.calls().log();
    let asked = calls.iter().filter(|call| call.resource == "deployments");
    assert_eq!(asked.count(), 0);
}
