//! Which objects the policy `mirror` takes for those that the backup does not have.

use serde_json::{Value, json};
use velero_core::GroupResource;
use velero_restore::KindRead;
use velero_testkit::ApiServer;

use crate::common::*;
use crate::mirror::{backup, deletions, map, mirror, plan, whole};

fn labelled(mut object: Value, labels: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object
}

/// Three namespaces, of which the backup has two, and cluster-scoped objects.
fn world() -> Vec<Value> {
    let class = |name: &str| {
        let mut class = object("storage.k8s.io/v1", "StorageClass", "", name);
        class["provisioner"] = json!("example.com/disk");
        class
    };
    vec![
        object("v1", "Namespace", "", "shop"),
        object("v1", "Namespace", "", "bank"),
        object("v1", "Namespace", "", "new"),
        labelled(map("shop", "green"), json!({"team": "green"})),
        map("shop", "red"),
        labelled(
            map("shop", "hidden"),
            json!({"velero.io/exclude-from-backup": "true"}),
        ),
        map("bank", "blue"),
        map("new", "white"),
        object("v1", "Secret", "shop", "key"),
        class("fast"),
    ]
}

#[tokio::test]
async fn only_what_restore_and_backup_select_is_looked_at() {
    const SHOP: [&str; 2] = ["configmaps shop/green", "configmaps shop/red"];
    let secret = "secrets shop/key";
    let (blue, class) = ("configmaps bank/blue", "storageclasses.storage.k8s.io fast");
    for (restore, backed_up, expected) in [
        (
            json!({}),
            json!({}),
            [blue, SHOP[0], SHOP[1], secret, class].as_slice(),
        ),
        (
            json!({"includeClusterResources": false}),
            json!({}),
            &[blue, SHOP[0], SHOP[1], secret],
        ),
        (
            json!({"includedNamespaces": ["shop"]}),
            json!({}),
            &[SHOP[0], SHOP[1], secret],
        ),
        (
            json!({"includedNamespaces": ["shop"], "includeClusterResources": true}),
            json!({}),
            &[SHOP[0], SHOP[1], secret, class],
        ),
        (json!({"excludedNamespaces": ["shop"]}), json!({}), &[blue]),
        (
            json!({"includedResources": ["secrets"]}),
            json!({}),
            &[secret],
        ),
        (
            json!({"excludedResources": ["cm", "sc"]}),
            json!({}),
            &[secret],
        ),
        (
            json!({"labelSelector": {"matchLabels": {"team": "green"}}}),
            json!({}),
            &[SHOP[0]],
        ),
        // What the backup leaves out tells nothing.
        (
            json!({}),
            json!({"includedNamespaces": ["shop"]}),
            &[SHOP[0], SHOP[1], secret, class],
        ),
        (
            json!({}),
            json!({"labelSelector": {"matchLabels": {"team": "green"}}}),
            // What has that label now may not have had it then.
            &[],
        ),
        (
            json!({"includedResources": ["configmaps", "secrets"]}),
            json!({"labelSelector": {"matchLabels": {"team": "green"}}}),
            &[SHOP[0]],
        ),
        // A namespace that the backup does not have is looked at by name, and goes whole.
        (
            json!({"includedNamespaces": ["new", "bank"]}),
            json!({}),
            &[blue, "configmaps new/white", "namespaces new"],
        ),
        (json!({"includedNamespaces": ["n*"]}), json!({}), &[]),
        (
            json!({"includedNamespaces": ["new"], "includedResources": ["configmaps", "namespaces"]}),
            json!({}),
            &["configmaps new/white"],
        ),
        (
            json!({"includedNamespaces": ["new"]}),
            json!({"includedNamespaces": ["shop"]}),
            &[],
        ),
    ] {
        let server = ApiServer::new();
        world().into_iter().for_each(|object| {
            server.store().seed_value(object).unwrap();
        });
        let items = [namespace("shop"), namespace("bank")];
        let request = mirror(restore.clone()).backed_up(whole(backed_up.clone(), &catalog().await));
        let found = plan(&server, &items, &request).await;
        assert_eq!(
            deletions(&found),
            expected,
            "{restore} {backed_up} {:?}",
            found.notes
        );
    }
}

#[tokio::test]
async fn mapped_namespaces_are_looked_at_where_they_go() {
    let server = ApiServer::new();
    for object in [
        object("v1", "Namespace", "", "shop"),
        object("v1", "Namespace", "", "copy"),
        map("shop", "since"),
        map("copy", "of-shop"),
        map("copy", "of-bank"),
        map("copy", "since"),
    ] {
        server.store().seed_value(object).unwrap();
    }
    let items = [
        namespace("shop"),
        map("shop", "of-shop"),
        namespace("bank"),
        map("bank", "of-bank"),
    ];
    let request = mirror(json!({"namespaceMapping": {"shop": "copy", "bank": "copy"}}))
        .backed_up(whole(json!({}), &catalog().await));
    let found = plan(&server, &items, &request).await;
    assert_eq!(deletions(&found), ["configmaps copy/since"]);
}

