//! Restores that a killed server has left under way.

use std::time::Duration;

use serde_json::{Value, json};
use velero_bin::server::Settings;
use velero_core::api::{Restore, RestorePhase};
use velero_testkit::{Fault, FaultAction};

use super::operations::document;
use super::world::{World, eventually, files, folder, gunzip, settings};

const ATTEMPT: &str = "x.velero.io/attempt";
const CLAIM: &str = "x.velero.io/claim";

/// A Restore as a server leaves it that is killed.
async fn leave(world: &World, name: &str, attempt: Option<&str>) -> Restore {
    let mut annotations = json!({"x.velero.io/claim":
        json!({"holder": "gone", "renewed": "2020-01-01T00:00:00Z", "leaseSeconds": 120}).to_string()});
    if let Some(attempt) = attempt {
        annotations[ATTEMPT] = json!(attempt);
    }
    world
        .create::<Restore>(json!({
            "metadata": {"name": name, "annotations": annotations,
                "finalizers": ["restores.velero.io/external-resources-finalizer"]},
            "spec": {"backupName": "b", "namespaceMapping": {"shop": "copy"}},
            "status": {"phase": "InProgress", "startTimestamp": jiff::Timestamp::now().to_string()},
        }))
        .await
}

fn annotation<'a>(restore: &'a Restore, key: &str) -> Option<&'a str> {
    let annotations = restore.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

#[tokio::test]
async fn a_restore_that_a_killed_server_left_goes_on_from_its_objects_and_its_journal() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
    let left = leave(&world, "r", None).await;
    // What it had created by then; one object others have changed since.
    let seed = |object: Value| world.api.store().seed_value(object).unwrap();
    seed(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "copy"}}));
    let labels =
        json!({"app": "shop", "velero.io/backup-name": "b", "velero.io/restore-name": "r"});
    let mut uids = Vec::new();
    for number in 0..3 {
        let text = if number == 2 {
            "changed".to_owned()
        } else {
            number.to_string()
        };
        let made = seed(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("config-{number}"), "namespace": "copy", "labels": labels},
            "data": {"number": text}}));
        uids.push(made["metadata"]["uid"].clone());
    }
    let dir = folder.path().join("bucket/restores/r");
    std::fs::create_dir_all(&dir).unwrap();
    let journal =
        json!({"identity": left.metadata.uid, "entries": {"since": left.status.start_timestamp}});
    std::fs::write(dir.join("x-velero-journal.json"), journal.to_string()).unwrap();
    world.api.calls().reset();

    world.start(settings()).await;
    let ended = world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    assert_eq!((ended.status.warnings, ended.status.errors), (0, 0));
    assert_eq!(annotation(&ended, ATTEMPT), Some("2"));
    let unclaimed = |restore: &Restore| annotation(restore, CLAIM).is_none();
    world.wait::<Restore>("r", "is let go", unclaimed).await;
    assert_eq!(ended.status.start_timestamp, left.status.start_timestamp);
    for (number, uid) in uids.iter().enumerate() {
        let name = format!("config-{number}");
        let map = world
            .api
            .store()
            .get("v1", "ConfigMap", Some("copy"), &name);
        assert_eq!(map.unwrap()["metadata"]["uid"], *uid, "{name}");
    }
    let created = world.api.calls().log().into_iter().filter(|call| {
        call.verb == "create"
            && call.resource == "configmaps"
            && call.namespace.as_deref() == Some("copy")
    });
    assert_eq!(created.count(), 2);
    let list = document(&dir, "restore-r-resource-list.json.gz");
    let mut maps = list["v1/ConfigMap"].as_array().unwrap().clone();
    // Kubernetes puts one there by itself.
    maps.retain(|map| !map.as_str().unwrap().starts_with("copy/kube-root-ca.crt"));
    assert!(
        maps.len() == 5
            && maps
                .iter()
                .all(|m| m.as_str().unwrap().ends_with("(created)")),
        "{list}"
    );
    assert_eq!(list["v1/Namespace"], json!(["copy(created)"]));
    let gone = eventually(async || (files(&dir).len() == 5).then_some(())).await;
    assert!(gone.is_some(), "{:?}", files(&dir));
}

