//! Names, lists and scope rules as users write them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use velero_backup::{BackupEngine, BackupOptions, Error};
use velero_core::archive::{ArchiveReader, EntryKind};
use velero_core::result::Severity;
use velero_testkit::ApiServer;

use crate::support::*;

/// How many objects of each kind a backup stores, without those that the server makes for every namespace.
fn stored(done: &Done) -> BTreeMap<&str, usize> {
    let mut out = BTreeMap::new();
    for path in &done.order {
        let made = path.ends_with("/kube-root-ca.crt") || path.ends_with("/default");
        if let Some((kind, _)) = path.split_once('/').filter(|_| !made) {
            *out.entry(kind).or_default() += 1;
        }
    }
    out
}

#[tokio::test]
async fn kinds_by_any_of_their_names() {
    let server = world();
    for (names, kinds) in [
        (
            &[
                "cm",
                "configmap",
                "configmaps",
                "ConfigMap",
                "ConfigMaps",
                "CONFIGMAPS",
                "config*",
                "*maps",
                "{cm,configmaps}",
                "configmap[s]",
            ][..],
            &["configmaps"][..],
        ),
        (
            &[
                "book",
                "books",
                "Book",
                "books.example.com",
                "book.example.com",
                "book.example",
                "books.exam",
                "*.example.com",
            ],
            &["books.example.com"],
        ),
        (
            &["sa", "serviceaccount", "ServiceAccounts"],
            &["serviceaccounts"],
        ),
        (
            &[
                "unicorns",
                "configmaps.example.com",
                "cm.v1",
                "configmaps/status",
                "[",
                "books.other.com",
            ],
            &[],
        ),
    ] {
        for name in names {
            for spec in [
                json!({"includedResources": [name], "includedNamespaces": ["shop"]}),
                json!({"includedNamespaceScopedResources": [name], "excludedClusterScopedResources": ["*"], "includedNamespaces": ["shop"]}),
            ] {
                let done = back_up(&server, spec.clone()).await;
                let found: Vec<&str> = stored(&done).into_keys().collect();
                assert_eq!(found, kinds, "{spec}");
            }
        }
    }
    // An excluded kind by any name, too.
    for name in ["cm", "ConfigMap", "configmaps", "config*"] {
        let done = back_up(&server, json!({"excludedResources": [name]})).await;
        let found = stored(&done);
        assert!(
            !found.contains_key("configmaps") && found.contains_key("pods"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn lists_without_effect_are_warnings() {
    let server = world();
    for (spec, warnings) in [
        (json!({"includedResources": ["cm", "unicorns"]}), 1),
        (
            json!({"excludedResources": ["unicorns", "pods", "*.nowhere.io"]}),
            2,
        ),
        (
            json!({"excludedClusterScopedResources": ["unicorns"], "excludedNamespaceScopedResources": ["secretz"]}),
            2,
        ),
        (json!({"excludedNamespaces": ["gone", "bank", "x-*"]}), 2),
        (
            json!({"includedNamespaceScopedResources": ["po"], "excludedNamespaceScopedResources": ["pods"],
                "includedNamespaces": ["shop"]}),
            1,
        ),
        (
            json!({"orLabelSelectors": [{"matchLabels": {"app": "x"}}, {}]}),
            1,
        ),
        // The pattern, and that nothing is in the backup.
        (json!({"includedResources": ["a[", "cm"]}), 2),
        (json!({"includedNamespaceScopedResources": ["pv"]}), 1),
        (
            json!({"includedClusterScopedResources": ["pods"], "excludedNamespaceScopedResources": ["nodes"]}),
            2,
        ),
        // A missing namespace is an error where Namespace objects are stored.
        (
            json!({"includedNamespaces": ["shop", "gone"], "includedResources": ["cm"]}),
            1,
        ),
    ] {
        let done = back_up(&server, spec.clone()).await;
        assert_eq!(
            (done.result.warnings(), done.result.errors()),
            (warnings, 0),
            "{spec} {:?}",
            done.lines()
        );
    }
    // A kind of the other scope goes from its list, which then takes everything.
    let done = back_up(&server, json!({"includedNamespaceScopedResources": ["pv"]})).await;
    assert!(stored(&done).contains_key("configmaps"));
    // A glob that cannot be read hides the names sorted after it.
    let done = back_up(&server, json!({"includedResources": ["a[", "cm"]})).await;
    assert!(stored(&done).is_empty());
    let done = back_up(&server, json!({"includedResources": ["z[", "cm"]})).await;
    assert!(stored(&done).contains_key("configmaps"));
}

#[tokio::test]
async fn a_namespace_that_hides_itself_is_no_filter() {
    let server = world();
    seed(
        &server,
        namespace("hidden", json!({"velero.io/exclude-from-backup": "true"})),
    );
    seed(&server, map("hidden", "m", json!({})));
    let whole = |done: &Done| done.has("clusterroles.rbac.authorization.k8s.io/cluster/unused");
    for (spec, expected) in [
        (json!({}), true),
        (json!({"includedNamespaces": ["*"]}), true),
        // As a controller leaves it behind.
        (
            json!({"includedNamespaces": ["*"], "excludedNamespaces": ["hidden"],
                "excludedClusterScopedResources": ["volumesnapshotcontents.snapshot.storage.k8s.io"],
                "excludedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io"]}),
            true,
        ),
        (json!({"excludedNamespaces": ["bank"]}), false),
        // With the old family it does make the namespaces less than all, as in the peer.
        (json!({"includedResources": ["*"]}), false),
    ] {
        let done = back_up(&server, spec.clone()).await;
        assert_eq!(whole(&done), expected, "{spec}");
        assert!(
            !done.has("namespaces/cluster/hidden") && !done.has("configmaps/namespaces/hidden/m"),
            "{spec}"
        );
    }
}

#[tokio::test]
async fn empty_selectors_choose_everything() {
    let server = world();
    let whole = back_up(&server, json!({})).await;
    for spec in [
        json!({"labelSelector": {}}),
        json!({"labelSelector": {"matchLabels": {}}}),
        json!({"orLabelSelectors": []}),
        json!({"orLabelSelectors": [{}]}),
    ] {
        let done = back_up(&server, spec.clone()).await;
        assert!(done.archive == whole.archive, "{spec}");
    }
}

#[tokio::test]
async fn snapshots_are_left_to_actions_and_nothing_else_is() {
    let server = world();
    let group = "snapshot.storage.k8s.io";
    seed(
        &server,
        definition("volumesnapshots", "VolumeSnapshot", group),
    );
    let mut contents = definition("volumesnapshotcontents", "VolumeSnapshotContent", group);
    contents["spec"]["scope"] = "Cluster".into();
    seed(&server, contents);
    let api = "snapshot.storage.k8s.io/v1";
    seed(
        &server,
        object(api, "VolumeSnapshot", "shop", "s", json!({})),
    );
    seed(
        &server,
        object(api, "VolumeSnapshotContent", "", "c", json!({})),
    );
    seed(&server, namespace("velero", json!({})));
    seed(&server, object("v1", "Event", "velero", "e", json!({})));
    for (spec, rest) in [
        (json!({}), true),
        (
            json!({"includedResources": ["*"], "includeClusterResources": true}),
            true,
        ),
        (json!({"includedClusterScopedResources": ["*"]}), true),
        (json!({"includedResources": ["volumesnapshot"]}), false),
        // Written as controllers exclude it, it goes, and an empty list takes everything.
        (
            json!({"includedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io"]}),
            true,
        ),
    ] {
        let done = back_up(&server, spec.clone()).await;
        let found = stored(&done);
        assert!(
            !found.keys().any(|kind| kind.contains("volumesnapshot")),
            "{spec} {found:?}"
        );
        // Events, and what lies in the namespace that backups are made from, are like everything else.
        assert_eq!(done.has("events/namespaces/velero/e"), rest, "{spec}");
    }
}

#[tokio::test]
async fn kinds_that_are_served_from_two_groups() {
    let server = world();
    for (plural, kind, group) in [
        ("deployments", "Deployment", "extensions"),
        ("deployments", "Deployment", "example.com"),
    ] {
        seed(&server, definition(plural, kind, group));
        let api = format!("{group}/v1");
        seed(&server, object(&api, kind, "shop", "d", json!({})));
    }
    let engine = engine(&server).await;
    for (spec, expected) in [
        (json!({}), &["deployments.example.com"][..]),
        (
            json!({"includedResources": ["deployments.extensions"]}),
            &["deployments.extensions"],
        ),
        (
            json!({"includedResources": ["deployments.*"]}),
            &["deployments.example.com"],
        ),
    ] {
        // The second run knows nothing of the first.
        for _ in 0..2 {
            let done = run_with(&engine, spec.clone()).await;
            let found: Vec<&str> = stored(&done)
                .into_keys()
                .filter(|kind| kind.starts_with("deployments"))
                .collect();
            assert_eq!(found, expected, "{spec}");
        }
    }
}

#[tokio::test]
async fn every_version_on_demand() {
    let server = ApiServer::new();
    let mut books = definition("books", "Book", "example.com");
    let mut older = books["spec"]["versions"][0].clone();
    older["name"] = "v1beta1".into();
    older["storage"] = false.into();
    books["spec"]["versions"]
        .as_array_mut()
        .unwrap()
        .push(older);
    seed(&server, books);
    seed(&server, namespace("shop", json!({})));
    seed(
        &server,
        object("example.com/v1", "Book", "shop", "b", json!({})),
    );
    for (all, expected) in [
        (
            false,
            &[
                "books.example.com/namespaces/shop/b.json",
                "books.example.com/v1-preferredversion/namespaces/shop/b.json",
            ][..],
        ),
        (
            true,
            &[
                "books.example.com/namespaces/shop/b.json",
                "books.example.com/v1-preferredversion/namespaces/shop/b.json",
                "books.example.com/v1beta1/namespaces/shop/b.json",
            ],
        ),
    ] {
        let options = BackupOptions::default().all_api_versions(all);
        let engine = BackupEngine::new(connect(&server).await).options(options);
        let request = engine.request(&backup(json!({}))).await.unwrap();
        let kept = Kept::default();
        let result = engine.run(&request, kept.clone(), run()).await.unwrap();
        assert!(result.records.is_empty(), "{:?}", result.records);
        let mut found = BTreeMap::new();
        ArchiveReader::new(kept.bytes().as_slice())
            .for_each(|kind, data| {
                if let EntryKind::Item(path) = kind
                    && path.to_string().contains("books.example.com/")
                    && !path.to_string().contains("customresourcedefinitions")
                {
                    let item: Value = serde_json::from_slice(&data).unwrap();
                    let path = path.to_string().trim_start_matches("resources/").to_owned();
                    found.insert(path, item["apiVersion"].as_str().unwrap().to_owned());
                }
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!(
            found.keys().map(String::as_str).collect::<Vec<_>>(),
            expected
        );
        assert_eq!(
            found
                .get("books.example.com/v1beta1/namespaces/shop/b.json")
                .is_some_and(|v| v == "example.com/v1beta1"),
            all
        );
        let versions = result
            .coverage
            .kinds
            .iter()
            .filter(|kind| kind.resource.group == "example.com");
        assert_eq!(
            versions.map(|kind| kind.stored).sum::<u64>(),
            if all { 2 } else { 1 }
        );
    }
}

#[tokio::test]
async fn a_namespace_with_content_that_stays_out_is_stored() {
    let server = world();
    for (name, labels) in [
        (
            "quiet",
            json!({"app": "x", "velero.io/exclude-from-backup": "true"}),
        ),
        ("empty", json!({"app": "y"})),
    ] {
        seed(&server, namespace(name, json!({})));
        seed(&server, map(name, "m", labels));
    }
    let done = back_up(
        &server,
        json!({"labelSelector": {"matchLabels": {"app": "x"}}}),
    )
    .await;
    assert!(done.has("namespaces/cluster/quiet") && !done.has("configmaps/namespaces/quiet/m"));
    assert!(!done.has("namespaces/cluster/empty") && !done.has("namespaces/cluster/default"));
}

#[tokio::test]
async fn every_fault_of_a_spec_is_told() {
    let server = world();
    seed(
        &server,
        namespace("hidden", json!({"velero.io/exclude-from-backup": "true"})),
    );
    let engine = engine(&server).await;
    let x = json!({"matchLabels": {"a": "b"}});
    for (spec, expected) in [
        (json!({}), &[][..]),
        (
            json!({"includedNamespaces": ["*"], "excludedNamespaces": ["hidden"]}),
            &[],
        ),
        (json!({"includedNamespaces": ["nowhere", ""]}), &[]),
        // Old and new lists together; the switch of the old family counts when it is set at all.
        (
            json!({"includedResources": ["pods"], "includedClusterScopedResources": ["pv"]}),
            &["cannot be used together"],
        ),
        (
            json!({"includeClusterResources": false, "excludedNamespaceScopedResources": ["pods"]}),
            &["cannot be used together"],
        ),
        // Old lists.
        (
            json!({"includedResources": ["*", "pods"]}),
            &["\"*\" must stand alone"],
        ),
        (
            json!({"excludedResources": ["*"]}),
            &["would leave nothing"],
        ),
        (
            json!({"includedResources": ["pods"], "excludedResources": ["pods"]}),
            &["both included and excluded"],
        ),
        // New lists, each scope.
        (
            json!({"includedClusterScopedResources": ["*", "pv"]}),
            &["included cluster-scoped resources: \"*\""],
        ),
        (
            json!({"excludedClusterScopedResources": ["*", "pv"]}),
            &["excluded cluster-scoped resources: \"*\""],
        ),
        (
            json!({"includedClusterScopedResources": ["pv"], "excludedClusterScopedResources": ["*"]}),
            &["nothing can be included"],
        ),
        (
            json!({"includedClusterScopedResources": ["pv"], "excludedClusterScopedResources": ["pv"]}),
            &["both included and excluded"],
        ),
        (
            json!({"includedNamespaceScopedResources": ["*", "cm"]}),
            &["included namespace-scoped resources: \"*\""],
        ),
        (
            json!({"excludedNamespaceScopedResources": ["*", "cm"]}),
            &["excluded namespace-scoped resources: \"*\""],
        ),
        (
            json!({"includedNamespaceScopedResources": ["cm"], "excludedNamespaceScopedResources": ["*"]}),
            &["nothing can be included"],
        ),
        (
            json!({"includedNamespaceScopedResources": ["cm"], "excludedNamespaceScopedResources": ["cm"]}),
            &["both included and excluded"],
        ),
        // Namespaces.
        (
            json!({"includedNamespaces": ["*", "shop"]}),
            &["\"*\" must stand alone"],
        ),
        (
            json!({"excludedNamespaces": ["*"]}),
            &["would leave nothing"],
        ),
        (
            json!({"includedNamespaces": ["shop"], "excludedNamespaces": ["shop"]}),
            &["both included and excluded"],
        ),
        (
            json!({"includedNamespaces": ["Shop"], "excludedNamespaces": ["a/b"]}),
            &[
                "\"Shop\" is no namespace name",
                "\"a/b\" is no namespace name",
            ],
        ),
        (
            json!({"includedNamespaces": ["a**"]}),
            &["\"a**\" has \"**\""],
        ),
        (
            json!({"includedNamespaces": ["a[]", "b[c", "d]"]}),
            &["brackets", "brackets", "brackets"],
        ),
        (
            json!({"includedNamespaces": ["{a,b}"]}),
            &["a character that patterns may not have"],
        ),
        (
            json!({"includedNamespaces": ["[b-a]"]}),
            &["neither a list"],
        ),
        (
            json!({"includedNamespaces": ["hidden"]}),
            &["its label velero.io/exclude-from-backup=true keeps it out"],
        ),
        // As a controller leaves it behind: one fault all the same.
        (
            json!({"includedNamespaces": ["hidden"], "excludedNamespaces": ["hidden"]}),
            &["its label"],
        ),
        // Selectors.
        (
            json!({"labelSelector": x, "orLabelSelectors": [x]}),
            &["exclude each other"],
        ),
        (json!({"labelSelector": x, "orLabelSelectors": []}), &[]),
        (
            json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
            &["Near"],
        ),
        // All of them at once.
        (
            json!({"includedNamespaces": ["*", "A"], "includedResources": ["*", "pods"], "excludedNamespaceScopedResources": ["*", "cm"],
                "labelSelector": x, "orLabelSelectors": [x]}),
            &[
                "cannot be used together",
                "resources: \"*\"",
                "namespace-scoped resources: \"*\"",
                "namespaces: \"*\"",
                "\"A\" is no",
                "exclude each other",
            ],
        ),
    ] {
        let faults = match engine.request(&backup(spec.clone())).await {
            Ok(_) => Vec::new(),
            Err(Error::Invalid { faults }) => faults,
            Err(error) => panic!("{spec}: {error}"),
        };
        assert_eq!(faults.len(), expected.len(), "{spec}: {faults:#?}");
        for (fault, part) in faults.iter().zip(expected) {
            assert!(fault.contains(part), "{spec}: {fault} / {part}");
        }
    }
}

#[tokio::test]
async fn namespaces_under_argo_cd_are_one_warning() {
    let server = world();
    for name in ["argo-1", "argo-2"] {
        seed(
            &server,
            namespace(name, json!({"argocd.argoproj.io/managed-by": "argocd"})),
        );
    }
    seed(
        &server,
        namespace("argo-3", json!({"argocd.argoproj.io/managed-by": ""})),
    );
    for (spec, names) in [
        (json!({}), Some("argo-1, argo-2")),
        (
            json!({"includedNamespaces": ["argo-2", "argo-3"]}),
            Some("argo-2"),
        ),
        (json!({"includedNamespaces": ["shop"]}), None),
    ] {
        let done = back_up(&server, spec.clone()).await;
        let told: Vec<&str> = done
            .result
            .records
            .iter()
            .filter(|r| r.severity == Severity::Warning)
            .map(|r| r.message.rsplit(": ").next().unwrap())
            .collect();
        assert_eq!(told, names.into_iter().collect::<Vec<_>>(), "{spec}");
    }
}