#[tokio::test]
async fn what_is_in_the_archive_stays_whether_it_is_restored_or_not() {
    let server = ApiServer::new();
    let mut done = object("v1", "Pod", "shop", "done");
    done["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
    done["status"] = json!({"phase": "Succeeded"});
    let mut items = vec![
        namespace("shop"),
        done.clone(),
        labelled(map("shop", "other"), json!({"team": "red"})),
    ];
    server.store().seed_value(items[0].clone()).unwrap();
    server.store().seed_value(done).unwrap();
    server
        .store()
        .seed_value(labelled(map("shop", "other"), json!({"team": "green"})))
        .unwrap();
    // An entry that cannot be read was something.
    items.push(map("shop", "broken"));
    let mut writer =
        velero_core::archive::ArchiveWriter::new(Vec::new(), Default::default()).unwrap();
    for item in &items {
        let json = match item["metadata"]["name"] == "broken" {
            true => "[]".to_owned(),
            false => item.to_string(),
        };
        add(&mut writer, &path_of(item), json.as_bytes());
    }
    server.store().seed_value(map("shop", "broken")).unwrap();
    let request = mirror(json!({"labelSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]}}))
        .backed_up(whole(json!({}), &catalog().await));
    let found = crate::verify::look(
        &server,
        &engine(&server).await,
        writer.finish().unwrap(),
        &request,
    )
    .await;
    assert_eq!(deletions(&found), Vec::<String>::new());
}

#[tokio::test]
async fn kinds_that_the_backup_may_not_have_read_are_left_alone() {
    use KindRead::{ByLabels, Not, Partly, Whole};
    let gr = GroupResource::core;
    let told = |maps, secrets| vec![(gr("configmaps"), maps), (gr("secrets"), secrets)];
    let (red, key) = ("configmaps shop/red", "secrets shop/key");
    let both = || json!({"includedResources": ["configmap*", "secret*"]});
    for (restore, kinds, expected, note) in [
        // The archive has a ConfigMap.
        (both(), None, &[red][..], "secrets"),
        (
            json!({"includedResources": ["cm", "secret"]}),
            None,
            &[red, key],
            "",
        ),
        (
            json!({"includedResources": ["cm", "sec*"]}),
            None,
            &[red],
            "secrets",
        ),
        (both(), Some(told(Whole, Whole)), &[red, key], ""),
        (
            both(),
            Some(told(Whole, Partly)),
            &[red],
            "nothing is deleted of secrets,",
        ),
        (
            both(),
            Some(told(Partly, Whole)),
            &[key],
            "nothing is deleted of configmaps,",
        ),
        (both(), Some(told(Not, Whole)), &[key], ""),
        // A Secret that was left out by its label may have lost that since.
        (
            both(),
            Some(told(Whole, ByLabels)),
            &[red],
            "nothing is deleted of secrets,",
        ),
        (
            json!({"includedResources": ["cm", "secret"]}),
            Some(told(Whole, ByLabels)),
            &[red, key],
            "",
        ),
        (
            json!({"includedResources": ["cm", "secret"]}),
            Some(told(Whole, Partly)),
            &[red],
            "nothing is deleted of secrets,",
        ),
        // It tells of other kinds alone.
        (
            both(),
            Some(vec![(gr("configmaps"), Whole)]),
            &[red],
            "nothing is deleted of secrets,",
        ),
        (both(), Some(vec![(gr("*"), Partly)]), &[], "configmaps"),
    ] {
        let server = ApiServer::new();
        for object in [
            object("v1", "Namespace", "", "shop"),
            map("shop", "green"),
            map("shop", "red"),
            object("v1", "Secret", "shop", "key"),
        ] {
            server.store().seed_value(object).unwrap();
        }
        let mut backed_up = backup(json!({}));
        if let Some(kinds) = kinds {
            backed_up = backed_up.kinds(kinds);
        }
        let items = [namespace("shop"), map("shop", "green")];
        let found = plan(
            &server,
            &items,
            &mirror(restore.clone()).backed_up(backed_up),
        )
        .await;
        assert_eq!(deletions(&found), expected, "{restore} {note}");
        let notes = found.notes.join("\n");
        assert!(
            notes.is_empty() == note.is_empty() && notes.contains(note),
            "{notes}"
        );
    }
}

#[tokio::test]
async fn volumes_go_with_their_claims() {
    let server = ApiServer::new();
    let claim = |name: &str| {
        let mut claim = object("v1", "PersistentVolumeClaim", "shop", name);
        claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": format!("pv-{name}")});
        claim
    };
    let volume = |name: &str, phase: &str| {
        let mut volume = object("v1", "PersistentVolume", "", &format!("pv-{name}"));
        volume["spec"] = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"},
            "persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "shop", "name": name}});
        volume["status"] = json!({"phase": phase});
        volume
    };
    let items = [namespace("shop"), claim("kept")];
    for object in [
        items[0].clone(),
        claim("kept"),
        volume("kept", "Bound"),
        claim("since"),
        volume("since", "Bound"),
        volume("released", "Released"),
    ] {
        server.store().seed_value(object).unwrap();
    }
    let request = mirror(json!({})).backed_up(whole(json!({}), &catalog().await));
    let found = plan(&server, &items, &request).await;
    let expected = [
        "persistentvolumeclaims shop/since",
        "persistentvolumes pv-released",
        "persistentvolumes pv-since",
    ];
    assert_eq!(deletions(&found), expected);
    assert!(
        found
            .said("persistentvolumeclaims shop/since")
            .1
            .contains("data")
    );
    let (said, why) = found.said("persistentvolumes pv-kept");
    assert!(
        said == "excluded" && why.contains("claim shop/kept"),
        "{said} {why}"
    );
}

#[tokio::test]
async fn a_definition_goes_only_when_nothing_of_its_kind_stays() {
    let definition = |plural: &str, kind: &str| {
        let mut crd = object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "",
            &format!("{plural}.library.example.com"),
        );
        crd["spec"] = json!({"group": "library.example.com", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]});
        crd
    };
    let place = |plural: &str| {
        format!("customresourcedefinitions.apiextensions.k8s.io {plural}.library.example.com")
    };
    let server = ApiServer::new();
    for object in [
        object("v1", "Namespace", "", "shop"),
        object("v1", "Namespace", "", "new"),
        definition("books", "Book"),
        definition("films", "Film"),
    ] {
        server.store().seed_value(object).unwrap();
    }
    for object in [
        object("library.example.com/v1", "Book", "shop", "since"),
        object("library.example.com/v1", "Film", "shop", "since"),
        // In a namespace that the backup does not have.
        object("library.example.com/v1", "Film", "new", "since"),
    ] {
        server.store().seed_value(object).unwrap();
    }
    let request = mirror(json!({})).backed_up(whole(json!({}), &catalog().await));
    // In another cluster nobody knows what these kinds are there for.
    let found = plan(&server, &[namespace("shop")], &request).await;
    assert_eq!(deletions(&found), Vec::<String>::new());
    let notes = found.notes.join("\n");
    assert!(notes.contains("books.library.example.com"), "{notes}");

    let shop = server.store().get("v1", "Namespace", None, "shop").unwrap();
    let found = plan(&server, &[shop], &request).await;
    let expected = [
        "films.library.example.com shop/since".to_owned(),
        "books.library.example.com shop/since".to_owned(),
        place("books"),
    ];
    assert_eq!(deletions(&found), expected);
    let films = place("films");
    let (said, why) = found.said(&films);
    assert!(
        said == "excluded" && why.contains("films.library.example.com stay"),
        "{said} {why}"
    );
}

#[tokio::test]
async fn what_belongs_to_others_is_left_to_them() {
    let server = ApiServer::new();
    let mut token = object("v1", "Secret", "shop", "token");
    token["type"] = json!("kubernetes.io/service-account-token");
    token["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": "default"});
    let mut service = object("v1", "Service", "shop", "web");
    service["spec"] = json!({"ports": [{"port": 80}], "selector": {"app": "web"}});
    for object in [
        object("v1", "Namespace", "", "shop"),
        token,
        service.clone(),
        object("v1", "Endpoints", "shop", "web"),
        object("v1", "Endpoints", "shop", "lone"),
    ] {
        server.store().seed_value(object).unwrap();
    }
    let request = mirror(json!({})).backed_up(whole(json!({}), &catalog().await));
    let found = plan(&server, &[namespace("shop"), service], &request).await;
    assert_eq!(deletions(&found), ["endpoints shop/lone"]);
    for (place, why) in [
        ("secrets shop/token", "ServiceAccount decides"),
        ("endpoints shop/web", "Service decides"),
        ("serviceaccounts shop/default", "provided"),
    ] {
        let (said, reason) = found.said(place);
        assert!(
            said == "excluded" && reason.contains(why),
            "{place} {said} {reason}"
        );
    }
}
