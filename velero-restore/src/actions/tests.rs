use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

mod configured;

/// A cluster that holds ServiceAccounts by namespace and name, and one storage class; it counts the looks at classes.
#[derive(Default)]
struct Accounts(Vec<(&'static str, &'static str)>, Catalog, AtomicUsize);

#[async_trait]
impl ClusterReader for Accounts {
    async fn get(&self, id: &ResourceIdentifier) -> Result<Option<ItemTree>, ActionError> {
        let found = id.group_resource.is("storage.k8s.io", "storageclasses") && id.name == "fast";
        self.2.fetch_add(1, Ordering::Relaxed);
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
    let accounts = vec![("shop", "runner"), ("copy", "other")];
    let cluster = Accounts(accounts, Catalog::default(), AtomicUsize::new(0));
    run_in(&cluster, action, spec, item)
}

fn run_in(
    cluster: &Accounts,
    action: &dyn RestoreItemAction,
    spec: Value,
    item: Value,
) -> Result<RestoreOutcome, ActionError> {
    let restore: Restore =
        serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": spec})).unwrap();
    let cancel = CancellationToken::new();
    let cx = ActionContext {
        run: &restore,
        now: Timestamp::UNIX_EPOCH,
        cancel: &cancel,
        cluster,
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
    config.images = configured::changes(&[("a", "b")]);
    for (actions, count) in [
        (built_in(), 14),
        (configured(&config, InitRestoreHook::default()), 16),
    ] {
        let names: Vec<String> = actions.iter().map(|a| a.name().to_owned()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert_eq!(names.len(), count);
    }
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
fn pods_wait_for_no_earlier_restore() {
    let pod = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let mut pod =
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "restore-wait"}]}});
        if !containers.is_empty() {
            pod["spec"]["initContainers"] = containers.into();
        }
        pod
    };
    for (archived, expected) in [
        (&["restore-wait", "own"][..], &["own"][..]),
        (&["own", "restic-wait", "more"], &["own", "more"]),
        (&["restore-wait", "restic-wait"], &[]),
        (&["own"], &["own"]),
        (&[], &[]),
    ] {
        check(&PodVolumeRestoreAction, pod(archived), pod(expected));
    }
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

#[test]
fn actions_see_the_resources_that_they_are_for() {
    let expected: [(&str, &[&str]); 4] = [
        ("velero.io/secret", &["secrets"]),
        (
            "velero.io/admission-webhook-configuration",
            &[
                "mutatingwebhookconfigurations.admissionregistration.k8s.io",
                "validatingwebhookconfigurations.admissionregistration.k8s.io",
            ],
        ),
        (
            "velero.io/crd-preserve-fields",
            &["customresourcedefinitions.apiextensions.k8s.io"],
        ),
        (
            "velero.io/apiservice",
            &["apiservices.apiregistration.k8s.io"],
        ),
    ];
    let actions = built_in();
    for (name, resources) in expected {
        let action = actions.iter().find(|action| action.name() == name);
        let mut seen = action.unwrap().applies_to().included_resources;
        seen.sort();
        assert_eq!(seen, resources, "{name}");
    }
}
