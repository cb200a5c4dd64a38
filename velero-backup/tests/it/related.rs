use std::time::Duration;

use serde_json::json;
use velero_backup::{BackupEngine, BackupOptions};
use velero_core::action::{ActionError, BackupMap, BackupOutcome, ResourceSelector};
use velero_testkit::{Fault, FaultAction};

use crate::acting::on;
use crate::support::*;

#[tokio::test]
async fn additional_items_come_before_their_parent_and_once() {
    let server = world();
    seed(&server, pod("shop", "web2", Some("data"), json!({})));
    for (spec, held) in [
        (json!({}), 16 << 20),
        (json!({"includedNamespaces": ["shop"]}), 16 << 20),
        (json!({}), 0),
    ] {
        let engine = BackupEngine::new(connect(&server).await)
            .options(BackupOptions::default().held_bytes(held));
        let done = run_with(&engine, spec).await;
        let chain = [
            "persistentvolumes/cluster/pv-shop",
            "persistentvolumeclaims/namespaces/shop/data",
            "pods/namespaces/shop/web",
            "pods/namespaces/shop/web2",
        ];
        let places: Vec<usize> = chain.iter().map(|p| done.at(p)).collect();
        assert!(places.is_sorted(), "{places:?}");
        let rbac = [
            "clusterroles.rbac.authorization.k8s.io/cluster/reader",
            "serviceaccounts/namespaces/shop/runner",
        ];
        assert!(done.at(rbac[0]) < done.at(rbac[1]));
        assert!(
            done.at("clusterrolebindings.rbac.authorization.k8s.io/cluster/reads")
                < done.at(rbac[1])
        );
        assert!(done.result.records.is_empty(), "{:?}", done.lines());
    }
}

