use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use velero_core::action::{
    ActionContext, ActionError, ClusterReader, RestoreInput, RestoreItemAction, RestoreOutcome,
};
use velero_core::api::Restore;
use velero_core::{
    CancellationToken, Catalog, GroupResource, ItemTree, ResourceIdentifier, Selector, Timestamp,
};

use super::*;

/// A cluster that holds ServiceAccounts by namespace and name.
struct Accounts(Vec<(&'static str, &'static str)>, Catalog);

#[async_trait]
impl ClusterReader for Accounts {
    async fn get(&self, id: &ResourceIdentifier) -> Result<Option<ItemTree>, ActionError> {
        let found = id.group_resource.is("storage.k8s.io", "storageclasses") && id.name == "fast";
        Ok(found.then(|| ItemTree::new(json!({"metadata": {"name": "fast"}})).unwrap()))
    }

    async fn list(
        &self,
        _: &GroupResource,
        namespace: &str,
        _: &Selector,
    ) -> Result<Vec<ItemTree>, ActionError> {
        let found = self.0.iter().filter(|(ns, _)| *ns == namespace);
        Ok(found
            .map(|(_, name)| ItemTree::new(json!({"metadata": {"name": name}})).unwrap())
            .collect())
    }

    fn catalog(&self) -> &Catalog {
        &self.1
    }
}

fn run(action: &dyn RestoreItemAction, spec: Value, item: Value) -> RestoreOutcome {
    try_run(action, spec, item).unwrap()
}

fn try_run(
    action: &dyn RestoreItemAction,
    spec: Value,
    item: Value,
) -> Result<RestoreOutcome, ActionError> {
    let restore: Restore =
        serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": spec})).unwrap();
    let cluster = Accounts(
        vec![("shop", "runner"), ("copy", "other")],
        Catalog::default(),
    );
    let cancel = CancellationToken::new();
    let cx = ActionContext {
        run: &restore,
        now: Timestamp::UNIX_EPOCH,
        cancel: &cancel,
        cluster: &cluster,
    };
    let item = ItemTree::new(item).unwrap();
    let input = RestoreInput {
        archived: Arc::new(item.clone()),
        item,
    };
    futures::executor::block_on(action.execute(input, &cx))
}

#[track_caller]
fn check(action: &dyn RestoreItemAction, item: Value, expected: Value) {
    assert_eq!(run(action, json!({}), item).item.as_value(), &expected);
}

