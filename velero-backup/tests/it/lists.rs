use serde_json::json;
use velero_backup::{BackupEngine, BackupOptions, Reading};
use velero_cluster::ListOptions;
use velero_testkit::{ApiServer, Fault, FaultAction};

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
    let done = run_with(&engine, json!({})).await;
    let calls = server.calls();
    assert_eq!(calls.count_verb("get"), 0, "{:?}", calls.counts());
    // The namespaces are read before the run, and not again; the bindings are read ahead for the service accounts, and not
    // again, either.
    assert_eq!(calls.count("list", "namespaces"), 2, "{:?}", calls.counts());
    let (lists, least) = (calls.count_verb("list"), least(&done, 50));
    assert_eq!(lists, least, "{:?}", calls.counts());
}

/// The pages of all kinds that a backup of everything has read, empty ones with one each.
fn least(done: &Done, page: u64) -> u64 {
    let kinds = done.result.coverage.kinds.iter();
    kinds
        .filter(|kind| !matches!(kind.reading, Reading::Not(_)))
        .map(|kind| kind.found.div_ceil(page).max(1))
        .sum()
}

/// 500 namespaces with two maps each, besides those that every cluster has.
fn many_namespaces() -> ApiServer {
    let server = ApiServer::new();
    for ns in 0..500 {
        let name = format!("n{ns:03}");
        seed(&server, namespace(&name, json!({})));
        for at in 0..2 {
            seed(
                &server,
                map(&name, &format!("m{at}"), json!({"at": at.to_string()})),
            );
        }
    }
    // Names that sort differently with and without what follows them.
    for name in ["z", "z-a"] {
        seed(&server, namespace(name, json!({})));
        seed(&server, map(name, "m", json!({})));
    }
    server
}

#[tokio::test]
async fn lists_for_one_some_and_all_namespaces() {
    let server = many_namespaces();
    let page = 30;
    bind_accounts(&server, 70);
    let options = BackupOptions::default().list(ListOptions::default().page_size(page));
    let engine = BackupEngine::new(connect(&server).await).options(options);
    let maps = server.store().list("v1", "ConfigMap", None).len() as u64;
    let pages = maps.div_ceil(u64::from(page));
    let catalog = engine.cluster().catalog();
    let names = |count: usize| {
        (1..=count)
            .map(|ns| format!("n{ns:03}"))
            .collect::<Vec<_>>()
    };
    for (spec, expected, by_namespace) in [
        (json!({"includedNamespaces": names(1)}), 1, true),
        (json!({"includedNamespaces": ["n00?"]}), 1 + 10, true),
        (json!({"includedNamespaces": ["n1??"]}), pages, false),
        (json!({"includedNamespaces": names(45)}), pages, false),
        (json!({"includedNamespaces": names(500)}), pages, false),
        (json!({"includedNamespaces": ["n*"]}), pages, false),
        (json!({"excludedNamespaces": ["n1??"]}), pages, false),
        (json!({}), pages, false),
        (json!({"includedNamespaces": ["z", "z-a"]}), 1 + 2, true),
        // A selector's answers do not say how much follows.
        (
            json!({"includedNamespaces": ["z", "z-a"], "labelSelector": {"matchExpressions": [{"key": "at", "operator": "DoesNotExist"}]}}),
            (maps - 1000).div_ceil(u64::from(page)),
            false,
        ),
    ] {
        server.calls().reset();
        let done = run_with(&engine, spec.clone()).await;
        let calls = server.calls();
        assert_eq!(calls.count("list", "configmaps"), expected, "{spec}");
        let kind = done.result.coverage.kind(&"configmaps".into()).unwrap();
        assert_eq!(kind.reading == Reading::ByNamespace, by_namespace, "{spec}");
        let mut budget = 0;
        for resource in catalog.preferred().filter(|r| r.verbs.can_back_up()) {
            let count = server
                .store()
                .list(&resource.api_version(), &resource.kind, None)
                .len();
            let pages = (count as u64).div_ceil(u64::from(page));
            budget += pages + 1;
            let lists = calls.count("list", &resource.plural);
            if resource.plural == "clusterrolebindings" {
                // Whether the kind is in the backup or read for the service accounts alone.
                assert_eq!((lists, pages), (3, 3), "{spec}");
            }
            // Some namespaces can take one more.
            let bound = pages.max(1) + u64::from(resource.namespaced);
            assert!(
                lists <= bound,
                "{spec}: {} lists of {count} {}",
                lists,
                resource.plural
            );
        }
        let (lists, total) = (calls.count_verb("list"), calls.total());
        assert_eq!(total, lists, "{spec}: {:?}", calls.counts());
        assert!(lists <= budget, "{spec}: {lists} of {budget}");
        if spec == json!({}) {
            assert_eq!(lists, least(&done, u64::from(page)), "{:?}", calls.counts());
        }
    }
}

