//! Namespaces that come, go and stay.

use std::io::Cursor;
use std::time::Duration;

use serde_json::json;
use velero_restore::RestoreRun;
use velero_testkit::{ApiServer, Fault, FaultAction};

use crate::common::*;

fn dying(server: &ApiServer) {
    let mut shop = namespace("shop");
    shop["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    shop["metadata"]["finalizers"] = json!(["example.com/wait"]);
    shop["status"] = json!({"phase": "Terminating"});
    server.store().seed_value(shop).unwrap();
}

#[tokio::test]
async fn a_namespace_that_goes_is_made_again() {
    let server = ApiServer::new();
    dying(&server);
    let engine = engine(&server).await;
    let gone = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.store().remove("v1", "Namespace", None, "shop");
    };
    let archive = Cursor::new(archive(&[namespace("shop"), config_map("shop", "a")]));
    let request = request(json!({}));
    let (result, ()) = tokio::join!(engine.run(&request, archive, RestoreRun::default()), gone);
    let result = result.unwrap();
    assert_clean(&result);
    assert_eq!(entries(&result, "v1/ConfigMap"), ["shop/a(created)"]);
}

#[tokio::test]
async fn a_namespace_that_stays_terminating_fails_its_items_once_the_deadline_has_passed() {
    let server = ApiServer::new();
    dying(&server);
    let engine = engine(&server)
        .await
        .options(options().terminating_timeout(Duration::from_millis(100)));
    let items = [
        namespace("shop"),
        config_map("shop", "a"),
        config_map("shop", "b"),
        config_map("default", "c"),
    ];
    server.calls().reset();
    let result = run_items(&engine, &items).await;
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        ["default/c(created)", "shop/a(failed)", "shop/b(failed)"]
    );
    let errors = errors(&result);
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(
        errors.iter().all(|e| e.contains("still being deleted")),
        "{errors:?}"
    );
    assert_eq!(server.calls().count("create", "configmaps"), 1);
    // Five looks fit into the deadline; a second item that waited again would double them.
    let looks = server.calls().count("get", "namespaces");
    assert!(looks <= 8, "{looks} looks at the namespaces");
}

#[tokio::test]
async fn a_namespace_is_made_sure_of_once() {
    let server = ApiServer::new();
    server.store().seed_value(namespace("shop")).unwrap();
    let engine = engine(&server).await;
    let items: Vec<_> = (0..50)
        .map(|n| config_map("shop", &format!("m{n}")))
        .collect();
    server.calls().reset();
    let result = run_items(&engine, &items).await;
    assert_clean(&result);
    assert_eq!(
        server.calls().count("get", "namespaces") + server.calls().count("create", "namespaces"),
        2
    );
    assert_eq!(entries(&result, "v1/Namespace"), Vec::<String>::new());
}

#[tokio::test]
async fn a_namespace_that_may_not_be_created_is_an_error_at_each_item() {
    let server = ApiServer::new();
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("create")
            .resource("namespaces"),
    );
    let result = restore(
        &server,
        &[config_map("shop", "a"), config_map("shop", "b")],
        json!({}),
    )
    .await;
    let errors = errors(&result);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with(
            "shop: resource: /configmaps name: /a error: /namespace shop cannot be created"
        ),
        "{errors:?}"
    );
}

#[tokio::test]
async fn who_may_not_create_namespaces_restores_into_those_that_are_there() {
    let server = ApiServer::new();
    server.store().seed_value(namespace("shop")).unwrap();
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("create")
            .resource("namespaces"),
    );
    let items = [
        namespace("shop"),
        config_map("shop", "a"),
        config_map("shop", "b"),
    ];
    let result = restore(&server, &items, json!({})).await;
    assert_clean(&result);
    assert_eq!(
        entries(&result, "v1/ConfigMap"),
        ["shop/a(created)", "shop/b(created)"]
    );
    // Without leave to look at it either, both refusals are told.
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("get")
            .resource("namespaces"),
    );
    let result = restore(&server, &[config_map("shop", "c")], json!({})).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("namespace shop cannot be created")
            && errors[0].contains("nor looked at"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn an_archive_without_the_namespace_gives_a_bare_one() {
    let server = ApiServer::new();
    assert_clean(&restore(&server, &[config_map("shop", "a")], json!({})).await);
    let shop = server.store().get("v1", "Namespace", None, "shop").unwrap();
    assert_eq!(
        shop["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "shop"})
    );
}

#[tokio::test]
async fn the_default_account_waits_for_kubernetes() {
    let server = ApiServer::new();
    let mut account = object("v1", "ServiceAccount", "shop", "default");
    account["imagePullSecrets"] = json!([{"name": "pull"}]);
    let result = restore(&server, &[namespace("shop"), account], json!({})).await;
    assert_clean(&result);
    assert_eq!(
        entries(&result, "v1/ServiceAccount"),
        ["shop/default(updated)"]
    );
    let live = server
        .store()
        .get("v1", "ServiceAccount", Some("shop"), "default")
        .unwrap();
    assert_eq!(live["imagePullSecrets"], json!([{"name": "pull"}]));
}

#[tokio::test]
async fn an_applied_namespace_keeps_its_owners() {
    let server = ApiServer::new();
    let fields = json!({"f:metadata": {"f:labels": {"f:team": {}}}});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "green"},
        "managedFields": [{"manager": "gitops", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": "2026-01-01T00:00:00Z", "fieldsV1": fields}]}});
    assert_clean(&restore(&server, &[namespace, config_map("shop", "a")], json!({})).await);
    let shop = server.store().get("v1", "Namespace", None, "shop").unwrap();
    let owners = shop["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(owners.len(), 1, "{owners:?}");
    assert_eq!(owners[0]["manager"], "gitops");
    assert_eq!(owners[0]["operation"], "Apply");
    assert_eq!(owners[0]["fieldsV1"], fields);
}