fn additional(outcome: &RestoreOutcome) -> Vec<String> {
    outcome
        .additional_items
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn names_are_sorted() {
    let mut config = ActionConfig::default();
    config.storage_classes.insert("a".into(), "b".into());
    config.images = changes(&[("a", "b")]);
    for (actions, count) in [
        (built_in(), 13),
        (configured(&config, InitRestoreHook::default()), 15),
    ] {
        let names: Vec<String> = actions.iter().map(|a| a.name().to_owned()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert_eq!(names.len(), count);
    }
}

fn changes(pairs: &[(&str, &str)]) -> Vec<ImageChange> {
    let change = |(old, new): &(&str, &str)| ImageChange {
        old: (*old).to_owned(),
        new: (*new).to_owned(),
    };
    pairs.iter().map(change).collect()
}

#[test]
fn images_get_other_names() {
    for (pairs, image, expected) in [
        (
            &[("1.1.1.1:5000", "2.2.2.2:3000")][..],
            "1.1.1.1:5000/abc:test",
            "2.2.2.2:3000/abc:test",
        ),
        (
            &[("abc", "myproject")],
            "1.1.1.1:5000/abc:test",
            "1.1.1.1:5000/myproject:test",
        ),
        (&[("a", "b")], "a.io/a/a:a", "b.io/b/b:b"),
        (&[("x", "1"), ("a", "2"), ("a.io", "3")], "a.io/c", "2.io/c"),
        (&[("nope", "1")], "a.io/c", "a.io/c"),
        (&[("", "1")], "a.io/c", "a.io/c"),
    ] {
        let action = ChangeImageName::new(changes(pairs));
        let pods = |image: &str| {
            json!({"containers": [{"name": "a", "image": image}, {"name": "none"}, "odd"], "initContainers": [{"image": image}],
                "ephemeralContainers": [{"image": "a.io/c"}]})
        };
        let item = |kind: &str, image: &str| match kind {
            "Pod" => json!({"kind": kind, "spec": pods(image)}),
            "CronJob" => {
                json!({"kind": kind, "spec": {"jobTemplate": {"spec": {"template": {"spec": pods(image)}}}}})
            }
            _ => json!({"kind": kind, "spec": {"template": {"spec": pods(image)}}}),
        };
        for kind in [
            "Pod",
            "Deployment",
            "ReplicationController",
            "Job",
            "CronJob",
        ] {
            check(&action, item(kind, image), item(kind, expected));
        }
        check(&action, json!({"kind": "Pod"}), json!({"kind": "Pod"}));
    }
}

#[test]
fn storage_classes_get_other_names() {
    let classes = [("old", "fast"), ("bad", "missing")];
    let classes = classes.map(|(old, new)| (old.to_owned(), new.to_owned()));
    let action = ChangeStorageClass::new(classes.into());
    let claim = |class: Value| json!({"kind": "PersistentVolumeClaim", "spec": {"storageClassName": class}});
    let set = |class: Value| json!({"kind": "StatefulSet", "spec": {"volumeClaimTemplates": [claim(class), {"spec": {}}], "storageClassName": "old"}});
    let volume =
        |class: Value| json!({"kind": "PersistentVolume", "spec": {"storageClassName": class}});
    for (old, new) in [
        ("old", "fast"),
        ("other", "other"),
        ("", ""),
        ("fast", "fast"),
    ] {
        check(&action, claim(json!(old)), claim(json!(new)));
        check(&action, volume(json!(old)), volume(json!(new)));
        check(&action, set(json!(old)), set(json!(new)));
    }
    check(&action, claim(Value::Null), claim(Value::Null));
    check(
        &action,
        json!({"kind": "StatefulSet"}),
        json!({"kind": "StatefulSet"}),
    );
    for item in [claim(json!("bad")), volume(json!("bad")), set(json!("bad"))] {
        let error = try_run(&action, json!({}), item).unwrap_err();
        assert_eq!(
            error.to_string(),
            "storage class \"missing\", which takes the place of \"bad\", is not in the cluster"
        );
    }
}

fn init_hook(resources: Value) -> InitRestoreHook {
    InitRestoreHook::compile(&serde_json::from_value(json!({"resources": resources})).unwrap())
        .unwrap()
}

fn init_names(outcome: &RestoreOutcome) -> Vec<String> {
    let containers = outcome.item.array_at("/spec/initContainers").iter();
    containers
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn init_containers_of_a_spec() {
    let container =
        |name: &str| json!({"name": name, "image": "i", "command": ["c"], "env": [{"name": "e"}]});
    let step = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| container(name)).collect();
        json!({"init": {"initContainers": containers}})
    };
    let hook = init_hook(json!([
        {"name": "all", "postHooks": [step(&["a", "b"]), {}, step(&["c"])]},
        {"name": "shop", "includedNamespaces": ["shop"], "postHooks": [step(&["shop"])]},
        {"name": "copy", "includedNamespaces": ["copy"], "postHooks": [step(&["copy"])]},
        {"name": "not-copy", "excludedNamespaces": ["co*"], "postHooks": [step(&["not-copy"])]},
        {"name": "labels", "labelSelector": {"matchLabels": {"app": "web"}}, "postHooks": [step(&["web"])]},
    ]));
    let pod = |labels: Value, there: Value| {
        json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": "p", "labels": labels},
            "spec": {"containers": [], "initContainers": there}})
    };
    let mapped = json!({"namespaceMapping": {"shop": "copy"}});
    let front = |name: &str| json!([{"name": name}, {"name": "own"}]);
    for (spec, labels, there, expected) in [
        (
            json!({}),
            json!({}),
            json!([]),
            &["a", "b", "c", "shop", "not-copy"][..],
        ),
        // A mapped namespace is meant by its new name.
        (
            mapped.clone(),
            json!({}),
            json!([]),
            &["a", "b", "c", "copy"],
        ),
        (
            mapped.clone(),
            json!({"app": "web"}),
            json!([{"name": "own"}]),
            &["a", "b", "c", "copy", "web", "own"],
        ),
        // Whoever waits for volumes stays in front, but only from there.
        (
            mapped.clone(),
            json!({}),
            front("restore-wait"),
            &["restore-wait", "a", "b", "c", "copy", "own"],
        ),
        (
            mapped.clone(),
            json!({}),
            front("restic-wait"),
            &["restic-wait", "a", "b", "c", "copy", "own"],
        ),
        (
            mapped.clone(),
            json!({}),
            json!([{"name": "own"}, {"name": "restore-wait"}]),
            &["a", "b", "c", "copy", "own", "restore-wait"],
        ),
        // What an earlier restore has put there is not there twice.
        (
            mapped,
            json!({}),
            front("b"),
            &["a", "b", "c", "copy", "own"],
        ),
    ] {
        let outcome = run(&hook, spec.clone(), pod(labels, there.clone()));
        assert_eq!(init_names(&outcome), expected, "{spec} {there}");
        let added = outcome.item.at("/spec/initContainers").unwrap();
        let added = added
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["name"] == json!("a"));
        assert_eq!(added, Some(&container("a")), "nothing of it is lost");
    }
    let unchanged = json!({"kind": "Pod", "metadata": {"namespace": "x", "name": "p"}, "spec": {"containers": []}});
    check(&init_hook(json!([])), unchanged.clone(), unchanged);
}

