use serde_json::json;
use velero_backup::{BackupEngine, BackupOptions};
use velero_cluster::ListOptions;

use crate::support::*;

#[tokio::test]
async fn one_list_a_kind_and_page_and_no_call_an_object() {
    let server = world();
    for at in 0..45 {
        seed(&server, map("shop", &format!("m{at:03}"), json!({})));
        seed(
            &server,
            pod("shop", &format!("p{at:03}"), Some("data"), json!({})),
        );
        seed(&server, namespace(&format!("n{at:03}"), json!({})));
    }
    let options = BackupOptions::default().list(ListOptions::default().page_size(50));
    let engine = BackupEngine::new(connect(&server).await).options(options);
    let pages = server
        .store()
        .list("v1", "ConfigMap", None)
        .len()
        .div_ceil(50) as u64;
    for spec in [
        json!({}),
        json!({"includedNamespaces": ["shop", "bank", "n001", "n002"]}),
        json!({"excludedNamespaces": ["n*"]}),
    ] {
        server.calls().reset();
        let done = run_with(&engine, spec.clone()).await;
        assert!(done.result.records.is_empty(), "{:?}", done.lines());
        let calls = server.calls();
        assert_eq!(
            calls.count("list", "configmaps"),
            pages,
            "{spec} {:?}",
            calls.counts()
        );
        assert_eq!(
            (calls.count("list", "pods"), calls.count("list", "secrets")),
            (1, 1),
            "{spec} {:?}",
            calls.counts()
        );
        assert_eq!(calls.count("get", "persistentvolumeclaims"), 0, "{spec}");
        assert_eq!(
            calls.count("get", "configmaps") + calls.count("get", "pods"),
            0
        );
    }
    server.calls().reset();
    run_with(&engine, json!({})).await;
    let calls = server.calls();
    assert_eq!(calls.count_verb("get"), 0, "{:?}", calls.counts());
    let kinds = engine
        .cluster()
        .catalog()
        .preferred()
        .filter(|r| r.verbs.can_back_up())
        .count() as u64;
    // One each, further pages of maps, pods and namespaces, the namespaces before the run, the service accounts' bindings.
    assert!(
        calls.count_verb("list") <= kinds + 7,
        "{} kinds: {:?}",
        kinds,
        calls.counts()
    );
}

#[tokio::test]
async fn one_namespace_is_listed_alone() {
    let server = world();
    back_up(&server, json!({"includedNamespaces": ["shop"]})).await;
    let log = server.calls().log();
    assert!(
        log.iter()
            .filter(|c| c.verb == "list" && c.resource == "configmaps")
            .all(|c| c.namespace.as_deref() == Some("shop"))
    );
}

#[tokio::test]
async fn selectors_cost_no_more_lists() {
    let server = world();
    let engine = engine(&server).await;
    for spec in [
        json!({"labelSelector": {"matchLabels": {"app": "x"}}}),
        json!({"orLabelSelectors": [{"matchLabels": {"app": "x"}}, {"matchLabels": {"app": "y"}}, {"matchLabels": {"app": "z"}}]}),
    ] {
        server.calls().reset();
        run_with(&engine, spec).await;
        assert_eq!(server.calls().count("list", "configmaps"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_state_gives_the_same_bytes() {
    let server = world();
    for at in 0..60 {
        seed(
            &server,
            pod(
                "shop",
                &format!("p{at:03}"),
                (at % 3 == 0).then_some("data"),
                json!({"app": "x"}),
            ),
        );
        seed(
            &server,
            claim(
                "bank",
                &format!("c{at:03}"),
                &format!("pv{at:03}"),
                json!({}),
            ),
        );
        seed(
            &server,
            volume(
                &format!("pv{at:03}"),
                "bank",
                &format!("c{at:03}"),
                json!({}),
            ),
        );
        seed(
            &server,
            pod(
                "bank",
                &format!("q{at:03}"),
                Some(&format!("c{:03}", 59 - at)),
                json!({}),
            ),
        );
    }
    for (spec, held) in [
        (json!({}), 16 << 20),
        (json!({"includedNamespaces": ["bank", "shop"]}), 20_000),
        (json!({"labelSelector": {"matchLabels": {"app": "x"}}}), 0),
    ] {
        let engine = BackupEngine::new(connect(&server).await)
            .options(BackupOptions::default().held_bytes(held));
        let first = run_with(&engine, spec.clone()).await;
        assert!(first.result.records.is_empty(), "{:?}", first.lines());
        for _ in 0..3 {
            assert!(
                run_with(&engine, spec.clone()).await.archive == first.archive,
                "{spec}"
            );
        }
    }
}
