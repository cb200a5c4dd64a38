//! Resource policies through whole runs.

use serde_json::json;
use velero_testkit::{Fault, FaultAction};

use crate::plugged::{Calls, Csi, policies, replace, run_by, running, spec};
use crate::support::*;

#[tokio::test]
async fn lists_of_policies_narrow_those_of_the_spec() {
    let engine = engine(&world()).await;
    let kinds = ["configmaps", "pods", "serviceaccounts", "persistentvolumes"];
    for (given, lists, expected) in [
        (
            json!({}),
            "includedNamespaceScopedResources: [cm]",
            vec!["configmaps"],
        ),
        (
            json!({}),
            "excludedNamespaceScopedResources: [configmaps, po]",
            vec!["persistentvolumes", "serviceaccounts"],
        ),
        (
            json!({}),
            "excludedNamespaceScopedResources: [pods], excludedClusterScopedResources: [pv]",
            vec!["configmaps", "serviceaccounts"],
        ),
        (
            json!({"includedNamespaceScopedResources": ["cm"]}),
            "excludedNamespaceScopedResources: [configmaps]",
            vec!["configmaps"],
        ),
        (
            json!({"includedNamespaceScopedResources": ["*"]}),
            "excludedNamespaceScopedResources: [configmaps]",
            vec!["configmaps", "persistentvolumes", "pods", "serviceaccounts"],
        ),
        (
            json!({"excludedNamespaceScopedResources": ["cm"]}),
            "includedNamespaceScopedResources: [configmaps, pods]",
            vec!["pods"],
        ),
        (
            json!({"includedNamespaceScopedResources": ["cm"]}),
            "includedClusterScopedResources: [persistentvolumes]",
            vec!["configmaps", "persistentvolumes"],
        ),
    ] {
        let done = run_by(
            &engine,
            given.clone(),
            &format!("includeExcludePolicy: {{{lists}}}"),
        )
        .await;
        let mut found: Vec<&str> = kinds
            .into_iter()
            .filter(|kind| !done.of(&[kind]).is_empty())
            .collect();
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{given} {lists}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_the_run() {
    let engine = engine(&world()).await;
    let lists = "includeExcludePolicy: {excludedNamespaceScopedResources: [cm]}";
    for (given, text, fault) in [
        (
            json!({"includedResources": ["pods"]}),
            Some(lists),
            "includeExcludePolicy, which cannot be used together with includedResources",
        ),
        (
            json!({"includeClusterResources": true}),
            Some(lists),
            "includeExcludePolicy, which cannot",
        ),
        (
            json!({}),
            None,
            "the policies of ConfigMap \"p\" were not read",
        ),
        (
            json!({}),
            Some("volumePolicies: [{action: {type: snapshot}}]"),
            "volumePolicies[0].action.type: \"snapshot\"",
        ),
        (
            json!({}),
            Some("volumePolicies: [{action: {type: fs-backup}}]"),
            "volumePolicies[0].action.type: \"fs-backup\"",
        ),
        (
            json!({"snapshotVolumes": true}),
            Some("volumePolicies: []"),
            "spec.snapshotVolumes: volume snapshots",
        ),
    ] {
        let policies = text.and_then(policies);
        let error = engine
            .request_with(&backup(spec(given)), policies)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(fault), "{error}");
    }
    // Another kind names nothing, as in the peer; but that is told.
    let other =
        json!({"resourcePolicy": {"kind": "Secret", "name": "p"}, "includedNamespaces": ["shop"]});
    let done = run_with(&engine, other).await;
    assert_eq!((done.result.errors(), done.result.warnings()), (0, 1));
    assert!(
        done.lines()[0].contains("kind \"Secret\" is not read"),
        "{:?}",
        done.lines()
    );
}

#[tokio::test]
async fn skipped_volumes_say_so_and_cost_no_calls() {
    let server = world();
    running(&server);
    let engine = engine(&server).await;
    let plain = {
        server.calls().reset();
        run_with(&engine, json!({})).await;
        server.calls().total()
    };
    server.calls().reset();
    let text = "volumePolicies: [{conditions: {pvcPhase: [Bound], storageClass: [none]}, action: {type: skip}}, {conditions: {volumeTypes: [hostPath], pvcPhase: [Bound]}, action: {type: skip}}]";
    let done = run_by(&engine, json!({}), text).await;
    assert_eq!(server.calls().total(), plain);
    let found: Vec<(String, String)> = done
        .result
        .volume_infos
        .iter()
        .map(|info| (info.pv_name.clone(), info.skipped_reason.clone()))
        .collect();
    let skipped = "any: skipped due to resource policy ;podvolume: opted out due to annotation in pod web;\
                   volumeSnapshot: not satisfy the criteria for VolumePolicy or the legacy snapshot way;";
    let free = "volumeSnapshot: no applicable volumesnapshotter found;";
    assert_eq!(
        found,
        [
            ("pv-bank", skipped),
            ("pv-free", free),
            ("pv-shop", skipped)
        ]
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
    );
    assert!(done.has("persistentvolumes/cluster/pv-shop") && done.result.records.is_empty());
}

#[tokio::test]
async fn rules_keep_the_csi_action_from_claims() {
    let server = world();
    running(&server);
    let mut labelled = claim("bank", "data", "pv-bank", json!({"keep": "out"}));
    labelled["metadata"]["uid"] = json!("u1");
    replace(&server, labelled);
    let calls = Calls::default();
    let engine = engine(&server).await.action(Csi(calls.clone()));
    server.calls().reset();
    let text = "volumePolicies: [{conditions: {pvcLabels: {keep: out}}, action: {type: skip}}]";
    let done = run_by(&engine, json!({}), text).await;
    assert_eq!(*calls.0.lock().unwrap(), ["csi shop"]);
    assert_eq!(server.calls().count("get", "persistentvolumes"), 0);
    let reasons: Vec<&str> = done
        .result
        .volume_infos
        .iter()
        .map(|info| info.skipped_reason.split(';').next().unwrap())
        .collect();
    assert_eq!(
        reasons,
        [
            "any: skipped due to resource policy ",
            "volumeSnapshot: no applicable volumesnapshotter found",
            "csiSnapshot: skipped b/c it's not a CSI volume"
        ]
    );
    // The annotation was for the engine alone.
    let stored = &done.items["persistentvolumeclaims/namespaces/shop/data"];
    assert_eq!(stored.pointer("/metadata/annotations"), None, "{stored}");
}

#[tokio::test]
async fn a_volume_that_cannot_be_read_is_an_error_where_its_snapshot_is_decided_on() {
    let server = world();
    running(&server);
    let calls = Calls::default();
    let engine = engine(&server).await.action(Csi(calls.clone()));
    server.faults().add(
        Fault::new(FaultAction::Forbidden)
            .verb("get")
            .resource("persistentvolumes"),
    );
    let done = run_with(&engine, shop()).await;
    assert!(calls.0.lock().unwrap().is_empty());
    let found = done
        .lines()
        .into_iter()
        .find(|line| line.contains("what is done for its data is decided without it"));
    assert!(
        found.is_some_and(
            |line| line.starts_with("resource: /persistentvolumes name: /pv-shop error: ")
        ),
        "{:?}",
        done.lines()
    );
    assert!(done.has("persistentvolumeclaims/namespaces/shop/data"));
}