#[test]
fn init_containers_of_annotations() {
    const IMAGE: &str = "init.hook.restore.velero.io/container-image";
    const NAME: &str = "init.hook.restore.velero.io/container-name";
    const COMMAND: &str = "init.hook.restore.velero.io/command";
    let hook = init_hook(
        json!([{"name": "all", "postHooks": [{"init": {"initContainers": [{"name": "spec", "image": "i", "command": ["c"]}]}}]}]),
    );
    let first = |annotations: Value| {
        let pod = json!({"kind": "Pod", "metadata": {"namespace": "x", "name": "p", "annotations": annotations}, "spec": {"containers": []}});
        let outcome = run(&hook, json!({}), pod);
        assert_eq!(
            init_names(&outcome).len(),
            1,
            "annotations replace the spec"
        );
        outcome.item.at("/spec/initContainers/0").unwrap().clone()
    };
    for (annotations, expected) in [
        (
            json!({IMAGE: "busybox", NAME: "n", COMMAND: "[\"/bin/sh\", \"-c\"]"}),
            json!({"image": "busybox", "name": "n", "command": ["/bin/sh", "-c"]}),
        ),
        (
            json!({IMAGE: "busybox", NAME: "n", COMMAND: "/usr/bin/foo --x"}),
            json!({"image": "busybox", "name": "n", "command": ["/usr/bin/foo --x"]}),
        ),
        (
            json!({IMAGE: "busybox", NAME: "n", COMMAND: "[\"broken\", "}),
            json!({"image": "busybox", "name": "n", "command": ["[\"broken\", "]}),
        ),
        // Without a command, which the peer panics about, the image's own one runs.
        (
            json!({IMAGE: "busybox", NAME: "n"}),
            json!({"image": "busybox", "name": "n"}),
        ),
        (
            json!({IMAGE: "busybox", NAME: "n", COMMAND: ""}),
            json!({"image": "busybox", "name": "n"}),
        ),
        (
            json!({NAME: "n", COMMAND: "c"}),
            json!({"name": "spec", "image": "i", "command": ["c"]}),
        ),
    ] {
        assert_eq!(first(annotations.clone()), expected, "{annotations}");
    }
    let made = |command: &str| {
        let container = first(json!({IMAGE: "busybox", COMMAND: command}));
        container["name"].as_str().unwrap().to_owned()
    };
    let name = made("c");
    let hex = name.strip_prefix("velero-restore-init-").unwrap();
    assert!(
        hex.len() == 8 && hex.chars().all(|c| c.is_ascii_hexdigit()),
        "{name}"
    );
    assert!(name == made("c") && name != made("d"));
}

