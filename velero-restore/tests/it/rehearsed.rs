//! Looks at restores that would delete, wait, make volumes or list: none of it is done but the lists.

use serde_json::{Value, json};
use velero_core::api::Restore;
use velero_core::plan::Verdict;
use velero_restore::{ExistingPolicy, RestoreRequest};
use velero_testkit::ApiServer;

use crate::common::*;
use crate::going::deleting;
use crate::snapshots::{Disks, told};
use crate::verify::look;
use crate::volumes::{claim, volume};

fn secret(kind: &str) -> Value {
    let mut secret = object("v1", "Secret", "default", "keys");
    secret["type"] = json!(kind);
    secret
}

fn under(policy: ExistingPolicy) -> RestoreRequest {
    let restore =
        json!({"metadata": {"name": "r1", "namespace": "velero"}, "spec": {"backupName": "b1"}});
    let mut restore: Restore = serde_json::from_value(restore).unwrap();
    policy.apply(&mut restore);
    RestoreRequest::resolve(restore).unwrap()
}

#[tokio::test]
async fn what_would_be_created_anew_stays() {
    for (policy, verdict, why) in [
        (ExistingPolicy::Recreate, "update", "recreate: "),
        (ExistingPolicy::Update, "conflict", "cannot be updated"),
    ] {
        let server = ApiServer::new();
        server
            .store()
            .seed_value(secret("example.com/old"))
            .unwrap();
        let engine = engine(&server).await;
        server.calls().reset();
        let items = archive(&[secret("example.com/new")]);
        let found = look(&server, &engine, items, &under(policy)).await;
        let (said, reason) = found.said("secrets default/keys");
        assert!(
            said == verdict && reason.starts_with(why),
            "{said} {reason}"
        );
        assert_eq!(server.calls().count("delete", "secrets"), 0);
    }
}

#[tokio::test]
async fn many_equal_objects_are_listed() {
    let maps: Vec<Value> = (0..60)
        .map(|n| config_map("default", &format!("m{n:02}")))
        .collect();
    let server = ApiServer::new();
    assert_clean(&run_items(&engine(&server).await, &maps).await);
    let mut options = options().list_existing_after(8);
    options.items_in_flight = 4;
    let engine = engine(&server).await.options(options);
    server.calls().reset();
    let found = look(&server, &engine, archive(&maps), &request(json!({}))).await;
    assert_eq!(found.verified.verdicts[&Verdict::SkipIdentical], 60);
    assert_eq!(server.calls().count("list", "configmaps"), 1);
    assert!(server.calls().count("create", "configmaps") <= 12);
}

#[tokio::test]
async fn nobody_waits_for_what_is_being_deleted() {
    let server = ApiServer::new();
    server.store().seed_value(namespace("shop")).unwrap();
    server.store().seed_value(deleting(claim())).unwrap();
    let engine = engine(&server).await;
    let items = archive(&[namespace("shop"), claim()]);
    let all = request(json!({}));
    let looked = look(&server, &engine, items, &all);
    let found = tokio::time::timeout(std::time::Duration::from_secs(5), looked)
        .await
        .expect("it waits");
    assert_eq!(found.said("namespaces shop").0, "skip-identical");
    let (said, reason) = found.said("persistentvolumeclaims shop/data");
    assert!(
        said == "blocked" && reason.contains("a restore waits for up to"),
        "{said} {reason}"
    );
}

#[tokio::test]
async fn no_volume_is_made_of_a_snapshot() {
    let (server, disks) = (ApiServer::new(), Disks::default());
    let engine = engine(&server).await.snapshot_restorer(disks.clone());
    let request = request(json!({})).volumes(told(true, "disks", "snap-1"));
    let items = archive(&[namespace("shop"), volume("Delete"), claim()]);
    let found = look(&server, &engine, items, &request).await;
    let (said, _) = found.said("persistentvolumes pv1");
    assert_eq!(
        said,
        "create, subject to the volume made of snapshot snap-1"
    );
    assert!(
        found
            .said("persistentvolumeclaims shop/data")
            .0
            .starts_with("create")
    );
    assert_eq!(disks.calls(), Vec::<String>::new());
}
