use std::collections::BTreeSet;

use serde_json::{Value, json};
use velero_core::CancellationToken;
use velero_core::result::{Record, Severity};
use velero_testkit::{ApiServer, Fault, FaultAction};

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
    for spec in [
        json!({"includedNamespaces": ["x-*"], "includedResources": ["pods"]}),
        json!({"includedNamespaces": ["x-*"]}),
    ] {
        let done = back_up(&server, spec).await;
        assert_eq!((done.entries, done.result.total), (1, 0));
    }
}

/// `Completed` as with the peer, but never without a word.
#[tokio::test]
async fn backups_that_select_nothing_say_so() {
    let server = world();
    seed(&server, namespace("empty", json!({})));
    let engine = engine(&server).await;
    let y = json!({"matchLabels": {"app": "y"}});
    let none = "nothing is in the backup: none is selected by ";
    let bare = "nothing but Namespace objects is in the backup: none is selected by ";
    for (spec, expected) in [
        (
            json!({"includedNamespaces": ["x-*"]}),
            vec![
                "includedNamespaces \"x-*\": no namespace of the cluster matches".to_owned(),
                format!("{none}includedNamespaces \"x-*\""),
            ],
        ),
        (
            json!({"includedNamespaces": ["x-*", "shop"], "includedResources": ["cm"]}),
            vec!["includedNamespaces \"x-*\": no namespace of the cluster matches".to_owned()],
        ),
        (
            json!({"includedNamespaces": ["shop"], "excludedNamespaces": ["s*"]}),
            vec![
                "no namespace of the cluster is left by includedNamespaces \"shop\", excludedNamespaces \"s*\"".to_owned(),
                format!("{none}includedNamespaces \"shop\", excludedNamespaces \"s*\""),
            ],
        ),
        (
            json!({"includedResources": ["unicorns"]}),
            vec![
                "includedResources \"unicorns\": the cluster serves no such resource".to_owned(),
                format!("{none}includedResources \"unicorns\""),
            ],
        ),
        (
            json!({"includedResources": ["cm", "unicorns", "*.nowhere.io"], "includedNamespaces": ["shop"]}),
            vec![
                "includedResources \"unicorns\": the cluster serves no such resource".to_owned(),
                "includedResources \"*.nowhere.io\": it matches no resource of the cluster that can be backed up".to_owned(),
            ],
        ),
        (
            json!({"labelSelector": y}),
            vec![format!("{none}labelSelector \"app=y\"")],
        ),
        (
            json!({"orLabelSelectors": [y, {"matchLabels": {"app": "z"}}], "includedResources": ["films", "books"]}),
            vec![format!(
                "{none}includedResources \"films\", \"books\", orLabelSelectors \"app=y or app=z\" (left out by label selector 1)"
            )],
        ),
        // The Namespace object of a namespace that is named is stored whatever its labels.
        (
            json!({"labelSelector": y, "includedNamespaces": ["shop"]}),
            vec![format!(
                "{bare}includedNamespaces \"shop\", labelSelector \"app=y\""
            )],
        ),
        (
            json!({"includedNamespaces": ["bank"], "includedResources": ["books"]}),
            vec![format!(
                "{none}includedNamespaces \"bank\", includedResources \"books\""
            )],
        ),
        // A namespace without the kind that is asked for, and one that is missing, which is an error of its own.
        (
            json!({"includedNamespaces": ["empty"], "includedNamespaceScopedResources": ["pods"]}),
            vec![],
        ),
        (
            json!({"includedNamespaces": ["gone"]}),
            vec![
                "the included namespace does not exist".to_owned(),
                format!("{none}includedNamespaces \"gone\""),
            ],
        ),
        (json!({"includedNamespaces": ["shop"]}), vec![]),
        (json!({"labelSelector": {"matchLabels": {"app": "x"}}}), vec![]),
    ] {
        let done = run_with(&engine, spec.clone()).await;
        let told = |records: &[Record]| -> Vec<String> {
            records.iter().map(|record| record.message.clone()).collect()
        };
        assert_eq!(told(&done.result.records), expected, "{spec}");
        let missing = spec["includedNamespaces"][0] == "gone";
        assert_eq!(done.result.errors(), usize::from(missing), "{spec}");
        // A dry run says the same.
        let request = engine.request(&backup(spec.clone())).await.unwrap();
        let dry = engine.dry_run(&request, &CancellationToken::new()).await;
        assert_eq!(told(&dry.unwrap().records), expected, "{spec}");
    }
    // What could not be read is no proof that there is nothing.
    let refused = Fault::new(FaultAction::Forbidden);
    server
        .faults()
        .add(refused.verb("list").resource("configmaps"));
    let done = run_with(&engine, json!({"includedResources": ["cm"]})).await;
    assert_eq!((done.result.errors(), done.result.warnings()), (1, 0));
}