#[test]
fn pods_ask_for_their_claims() {
    let pod = json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"volumes": [
        {"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "b", "emptyDir": {}}]}});
    assert_eq!(
        additional(&run(
            &AddPvcFromPod,
            json!({"namespaceMapping": {"shop": "copy"}}),
            pod
        )),
        ["persistentvolumeclaims shop/data"]
    );
}

#[test]
fn pods_leave_their_node() {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "priority": 5, "priorityClassName": "high", "serviceAccountName": "sa",
        "ephemeralContainers": [{"name": "debug"}],
        "volumes": [{"name": "sa-token-abc"}, {"name": "other-token-x"}],
        "containers": [{"name": "c", "volumeMounts": [{"name": "sa-token-abc"}, {"name": "other-token-x"}]}],
        "initContainers": [{"name": "i", "volumeMounts": [{"name": "sa-token-abc"}]}, {"name": "j"}]}});
    let outcome = run(&PodAction, json!({}), pod);
    let expected = json!({"metadata": {"name": "p"}, "spec": {"priorityClassName": "high", "serviceAccountName": "sa",
        "volumes": [{"name": "other-token-x"}],
        "containers": [{"name": "c", "volumeMounts": [{"name": "other-token-x"}]}],
        "initContainers": [{"name": "i", "volumeMounts": []}, {"name": "j"}]}});
    assert_eq!(outcome.item.as_value(), &expected);
    assert_eq!(
        additional(&outcome),
        ["priorityclasses.scheduling.k8s.io high"]
    );
    assert!(
        additional(&run(
            &PodAction,
            json!({}),
            json!({"metadata": {"name": "p"}, "spec": {}})
        ))
        .is_empty()
    );
}

#[test]
fn claims_ask_for_their_volume_when_bound() {
    let annotations = json!({"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
        "volume.kubernetes.io/storage-provisioner": "p", "volume.beta.kubernetes.io/storage-provisioner": "p",
        "volume.kubernetes.io/selected-node": "n", "velero.io/volume-snapshot-name": "s", "velero.io/data-upload-name": "d", "mine": "1"});
    for (phase, volume, asked) in [("Bound", "pv1", 1), ("Pending", "pv1", 0), ("Bound", "", 0)] {
        let claim = json!({"metadata": {"name": "c", "namespace": "shop", "annotations": annotations},
            "spec": {"volumeName": volume}, "status": {"phase": phase}});
        let outcome = run(&PvcAction, json!({}), claim);
        assert_eq!(outcome.additional_items.len(), asked, "{phase} {volume}");
        assert_eq!(
            outcome.item.at("/metadata/annotations"),
            Some(&json!({"mine": "1"}))
        );
    }
}

#[test]
fn subjects_follow_the_mapping() {
    let spec = json!({"namespaceMapping": {"shop": "copy"}});
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"name": "a", "namespace": "shop"}, {"name": "b", "namespace": "x"}, {"name": "u"}]});
    let expected =
        json!([{"name": "a", "namespace": "copy"}, {"name": "b", "namespace": "x"}, {"name": "u"}]);
    for action in [
        &RoleBindings as &dyn RestoreItemAction,
        &ClusterRoleBindings,
    ] {
        assert_eq!(
            run(action, spec.clone(), binding.clone())
                .item
                .at("/subjects"),
            Some(&expected)
        );
        check(action, binding.clone(), binding.clone());
    }
}