#[tokio::test]
async fn core_order_holds_without_relations() {
    let server = velero_testkit::ApiServer::new();
    seed(&server, map("default", "m", json!({})));
    seed(&server, pod("default", "p", None, json!({})));
    let mut loose = claim("default", "c", "", json!({}));
    loose["spec"].as_object_mut().unwrap().remove("volumeName");
    loose["status"] = json!({"phase": "Pending"});
    seed(&server, loose);
    seed(&server, volume("v", "", "", json!({})));
    let done = back_up(&server, json!({})).await;
    let places = [
        "pods/namespaces/default/p",
        "persistentvolumeclaims/namespaces/default/c",
        "persistentvolumes/cluster/v",
        "configmaps/namespaces/default/m",
    ]
    .map(|p| done.at(p));
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn what_is_missing_is_a_warning_and_the_parent_is_stored() {
    let server = world();
    for at in 0..3 {
        seed(
            &server,
            pod("shop", &format!("lost{at}"), Some("nowhere"), json!({})),
        );
    }
    let done = back_up(&server, json!({"includedNamespaces": ["shop"]})).await;
    assert!(done.has("pods/namespaces/shop/lost2"));
    assert_eq!(
        (done.result.errors(), done.result.warnings()),
        (0, 1),
        "{:?}",
        done.lines()
    );
    assert_eq!(
        done.lines()[0],
        "resource: /persistentvolumeclaims name: /nowhere message: /additional item of pods shop/lost0: it does not exist"
    );
    assert_eq!(server.calls().count("get", "persistentvolumeclaims"), 1);
}

#[tokio::test]
async fn what_fails_is_told_where_it_failed_and_where_it_is_missing() {
    let pv = ("persistentvolumes", "pv-shop");
    let claim = ("persistentvolumeclaims", "data");
    // What fails, and how; the errors; the items that are stored but not whole.
    for (action, broken, stored, marked) in [
        (
            Some("pv"),
            pv,
            true,
            vec![claim, ("pods", "web"), ("pods", "web2")],
        ),
        (
            Some("pvc"),
            claim,
            true,
            vec![("pods", "web"), ("pods", "web2")],
        ),
        (Some("pods"), ("pods", "web"), true, vec![]),
        (
            None,
            pv,
            false,
            vec![claim, ("pods", "web"), ("pods", "web2")],
        ),
    ] {
        let server = world();
        seed(&server, pod("shop", "web2", Some("data"), json!({})));
        let mut engine = engine(&server).await;
        if let Some(kind) = action {
            let selector = ResourceSelector::resources([kind]);
            engine = engine.action(BackupMap::new("example.com/act", selector, move |item| {
                if item.name() == broken.1 {
                    return Err(ActionError::new("no luck"));
                }
                Ok(BackupOutcome::unchanged())
            }));
        } else {
            server.faults().add(
                Fault::new(FaultAction::Forbidden)
                    .verb("get")
                    .resource(broken.0),
            );
        }
        let done = run_with(&engine, json!({"includedNamespaces": ["shop"]})).await;
        let stored_paths = [
            "pods/shop/web",
            "pods/shop/web2",
            "persistentvolumeclaims/shop/data",
        ];
        let found = done.of(&["pods", "persistentvolumeclaims", "persistentvolumes"]);
        assert!(
            stored_paths.iter().all(|p| found.contains(*p)),
            "{action:?} {found:?}"
        );
        assert_eq!(found.len(), 3 + usize::from(stored), "{action:?}");
        assert_eq!(
            (done.result.errors(), done.result.warnings()),
            (1, marked.len()),
            "{:?}",
            done.lines()
        );
        let cause = if broken == pv {
            "persistentvolumes pv-shop".to_owned()
        } else {
            format!("{} shop/{}", broken.0, broken.1)
        };
        for (resource, name) in marked {
            let line = format!(
                "resource: /{resource} name: /{name} message: /it is in the backup, but not whole: there were errors at {cause}"
            );
            assert!(
                done.lines().contains(&line),
                "{line} is not in {:#?}",
                done.lines()
            );
        }
    }
}

#[tokio::test]
async fn what_panics_or_never_returns_is_told_as_what_fails() {
    for (way, reason) in [
        ("fails", "no luck"),
        ("panics", "it panicked: boom"),
        ("never returns", "no answer within 0.3 s"),
    ] {
        let options = BackupOptions::default().action_timeout(Duration::from_millis(300));
        let engine = BackupEngine::new(connect(&world()).await).options(options);
        let engine = engine.action(on("pv", move |_| async move {
            match way {
                "fails" => Err(ActionError::new("no luck")),
                "panics" => panic!("boom"),
                _ => std::future::pending().await,
            }
        }));
        let done = run_with(&engine, shop()).await;
        for path in [
            "pods/namespaces/shop/web",
            "persistentvolumeclaims/namespaces/shop/data",
            "persistentvolumes/cluster/pv-shop",
        ] {
            assert!(done.has(path), "{way}: {path}");
        }
        let whole = "message: /it is in the backup, but not whole: there were errors at persistentvolumes pv-shop";
        assert_eq!(
            done.lines(),
            [
                format!(
                    "resource: /persistentvolumes name: /pv-shop error: /action example.com/act: {reason}; the item is stored without it"
                ),
                format!("resource: /persistentvolumeclaims name: /data {whole}"),
                format!("resource: /pods name: /web {whole}"),
            ]
        );
    }
}

#[tokio::test]
async fn filters_hold_for_additional_items() {
    for (spec, claim, volume) in [
        (json!({"includedNamespaces": ["shop"]}), true, true),
        (
            json!({"includedNamespaces": ["shop"], "includedResources": ["pods"]}),
            false,
            false,
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedResources": ["pods", "pvc"]}),
            true,
            false,
        ),
        (
            json!({"includedNamespaces": ["shop"], "includeClusterResources": false}),
            true,
            false,
        ),
        (
            json!({"includedNamespaces": ["shop"], "excludedResources": ["pvc"]}),
            false,
            false,
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedNamespaceScopedResources": ["pods"]}),
            false,
            false,
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedClusterScopedResources": ["nodes"]}),
            true,
            true,
        ),
        (
            json!({"includedNamespaces": ["shop"], "excludedClusterScopedResources": ["pv"]}),
            true,
            false,
        ),
    ] {
        let done = back_up(&world(), spec.clone()).await;
        assert!(done.has("pods/namespaces/shop/web"));
        let found = (
            done.has("persistentvolumeclaims/namespaces/shop/data"),
            done.has("persistentvolumes/cluster/pv-shop"),
        );
        assert_eq!(found, (claim, volume), "{spec}");
        assert!(done.result.records.is_empty(), "{:?}", done.lines());
    }
}

#[tokio::test]
async fn claims_lose_what_earlier_restores_left() {
    let server = world();
    let mut restored = claim(
        "shop",
        "restored",
        "pv-free",
        json!({"velero.io/restore-name": "r", "keep": "me"}),
    );
    restored["spec"]["dataSource"] =
        json!({"kind": "VolumeSnapshot", "name": "s", "apiGroup": "snapshot.storage.k8s.io"});
    seed(&server, restored);
    let done = back_up(&server, json!({"includedNamespaces": ["shop"]})).await;
    let claim = &done.items["persistentvolumeclaims/namespaces/shop/restored"];
    assert_eq!(claim["metadata"]["labels"], json!({"keep": "me"}));
    assert!(claim["spec"].get("dataSource").is_none());
    assert!(done.has("persistentvolumes/cluster/pv-free"));
}

#[tokio::test]
async fn volumes_in_the_archive_are_told_of() {
    let done = back_up(&world(), json!({"includedNamespaces": ["shop"]})).await;
    let infos = serde_json::to_value(&done.result.volume_infos).unwrap();
    assert_eq!(
        infos,
        json!([{"pvcName": "data", "pvcNamespace": "shop", "pvName": "pv-shop", "snapshotDataMoved": false, "preserveLocalSnapshot": false,
            "skipped": true, "skippedReason": "podvolume: opted out due to annotation in pod web;volumeSnapshot: no applicable volumesnapshotter found;",
            "pvInfo": {"reclaimPolicy": "Delete", "labels": null}}])
    );
}

#[tokio::test]
async fn volume_annotations_are_not_passed_over() {
    let server = world();
    let mut asking = pod("shop", "asking", None, json!({}));
    asking["metadata"]["annotations"] = json!({"backup.velero.io/backup-volumes": "data"});
    seed(&server, asking);
    let done = back_up(&server, json!({"includedNamespaces": ["shop"]})).await;
    assert_eq!(
        (done.result.warnings(), done.result.errors()),
        (1, 0),
        "{:?}",
        done.lines()
    );
}