#[tokio::test]
async fn a_restore_that_was_begun_three_times_is_failed() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
    let left = leave(&world, "r", Some("3")).await;
    let dir = folder.path().join("bucket/restores/r");
    std::fs::create_dir_all(&dir).unwrap();
    let journal = json!({"identity": left.metadata.uid, "entries": {}});
    std::fs::write(dir.join("x-velero-journal.json"), journal.to_string()).unwrap();
    world.start(settings()).await;
    let ended = world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::Failed);
    let reason = "the server stopped while the restore was InProgress, 3 times";
    assert_eq!(ended.status.failure_reason, reason);
    assert!(gunzip(&dir.join("restore-r-logs.gz")).contains(reason));
    assert!(
        world
            .api
            .store()
            .get("v1", "Namespace", None, "copy")
            .is_none()
    );
    let kept = ["restore-r-logs.gz", "restore-r-results.gz"];
    assert_eq!(files(&dir), kept);
}

#[tokio::test]
async fn a_restore_that_cannot_go_on_says_why() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    assert!(world.stop().await);
    leave(&world, "r", None).await;
    world.start(settings()).await;
    let ended = world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::Failed);
    assert_eq!(ended.status.failure_reason, "backup \"b\" is gone");
}

#[tokio::test]
async fn where_the_store_takes_nothing_the_journal_is_a_config_map_until_the_end() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let read_only = json!({"spec": {"accessMode": "ReadOnly"}});
    let locations = world.kind::<velero_core::api::BackupStorageLocation>();
    let patch = kube::api::Patch::Merge(&read_only);
    locations
        .patch("default", &Default::default(), &patch)
        .await
        .unwrap();
    world.api.calls().reset();
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    let ended = world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    let of_velero = |verb: &str| {
        let calls = world.api.calls().log().into_iter();
        let own = calls.filter(|call| {
            call.resource == "configmaps" && call.namespace.as_deref() == Some("velero")
        });
        own.filter(|call| call.verb == verb && call.code < 300)
            .count()
    };
    let gone = eventually(async || (of_velero("delete") == 1).then_some(())).await;
    assert!(gone.is_some() && of_velero("create") == 1);
    let left = world.api.store().list("v1", "ConfigMap", Some("velero"));
    let journals = left
        .iter()
        .filter(|map| map["metadata"]["labels"]["x.velero.io/restore-journal"].is_string());
    assert_eq!(journals.count(), 0);
}

#[tokio::test]
async fn a_journal_of_another_restore_of_the_same_name_stays() {
    let folder = folder();
    let world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let dir = folder.path().join("bucket/restores/r");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("x-velero-journal.json");
    let others = json!({"identity": "another", "entries": {"since": "2026-01-01T00:00:00Z"}});
    std::fs::write(&file, others.to_string()).unwrap();
    world.api.calls().reset();
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    let ended = world.restore_ended("r").await;
    assert_eq!(*ended.phase(), RestorePhase::Completed);
    let of_velero = |verb: &str| {
        let calls = world.api.calls().log().into_iter();
        let own = calls.filter(|call| {
            call.verb == verb
                && call.resource == "configmaps"
                && call.namespace.as_deref() == Some("velero")
        });
        own.filter(|call| call.code < 300).count()
    };
    let gone = eventually(async || (of_velero("delete") == 1).then_some(())).await;
    assert!(gone.is_some() && of_velero("create") == 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), others.to_string());
}