#[test]
fn tokens_of_service_accounts() {
    let secret = |name: &str, kind: &str| {
        json!({"metadata": {"name": name, "namespace": "shop", "annotations": {"kubernetes.io/service-account.uid": "u", "a": "1"}},
            "type": kind, "data": {"token": "x", "ca.crt": "y", "extra": "z"}})
    };
    let token = "kubernetes.io/service-account-token";
    for (spec, name, kind, skipped, stripped) in [
        (json!({}), "runner-token-abc", token, true, false),
        (json!({}), "runner-token-abc", "Opaque", false, false),
        (json!({}), "mine", token, false, true),
        (
            json!({"namespaceMapping": {"shop": "copy"}}),
            "runner-token-abc",
            token,
            false,
            true,
        ),
        (
            json!({"namespaceMapping": {"shop": "copy"}}),
            "other-token-abc",
            token,
            true,
            false,
        ),
    ] {
        let outcome = run(&SecretAction, spec, secret(name, kind));
        assert_eq!(outcome.skip, skipped, "{name} {kind}");
        if stripped {
            assert_eq!(outcome.item.at("/data"), Some(&json!({"extra": "z"})));
            assert_eq!(
                outcome.item.at("/metadata/annotations"),
                Some(&json!({"a": "1"}))
            );
        } else if !skipped {
            assert_eq!(outcome.item.as_value(), &secret(name, kind));
        }
    }
}

#[test]
fn accounts_lose_the_last_token() {
    let account = |secrets: Value| json!({"metadata": {"name": "sa"}, "secrets": secrets, "imagePullSecrets": [{"name": "sa-token-p"}]});
    for (before, after) in [
        (
            json!([{"name": "sa-token-a"}, {"name": "x"}]),
            json!([{"name": "x"}]),
        ),
        (
            json!([{"name": "sa-token-a"}, {"name": "sa-token-b"}]),
            json!([{"name": "sa-token-a"}]),
        ),
        (
            json!([{"name": "other-token-a"}]),
            json!([{"name": "other-token-a"}]),
        ),
    ] {
        check(&ServiceAccountAction, account(before), account(after));
    }
}

#[test]
fn jobs_forget_their_uid() {
    let job = json!({"metadata": {"name": "j"}, "spec": {
        "selector": {"matchLabels": {"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "a": "b"}},
        "template": {"metadata": {"labels": {"controller-uid": "u", "job-name": "j"}}}}});
    let expected = json!({"metadata": {"name": "j"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"job-name": "j"}}}}});
    check(&JobAction, job, expected);
    check(
        &JobAction,
        json!({"metadata": {"name": "j"}, "spec": {}}),
        json!({"metadata": {"name": "j"}, "spec": {}}),
    );
}

#[test]
fn webhooks_have_known_side_effects() {
    for (version, before, after) in [
        ("v1", "Unknown", "None"),
        ("v1", "Some", "None"),
        ("v1", "NoneOnDryRun", "NoneOnDryRun"),
        ("v1beta1", "Unknown", "Unknown"),
    ] {
        let config = |side_effects: &str| {
            json!({"apiVersion": format!("admissionregistration.k8s.io/{version}"), "metadata": {"name": "w"},
                "webhooks": [{"name": "a", "sideEffects": side_effects}, {"name": "b"}]})
        };
        check(&AdmissionWebhook, config(before), config(after));
    }
}

