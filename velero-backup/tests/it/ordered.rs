use serde_json::{Value, json};
use velero_backup::{BackupEngine, BackupOptions};
use velero_cluster::ListOptions;
use velero_core::CancellationToken;
use velero_core::result::Record;
use velero_testkit::{ApiServer, ExecResult};

use crate::bench::{Bench, both};
use crate::support::*;

/// Seven maps `m0`... in each of the namespaces `a` and `b`.
fn maps() -> ApiServer {
    let server = ApiServer::new();
    for ns in ["a", "b"] {
        seed(&server, namespace(ns, json!({})));
        for at in 0..7 {
            seed(
                &server,
                map(
                    ns,
                    &format!("m{at}"),
                    json!({"parity": if at % 2 == 0 { "even" } else { "odd" }}),
                ),
            );
        }
    }
    server
}

fn first(done: &Done, resource: &str, count: usize) -> Vec<String> {
    done.order
        .iter()
        .filter(|path| path.split('/').next() == Some(resource))
        .take(count)
        .map(|path| path.split('/').skip(2).collect::<Vec<_>>().join("/"))
        .collect()
}

fn orders(value: Value) -> Value {
    json!({"includedNamespaces": ["a", "b"], "excludedResources": ["secrets"], "orderedResources": value})
}

#[tokio::test]
async fn named_objects_come_first_in_their_order() {
    // Names; the first four; warnings.
    for (names, begins, warnings) in [
        (
            "b/m3,a/m5,a/m0",
            ["b/m3", "a/m5", "a/m0", "a/kube-root-ca.crt"],
            0,
        ),
        ("b/m6", ["b/m6", "a/kube-root-ca.crt", "a/m0", "a/m1"], 0),
        (
            "b/m6,b/m6",
            ["b/m6", "a/kube-root-ca.crt", "a/m0", "a/m1"],
            0,
        ),
        (
            "a/none,b/m6",
            ["b/m6", "a/kube-root-ca.crt", "a/m0", "a/m1"],
            1,
        ),
        (
            "m6,other/m6",
            ["a/kube-root-ca.crt", "a/m0", "a/m1", "a/m2"],
            2,
        ),
        (
            "b/m6, a/m5",
            ["b/m6", "a/kube-root-ca.crt", "a/m0", "a/m1"],
            1,
        ),
        ("", ["a/kube-root-ca.crt", "a/m0", "a/m1", "a/m2"], 0),
    ] {
        for held in [16 << 20, 0] {
            let server = maps();
            let options = BackupOptions::default()
                .held_bytes(held)
                .list(ListOptions::default().page_size(3));
            let engine = BackupEngine::new(connect(&server).await).options(options);
            server.calls().reset();
            let done = run_with(&engine, orders(json!({"configmaps": names}))).await;
            assert_eq!(first(&done, "configmaps", 4), begins, "{names}");
            assert_eq!(done.of(&["configmaps"]).len(), 16);
            let found = (done.result.errors(), done.result.warnings());
            assert_eq!(found, (0, warnings), "{names} {:?}", done.lines());
            let asked = names.split(',').filter(|n| n.contains('/')).count() as u64;
            let gets = server.calls().count("get", "configmaps");
            assert!(
                if held > 0 { gets == 0 } else { gets <= asked },
                "{names}: {gets}"
            );
        }
    }
}

#[tokio::test]
async fn keys_are_plural_names_in_any_group() {
    let server = ApiServer::new();
    for (group, ns) in [("apps/v1", "default"), ("example.com/v1", "default")] {
        if group.starts_with("example") {
            seed(
                &server,
                definition("deployments", "Deployment", "example.com"),
            );
        }
        for name in ["x", "y"] {
            let mut one = object(group, "Deployment", ns, name, json!({}));
            one["spec"] = json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
            seed(&server, one);
        }
    }
    let done = back_up(&server, json!({"orderedResources": {"deployments": "default/y", "namespaces": "kube-system", "po": "default/x"}})).await;
    for resource in ["deployments.apps", "deployments.example.com"] {
        assert_eq!(first(&done, resource, 1), ["default/y"]);
    }
    assert_eq!(
        done.order
            .iter()
            .find(|p| p.starts_with("namespaces/"))
            .unwrap(),
        "namespaces/cluster/kube-system"
    );
    assert_eq!(
        done.lines(),
        ["message: /orderedResources: \"po\" is the plural name of no kind in this backup"]
    );
}

#[tokio::test]
async fn filters_hold_for_named_objects() {
    for held in [16 << 20, 0] {
        let server = maps();
        let mut hidden = map("b", "hidden", json!({"parity": "even"}));
        hidden["metadata"]["labels"]["velero.io/exclude-from-backup"] = "true".into();
        seed(&server, hidden);
        let options = BackupOptions::default().held_bytes(held);
        let engine = BackupEngine::new(connect(&server).await).options(options);
        let done = run_with(&engine, json!({"includedNamespaces": ["b"], "labelSelector": {"matchLabels": {"parity": "even"}},
            "orderedResources": {"configmaps": "b/m4,b/m3,a/m2,b/hidden"}})).await;
        assert_eq!(
            first(&done, "configmaps", 9),
            ["b/m4", "b/m0", "b/m2", "b/m6"]
        );
        assert_eq!(
            (done.result.errors(), done.result.warnings()),
            (0, 3),
            "{:?}",
            done.lines()
        );
    }
}

#[tokio::test]
async fn ordered_pods_share_a_block() {
    for (names, order) in [
        (
            "shop/c,shop/a",
            [
                "c freeze", "a freeze", "c thaw", "a thaw", "b freeze", "d freeze", "b thaw",
                "d thaw",
            ],
        ),
        // `d` shares a claim with `b` and joins its block.
        (
            "shop/b",
            [
                "b freeze", "d freeze", "b thaw", "d thaw", "a freeze", "a thaw", "c freeze",
                "c thaw",
            ],
        ),
    ] {
        let bench = Bench::new(|_| ExecResult::default());
        for (name, claims) in [("a", &[][..]), ("b", &["x"]), ("c", &[]), ("d", &["x"])] {
            bench.pod(name, claims, both());
        }
        seed(&bench.server, claim("shop", "x", "pv-x", json!({})));
        let engine = engine(&bench.server).await;
        let done = run_with(
            &engine,
            json!({"includedNamespaces": ["shop"], "orderedResources": {"pods": names}}),
        )
        .await;
        let ran: Vec<String> = bench.ran().iter().map(|l| l.replace(" c ", " ")).collect();
        assert_eq!(ran, order, "{names}");
        assert_eq!(done.result.hook_status.hooks_attempted, 8);
        assert_eq!(
            (done.result.total, done.of(&["pods"]).len()),
            (done.result.backed_up, 4)
        );
    }
}

#[tokio::test]
async fn a_dry_run_tells_of_the_same_names() {
    let server = world();
    let engine = engine(&server).await;
    let spec = json!({"includedNamespaces": ["shop"], "orderedResources": {
        "configmaps": "shop/no-such,bank/m", "namespaces": "shop,bank", "po": "shop/web"}});
    let done = run_with(&engine, spec.clone()).await;
    let request = engine.request(&backup(spec)).await.unwrap();
    let dry = engine.dry_run(&request, &CancellationToken::new()).await;
    let told: Vec<String> = dry.unwrap().records.iter().map(Record::line).collect();
    assert_eq!(told, done.lines());
    assert_eq!(told.len(), 4, "{told:?}");
}
