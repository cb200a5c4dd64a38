use serde_json::json;
use velero_core::api::{Backup, BackupPhase, crd};
use velero_testkit::ApiServer;

use super::*;

/// A server with one Backup.
async fn with_backup() -> (ApiServer, Objects, Backup) {
    let server = ApiServer::new();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}});
    server.store().seed_value(space).unwrap();
    for definition in crd::all() {
        let definition = serde_json::to_value(definition).unwrap();
        server.store().seed_value(definition).unwrap();
    }
    let objects = Objects::new(&server.client(), &Fence::open(), &Settings::default());
    let backup = json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": "b", "namespace": "velero"}, "spec": {},
    });
    let backup = objects.create(&backup).await.unwrap();
    server.calls().reset();
    (server, objects, backup)
}

fn in_phase(backup: &Backup, phase: BackupPhase) -> Backup {
    let mut next = backup.clone();
    next.status.phase = Some(phase);
    next
}

async fn annotate(server: &ApiServer, text: &str) {
    let api: Api<Backup> = Api::namespaced(server.client(), "velero");
    let patch = json!({"metadata": {"annotations": {"said": text}}});
    api.patch("b", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_others_change_meanwhile_stays() {
    let (server, objects, backup) = with_backup().await;
    annotate(&server, "mine").await;
    server.calls().reset();
    let next = in_phase(&backup, BackupPhase::InProgress);
    let written = objects.patch(&backup, &next, Lock::SameObject).await;
    let written = written.unwrap();
    assert_eq!(*written.phase(), BackupPhase::InProgress);
    assert_eq!(written.metadata.annotations.unwrap()["said"], "mine");
    // One that finds another state, one look, and one that fits.
    let count = |verb| server.calls().count(verb, "backups");
    assert_eq!((count("patch"), count("get")), (2, 1));
    let next = in_phase(&backup, BackupPhase::Completed);
    let refused = objects.patch(&backup, &next, Lock::Unchanged).await;
    assert!(refused.unwrap_err().is_conflict());
}

#[tokio::test]
async fn writes_over_ones_own_cost_one_call_each() {
    let (server, objects, backup) = with_backup().await;
    for phase in ["InProgress", "Finalizing", "Completed"] {
        let next = in_phase(&backup, phase.into());
        let written = objects.patch(&backup, &next, Lock::SameObject).await;
        assert_eq!(written.unwrap().phase().as_str(), phase);
    }
    let count = |verb| server.calls().count(verb, "backups");
    assert_eq!((count("patch"), count("get")), (3, 0));
}

#[tokio::test]
async fn another_object_of_the_name_is_left_alone() {
    let (server, objects, backup) = with_backup().await;
    objects.delete(&backup).await.unwrap();
    let next = in_phase(&backup, BackupPhase::InProgress);
    let gone = objects.patch(&backup, &next, Lock::SameObject).await;
    assert!(gone.unwrap_err().is_not_found());
    let again = json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": "b", "namespace": "velero"}, "spec": {},
    });
    let _: Backup = objects.create(&again).await.unwrap();
    server.calls().reset();
    let refused = objects.patch(&backup, &next, Lock::SameObject).await;
    assert!(refused.unwrap_err().is_conflict());
    let found: Backup = objects.get("b").await.unwrap().unwrap();
    assert_eq!(*found.phase(), BackupPhase::New);
}