#[test]
fn unknown_fields_are_kept_by_schemas() {
    let crd = |version: &str, keep: bool, schema: Value| {
        json!({"apiVersion": format!("apiextensions.k8s.io/{version}"), "metadata": {"name": "a.b"},
            "spec": {"preserveUnknownFields": keep, "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}, {"name": "v2"}]}})
    };
    check(
        &CrdPreserveFields,
        crd("v1", true, json!({"type": "object"})),
        crd(
            "v1",
            false,
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        ),
    );
    check(
        &CrdPreserveFields,
        crd("v1", false, json!({})),
        crd("v1", false, json!({})),
    );
    check(
        &CrdPreserveFields,
        crd("v1beta1", true, json!({})),
        crd("v1beta1", true, json!({})),
    );
}

#[test]
fn managed_api_services_are_skipped() {
    let selector = ApiServiceAction.applies_to().label_selector;
    assert_eq!(
        selector.to_string(),
        "kube-aggregator.kubernetes.io/automanaged"
    );
    assert!(
        run(
            &ApiServiceAction,
            json!({}),
            json!({"metadata": {"name": "v1.apps"}})
        )
        .skip
    );
}

fn service(spec: Value, last_applied: Option<Value>, managed: Value) -> Value {
    let mut item = json!({"metadata": {"name": "s"}, "spec": spec});
    if let Some(applied) = last_applied {
        item["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()});
    }
    if !managed.is_null() {
        item["metadata"]["managedFields"] =
            json!([{"manager": "m", "fieldsV1": {"f:spec": managed}}]);
    }
    item
}

#[test]
fn cluster_ips_are_chosen_anew() {
    for (ip, kept) in [("10.0.0.1", false), ("None", true)] {
        let item = service(
            json!({"clusterIP": ip, "clusterIPs": [ip], "type": "ClusterIP"}),
            None,
            Value::Null,
        );
        let outcome = run(&ServiceAction, json!({}), item);
        assert_eq!(outcome.item.at("/spec/clusterIP").is_some(), kept, "{ip}");
        assert_eq!(outcome.item.at("/spec/clusterIPs").is_some(), kept, "{ip}");
    }
}

#[test]
fn node_ports_that_somebody_chose_stay() {
    let spec = |kind: &str| json!({"type": kind, "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "tls", "port": 443, "nodePort": 30443}]});
    let unnamed = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
    let applied = |ports: Value| Some(json!({"spec": {"ports": ports}}));
    let managed = json!({"f:ports": {".": {}, "k:{\"port\":443,\"protocol\":\"TCP\"}": {"f:nodePort": {}}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:port": {}}}});
    for (preserve, spec, last, fields, expected) in [
        (None, spec("NodePort"), None, Value::Null, &[None, None][..]),
        (
            Some(true),
            spec("NodePort"),
            None,
            Value::Null,
            &[Some(30080), Some(30443)],
        ),
        (
            Some(false),
            spec("ExternalName"),
            None,
            Value::Null,
            &[Some(30080), Some(30443)],
        ),
        (
            None,
            spec("NodePort"),
            applied(json!([{"name": "http", "nodePort": 30080}])),
            managed.clone(),
            &[Some(30080), None],
        ),
        (
            None,
            spec("NodePort"),
            applied(json!([{"name": "tls", "nodePort": "30443"}, {"name": "http", "nodePort": 0}])),
            Value::Null,
            &[None, Some(30443)],
        ),
        (None, spec("NodePort"), None, managed, &[None, Some(30443)]),
        (
            None,
            unnamed.clone(),
            applied(json!([{"nodePort": 30080}])),
            Value::Null,
            &[Some(30080)],
        ),
        (
            None,
            unnamed.clone(),
            applied(json!([{"nodePort": 30081}])),
            Value::Null,
            &[None],
        ),
        (
            None,
            unnamed,
            applied(json!([{"name": "x", "nodePort": 30080}])),
            Value::Null,
            &[None],
        ),
    ] {
        let item = service(spec, last, fields);
        let outcome = run(
            &ServiceAction,
            json!({"preserveNodePorts": preserve}),
            item.clone(),
        );
        let ports: Vec<Option<i64>> = outcome
            .item
            .array_at("/spec/ports")
            .iter()
            .map(|p| p.get("nodePort").and_then(Value::as_i64))
            .collect();
        assert_eq!(ports, expected, "{item}");
    }
}

#[test]
fn health_check_ports_that_somebody_chose_stay() {
    let spec = |kind: &str, policy: &str| json!({"type": kind, "externalTrafficPolicy": policy, "healthCheckNodePort": 31000});
    for (spec, last, fields, kept) in [
        (spec("LoadBalancer", "Local"), None, Value::Null, false),
        (spec("LoadBalancer", "Cluster"), None, Value::Null, true),
        (
            spec("LoadBalancer", "Local"),
            Some(json!({"spec": {"healthCheckNodePort": 31000}})),
            Value::Null,
            true,
        ),
        (
            spec("LoadBalancer", "Local"),
            Some(json!({"spec": {"healthCheckNodePort": 0}})),
            Value::Null,
            false,
        ),
        (
            spec("LoadBalancer", "Local"),
            None,
            json!({"f:healthCheckNodePort": {}}),
            true,
        ),
    ] {
        let item = service(spec, last, fields);
        assert_eq!(
            run(&ServiceAction, json!({}), item.clone())
                .item
                .at("/spec/healthCheckNodePort")
                .is_some(),
            kept,
            "{item}"
        );
    }
}
