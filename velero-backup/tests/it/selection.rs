use std::collections::BTreeSet;

use serde_json::{Value, json};
use velero_core::result::Severity;
use velero_testkit::ApiServer;

use crate::support::*;

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

/// What a backup of [`world`] stores of some resources, leaving out what every namespace gets by itself.
async fn stored(spec: Value, resources: &[&str]) -> BTreeSet<String> {
    let done = back_up(&world(), spec).await;
    done.of(resources)
        .into_iter()
        .filter(|p| !p.ends_with("/kube-root-ca.crt") && !p.ends_with("/default"))
        .collect()
}

#[tokio::test]
async fn whole_clusters() {
    let server = world();
    let done = back_up(&server, json!({})).await;
    for path in [
        "configmaps/namespaces/shop/plain",
        "persistentvolumes/cluster/pv-free",
        "clusterroles.rbac.authorization.k8s.io/cluster/unused",
        "customresourcedefinitions.apiextensions.k8s.io/cluster/films.example.com",
        "books.example.com/namespaces/shop/b1",
        "namespaces/cluster/bank",
        "serviceaccounts/namespaces/shop/default",
    ] {
        assert!(done.has(path), "{path}: {:?}", done.order);
    }
    assert!(done.result.records.is_empty(), "{:?}", done.lines());
    assert_eq!(done.entries, done.order.len() * 2 + 1);
    assert_eq!(done.result.total, done.result.backed_up);
    // What the archive holds is what the server has, and nothing else.
    let stored: BTreeSet<(String, String)> = done
        .items
        .values()
        .map(|v| (v["kind"].to_string(), v["metadata"]["uid"].to_string()))
        .collect();
    assert_eq!(stored.len(), done.order.len());
    let missing: Vec<Value> = server
        .store()
        .all()
        .into_iter()
        .filter(|v| !stored.contains(&(v["kind"].to_string(), v["metadata"]["uid"].to_string())))
        .map(|v| json!([v["kind"], v["metadata"]["name"]]))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn namespaces_and_cluster_scope() {
    let resources = &[
        "configmaps",
        "namespaces",
        "persistentvolumes",
        "clusterroles.rbac.authorization.k8s.io",
    ];
    let shop = &["configmaps/shop/chosen", "configmaps/shop/plain"][..];
    let related = &[
        "persistentvolumes/pv-shop",
        "clusterroles.rbac.authorization.k8s.io/reader",
    ][..];
    let all_volumes = &[
        "persistentvolumes/pv-shop",
        "persistentvolumes/pv-bank",
        "persistentvolumes/pv-free",
    ][..];
    let with = |parts: &[&[&str]]| set(&parts.concat());
    for (spec, expected) in [
        (
            json!({"includedNamespaces": ["shop"]}),
            with(&[shop, related, &["namespaces/shop"]]),
        ),
        (
            json!({"includedNamespaces": ["sh*"]}),
            with(&[shop, related, &["namespaces/shop"]]),
        ),
        (json!({"includedNamespaces": ["nothing-*"]}), set(&[])),
        (
            json!({"includedNamespaces": ["shop"], "includeClusterResources": true}),
            with(&[
                shop,
                all_volumes,
                &[
                    "namespaces/shop",
                    "clusterroles.rbac.authorization.k8s.io/reader",
                    "clusterroles.rbac.authorization.k8s.io/unused",
                ],
            ]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includeClusterResources": false}),
            with(&[shop]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedResources": ["cm"]}),
            with(&[shop]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedResources": ["configmaps", "unicorns"]}),
            with(&[shop]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedResources": ["unicorns"]}),
            set(&[]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedClusterScopedResources": ["*"], "excludedNamespaceScopedResources": ["*"]}),
            with(&[
                all_volumes,
                &[
                    "namespaces/shop",
                    "clusterroles.rbac.authorization.k8s.io/reader",
                    "clusterroles.rbac.authorization.k8s.io/unused",
                ],
            ]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedNamespaceScopedResources": ["configmaps"]}),
            with(&[shop, &["namespaces/shop"]]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedNamespaceScopedResources": ["pods", "pvc"], "includedClusterScopedResources": ["clusterroles"]}),
            with(&[&[
                "persistentvolumes/pv-shop",
                "namespaces/shop",
                "clusterroles.rbac.authorization.k8s.io/reader",
                "clusterroles.rbac.authorization.k8s.io/unused",
            ]]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "excludedClusterScopedResources": ["persistentvolumes"]}),
            with(&[
                shop,
                &[
                    "namespaces/shop",
                    "clusterroles.rbac.authorization.k8s.io/reader",
                ],
            ]),
        ),
    ] {
        let mut found = stored(spec.clone(), resources).await;
        // The server's own roles are not what this is about.
        found.retain(|p| {
            !p.contains("system:")
                && !p.ends_with("admin")
                && !p.ends_with("/edit")
                && !p.ends_with("/view")
        });
        assert_eq!(found, expected, "{spec}");
    }
}

#[tokio::test]
async fn labels() {
    let resources = &[
        "configmaps",
        "pods",
        "persistentvolumeclaims",
        "persistentvolumes",
        "namespaces",
    ];
    let x = json!({"matchLabels": {"app": "x"}});
    let chosen = [
        "configmaps/bank/chosen",
        "configmaps/shop/chosen",
        "pods/bank/web",
        "pods/shop/web",
    ];
    let needed = [
        "persistentvolumeclaims/bank/data",
        "persistentvolumeclaims/shop/data",
        "persistentvolumes/pv-bank",
        "persistentvolumes/pv-shop",
    ];
    let both = set(&[
        &chosen[..],
        &needed[..],
        &["namespaces/bank", "namespaces/shop"],
    ]
    .concat());
    assert_eq!(stored(json!({"labelSelector": x}), resources).await, both);
    // Alternatives also choose cluster-scoped objects.
    let any = json!({"orLabelSelectors": [x, {"matchLabels": {"team": "bank"}}], "includeClusterResources": true});
    let mut with_free = both.clone();
    with_free.insert("persistentvolumes/pv-free".to_owned());
    assert_eq!(stored(any, resources).await, with_free);
    let only = json!({"labelSelector": x, "includedNamespaces": ["shop"], "includedResources": ["configmaps", "namespaces"]});
    assert_eq!(
        stored(only, resources).await,
        set(&["configmaps/shop/chosen", "namespaces/shop"])
    );
    // A namespace that is excluded by name but chosen by its own label is stored as an object only.
    let excluded =
        json!({"labelSelector": {"matchLabels": {"team": "bank"}}, "excludedNamespaces": ["bank"]});
    let found = back_up(&world(), excluded).await;
    assert!(found.has("namespaces/cluster/bank") && found.has("namespaces/cluster/shop"));
    assert!(found.of(&["configmaps"]).is_empty());
}

#[tokio::test]
async fn the_exclude_label_beats_everything() {
    let server = world();
    for (name, value) in [
        ("yes", "true"),
        ("no", "false"),
        ("one", "1"),
        ("empty", ""),
    ] {
        seed(
            &server,
            map(
                "shop",
                name,
                json!({"velero.io/exclude-from-backup": value, "app": "x"}),
            ),
        );
    }
    seed(
        &server,
        claim(
            "shop",
            "hidden",
            "pv-free",
            json!({"velero.io/exclude-from-backup": "true"}),
        ),
    );
    seed(
        &server,
        pod("shop", "uses-hidden", Some("hidden"), json!({"app": "x"})),
    );
    seed(
        &server,
        namespace("out", json!({"velero.io/exclude-from-backup": "true"})),
    );
    seed(&server, map("out", "inside", json!({"app": "x"})));
    for spec in [
        json!({}),
        json!({"labelSelector": {"matchLabels": {"app": "x"}}}),
    ] {
        let done = back_up(&server, spec).await;
        assert!(
            !done.has("configmaps/namespaces/shop/yes")
                && done.has("configmaps/namespaces/shop/no")
        );
        assert!(
            done.has("configmaps/namespaces/shop/one")
                && done.has("configmaps/namespaces/shop/empty")
        );
        assert!(
            !done.has("persistentvolumeclaims/namespaces/shop/hidden")
                && done.has("pods/namespaces/shop/uses-hidden")
        );
        assert!(
            !done.has("namespaces/cluster/out") && !done.has("configmaps/namespaces/out/inside")
        );
    }
}

#[tokio::test]
async fn objects_that_are_being_deleted_are_left_out() {
    let server = world();
    let mut ending = map("shop", "ending", json!({}));
    ending["metadata"]["finalizers"] = json!(["example.com/wait"]);
    seed(&server, ending);
    let cluster = connect(&server).await;
    let maps = cluster.catalog().resolve("cm").unwrap().clone();
    cluster
        .delete(
            &maps,
            "shop",
            "ending",
            &velero_cluster::DeleteOptions::default(),
        )
        .await
        .unwrap();
    let done = back_up(&server, json!({"includedNamespaces": ["shop"]})).await;
    assert!(
        !done.has("configmaps/namespaces/shop/ending")
            && done.has("configmaps/namespaces/shop/plain")
    );
}

#[tokio::test]
async fn missing_namespaces_are_told_and_the_others_stored() {
    let done = back_up(&world(), json!({"includedNamespaces": ["shop", "nowhere"]})).await;
    assert!(done.has("configmaps/namespaces/shop/plain"));
    assert_eq!(
        done.lines(),
        ["resource: /namespaces name: /nowhere error: /the included namespace does not exist"]
    );
    assert_eq!(
        (done.result.errors(), done.result.records[0].severity),
        (1, Severity::Error)
    );
}

#[tokio::test]
async fn definitions_of_stored_custom_resources() {
    let crds = &["customresourcedefinitions.apiextensions.k8s.io"];
    let books = set(&["customresourcedefinitions.apiextensions.k8s.io/books.example.com"]);
    let both = set(&[
        "customresourcedefinitions.apiextensions.k8s.io/books.example.com",
        "customresourcedefinitions.apiextensions.k8s.io/films.example.com",
    ]);
    for (spec, expected) in [
        (json!({"includedNamespaces": ["shop"]}), &books),
        (json!({"includedNamespaces": ["bank"]}), &set(&[])),
        (
            json!({"includedNamespaces": ["shop"], "excludedClusterScopedResources": ["crd"]}),
            &set(&[]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "excludedResources": ["crd"]}),
            &set(&[]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedResources": ["books"]}),
            &set(&[]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includedResources": ["books", "crd"]}),
            &books,
        ),
        (
            json!({"includedNamespaces": ["shop"], "includeClusterResources": false}),
            &set(&[]),
        ),
        (
            json!({"includedNamespaces": ["shop"], "includeClusterResources": true}),
            &both,
        ),
        (json!({}), &both),
    ] {
        assert_eq!(stored(spec.clone(), crds).await, *expected, "{spec}");
    }
    let done = back_up(&world(), json!({"includedNamespaces": ["shop"]})).await;
    assert_eq!(
        done.order.last().unwrap(),
        "customresourcedefinitions.apiextensions.k8s.io/cluster/books.example.com"
    );
}

#[tokio::test]
async fn what_cannot_be_backed_up_is_refused_before_anything_is_read() {
    let server = world();
    let engine = engine(&server).await;
    let error = engine
        .request(&backup(
            json!({"snapshotVolumes": true, "includedNamespaces": ["a", "*"]}),
        ))
        .await
        .unwrap_err();
    let velero_backup::Error::Invalid { faults } = error else {
        panic!("{error}")
    };
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert_eq!(server.calls().count("list", "pods"), 0);
}

#[tokio::test]
async fn an_empty_cluster_is_a_good_archive() {
    let server = ApiServer::new();
    let done = back_up(
        &server,
        json!({"includedNamespaces": ["x-*"], "includedResources": ["pods"]}),
    )
    .await;
    assert_eq!((done.entries, done.result.total), (1, 0));
}