#[tokio::test]
async fn a_server_whose_restore_another_has_taken_over_stops_and_writes_nothing_more() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
    world
        .start(Settings {
            restore_lease: Duration::from_millis(400),
            ..settings()
        })
        .await;
    world.api.faults().add(
        Fault::new(FaultAction::Slow(Duration::from_secs(2)))
            .verb("create")
            .resource("configmaps")
            .namespace("copy"),
    );
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    let is_under_way = async || {
        let log = world.api.calls().log();
        let mut begun = log.iter();
        let is_it = begun.any(|call| {
            call.verb == "create"
                && call.resource == "configmaps"
                && call.namespace.as_deref() == Some("copy")
        });
        is_it.then_some(())
    };
    assert!(eventually(is_under_way).await.is_some());
    let now = jiff::Timestamp::now().to_string();
    let mark = json!({"holder": "another", "renewed": now, "leaseSeconds": 120}).to_string();
    let patch = json!({"metadata": {"annotations": {CLAIM: mark}}});
    world
        .kind::<Restore>()
        .patch("r", &Default::default(), &kube::api::Patch::Merge(&patch))
        .await
        .unwrap();
    // Several beats, and the calls under way.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let seen = world.get::<Restore>("r").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(world.stop().await);
    let left = world.get::<Restore>("r").await.unwrap();
    assert_eq!(*left.phase(), RestorePhase::InProgress, "{:?}", left.status);
    assert_eq!(annotation(&left, CLAIM), Some(mark.as_str()));
    assert_eq!(
        left.metadata.resource_version,
        seen.metadata.resource_version
    );
    // What it has to remember is the other's, and so are log and results.
    let dir = folder.path().join("bucket/restores/r");
    assert_eq!(files(&dir), ["x-velero-journal.json"]);
}

#[tokio::test]
async fn a_restore_that_goes_on_bears_with_a_fault_that_passes() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    assert!(world.stop().await);
    let left = leave(&world, "r", None).await;
    let dir = folder.path().join("bucket/restores/r");
    std::fs::create_dir_all(&dir).unwrap();
    let journal =
        json!({"identity": left.metadata.uid, "entries": {"since": left.status.start_timestamp}});
    std::fs::write(dir.join("x-velero-journal.json"), journal.to_string()).unwrap();
    world.api.faults().add(
        Fault::new(FaultAction::InternalError)
            .verb("get")
            .resource("backupstoragelocations")
            .times(2),
    );
    world.start(settings()).await;
    let ended = world.restore_ended("r").await;
    assert_eq!(
        *ended.phase(),
        RestorePhase::Completed,
        "{:#?}",
        ended.status
    );
    assert_eq!(annotation(&ended, ATTEMPT), Some("2"));
}

#[tokio::test]
async fn a_journal_that_a_killed_server_left_of_a_restore_that_has_ended_goes() {
    let folder = folder();
    let mut world = World::with_folder(folder.path()).await;
    world.seed_shop("shop");
    world.back_up("b", &["shop"]).await;
    let spec = json!({"backupName": "b", "namespaceMapping": {"shop": "copy"}});
    world
        .create::<Restore>(json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    world.restore_ended("r").await;
    let unclaimed = |restore: &Restore| annotation(restore, CLAIM).is_none();
    let ended = world.wait::<Restore>("r", "is let go", unclaimed).await;
    assert!(world.stop().await);
    let dir = folder.path().join("bucket/restores/r");
    let whole = files(&dir);
    assert!(
        !whole.iter().any(|name| name.contains("journal")),
        "{whole:?}"
    );

    // It was killed between the end and that of the journal.
    let journal =
        json!({"identity": ended.metadata.uid, "entries": {"since": ended.status.start_timestamp}});
    std::fs::write(dir.join("x-velero-journal.json"), journal.to_string()).unwrap();
    let mark = json!({"holder": "gone", "renewed": "2020-01-01T00:00:00Z", "leaseSeconds": 120});
    world
        .patch::<Restore>(
            "r",
            json!({"metadata": {"annotations": {CLAIM: mark.to_string()}}}),
        )
        .await;
    world.start(settings()).await;
    let tidied = world.wait::<Restore>("r", "is let go", unclaimed).await;
    assert_eq!(files(&dir), whole);
    assert_eq!(tidied.status, ended.status);
}
