//! The lists that a backup of the operator takes.

use serde_json::json;
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation};
use velero_testkit::{Fault, FaultAction};

use super::world::{World, folder, settings};

#[tokio::test]
async fn lists_have_the_page_size_of_the_flag_and_namespaces_are_read_once() {
    let folder = folder();
    let mut world = World::empty();
    let mut small = settings();
    small.page_size = Some(3);
    world.start(small).await;
    world.add_folder("default", folder.path()).await;
    world
        .wait::<BackupStorageLocation>(
            "default",
            "is available",
            BackupStorageLocation::is_available,
        )
        .await;
    world.seed_shop("shop");
    world.api.calls().reset();
    world.back_up("first", &["shop"]).await;
    let namespaces = world.api.store().list("v1", "Namespace", None).len() as u64;
    let log = world.api.calls().log();
    let lists = |resource: &str| -> Vec<_> {
        let lists = log
            .iter()
            .filter(|c| c.verb == "list" && c.resource == resource);
        lists.map(|call| call.query.clone()).collect()
    };
    assert_eq!(lists("namespaces").len() as u64, namespaces.div_ceil(3));
    for resource in ["namespaces", "configmaps", "services"] {
        let queries = lists(resource);
        assert!(
            !queries.is_empty() && queries.iter().all(|query| query.contains("limit=3")),
            "{resource} {queries:?}"
        );
    }
}

#[tokio::test]
async fn credentials_for_some_namespaces_are_enough_for_those() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    let refused = Fault::new(FaultAction::Forbidden);
    world
        .api
        .faults()
        .add(refused.verb("list").resource("namespaces"));
    world.back_up("named", &["shop"]).await;
    world
        .create::<Backup>(json!({"metadata": {"name": "all"}, "spec": {}}))
        .await;
    let all = world.backup_ended("all").await;
    assert_eq!(*all.phase(), BackupPhase::FailedValidation);
    let faults = all.status.validation_errors;
    assert!(
        faults[0].contains("the namespaces cannot be listed"),
        "{faults:?}"
    );
}