#[tokio::test]
async fn all_ways_to_read_some_namespaces_give_the_same_archive() {
    let server = many_namespaces();
    let spec = json!({"includedNamespaces": ["z", "n01?", "z-a", "gone"]});
    let mut archives = Vec::new();
    for (page, forbidden, reading) in [
        (30, false, Reading::ByNamespace),
        (5000, false, Reading::Everywhere),
        (0, false, Reading::Everywhere),
        (30, true, Reading::Refused),
    ] {
        let options = BackupOptions::default().list(ListOptions::default().page_size(page));
        let engine = BackupEngine::new(connect(&server).await).options(options);
        if forbidden {
            let refused = FaultAction::Forbidden;
            server.faults().add(
                Fault::new(refused)
                    .verb("list")
                    .resource("configmaps")
                    .times(1),
            );
        }
        let done = run_with(&engine, spec.clone()).await;
        let kind = done.result.coverage.kind(&"configmaps".into()).unwrap();
        assert_eq!((&kind.reading, kind.stored), (&reading, 22 + 12), "{page}");
        assert_eq!(
            done.lines(),
            ["resource: /namespaces name: /gone error: /the included namespace does not exist"]
        );
        archives.push(done.archive);
    }
    assert!(archives.iter().all(|archive| *archive == archives[0]));
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

#[tokio::test]
async fn credentials_for_some_namespaces_are_enough_for_those() {
    let server = world();
    for (name, by_name) in [("shop", true), ("bank", false)] {
        let refused = || Fault::new(FaultAction::Forbidden);
        server
            .faults()
            .add(refused().verb("list").resource("namespaces"));
        if !by_name {
            server
                .faults()
                .add(refused().verb("get").resource("namespaces"));
        }
        let engine = BackupEngine::new(connect(&server).await);
        let done = run_with(&engine, json!({"includedNamespaces": [name]})).await;
        assert!(done.has(&format!("configmaps/namespaces/{name}/plain")));
        assert!(done.has(&format!("persistentvolumes/cluster/pv-{name}")));
        assert_eq!(done.has(&format!("namespaces/cluster/{name}")), by_name);
        assert_eq!(
            (done.result.errors(), done.result.warnings()),
            (usize::from(!by_name), 0),
            "{:?}",
            done.lines()
        );
        let kind = done.result.coverage.kind(&"namespaces".into()).unwrap();
        assert_eq!(kind.reading, Reading::Refused);
        for spec in [
            json!({}),
            json!({"includedNamespaces": ["*"]}),
            json!({"includedNamespaces": ["sh*"]}),
        ] {
            assert!(
                engine.request(&backup(spec.clone())).await.is_err(),
                "{spec}"
            );
        }
        // One that is not there is told where it can be looked for.
        let gone = engine
            .request(&backup(json!({"includedNamespaces": [name, "gone"]})))
            .await
            .unwrap();
        assert_eq!(gone.records().len(), usize::from(by_name));
        server.faults().clear();
    }
}

/// The namespaces are read before the run, to resolve the filters: those objects are stored, and not read once more.
#[tokio::test]
async fn namespaces_are_listed_once() {
    let server = many_namespaces();
    let page = 30;
    let options = BackupOptions::default().list(ListOptions::default().page_size(page));
    let engine = BackupEngine::new(connect(&server).await).options(options);
    let all = server.store().list("v1", "Namespace", None).len() as u64;
    let selector = json!({"matchExpressions": [{"key": "at", "operator": "Exists"}]});
    for (spec, stored) in [
        (json!({}), all),
        (json!({"includedNamespaces": ["n*"]}), 500),
        (json!({"includedNamespaces": ["n001"]}), 1),
        (json!({"excludedNamespaces": ["n*"]}), all - 500),
        (json!({"labelSelector": selector}), 500),
    ] {
        server.calls().reset();
        let done = run_with(&engine, spec.clone()).await;
        assert!(done.result.records.is_empty(), "{:?}", done.lines());
        assert_eq!(done.of(&["namespaces"]).len() as u64, stored, "{spec}");
        let lists = server.calls().count("list", "namespaces");
        assert_eq!(lists, all.div_ceil(u64::from(page)), "{spec}");
    }
    // What is given is not read at all, but for the objects when only their heads are known.
    let read = velero_backup::live_namespaces(engine.cluster(), &ListOptions::default(), &[])
        .await
        .unwrap();
    let spec = backup(json!({}));
    let mut archives = Vec::new();
    for (namespaces, lists) in [
        (read.clone(), 0),
        (read.heads().to_vec().into(), all.div_ceil(u64::from(page))),
    ] {
        server.calls().reset();
        let request = engine.request_in(&spec, None, &namespaces).unwrap();
        let kept = Kept::default();
        engine.run(&request, kept.clone(), run()).await.unwrap();
        assert_eq!(server.calls().count("list", "namespaces"), lists);
        archives.push(kept.bytes());
    }
    assert!(archives[0] == archives[1]);
}

#[tokio::test]
async fn a_kind_that_goes_while_namespaces_are_listed_is_told_once() {
    let server = many_namespaces();
    seed(&server, definition("books", "Book", "example.com"));
    let engine = engine(&server).await;
    let fault = |action| Fault::new(action).verb("list").resource("books");
    server.faults().add(fault(FaultAction::Forbidden).times(1));
    server.faults().add(fault(FaultAction::NotFound));
    server.calls().reset();
    let done = run_with(&engine, json!({"includedNamespaces": ["n00?"]})).await;
    assert_eq!((done.result.warnings(), done.result.errors()), (1, 0));
    assert!(
        done.lines()[0].starts_with("resource: /books.example.com message: /not all objects"),
        "{:?}",
        done.lines()
    );
    assert_eq!(server.calls().count("list", "books"), 2);
}
