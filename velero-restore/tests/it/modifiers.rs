//! Resource modifiers in a restore.

use std::io::Cursor;

use serde_json::{Value, json};
use velero_core::api::RestorePhase;
use velero_core::modifier::ResourceModifiers;
use velero_restore::{ErrorKind, RestoreRequest, RestoreResult, RestoreRun};
use velero_testkit::ApiServer;

use crate::common::*;

/// A request with these rules: JSON is YAML too.
fn with_rules(spec: Value, rules: &Value) -> RestoreRequest {
    let text = json!({"version": "v1", "resourceModifierRules": rules}).to_string();
    request(spec).modifiers(ResourceModifiers::parse(&text).unwrap())
}

async fn restore_modified(
    server: &ApiServer,
    items: &[Value],
    spec: Value,
    rules: Value,
) -> RestoreResult {
    restore_bytes(server, archive(items), &with_rules(spec, &rules)).await
}

/// A rule that merges a patch into objects of a resource.
fn merging(resource: &str, patch: &Value) -> Value {
    json!({"conditions": {"groupResource": resource}, "mergePatches": [{"patchData": patch.to_string()}]})
}

#[track_caller]
fn live(server: &ApiServer, kind: &str, namespace: &str, name: &str) -> Value {
    let found = server.store().get("v1", kind, Some(namespace), name);
    found.unwrap()
}

fn claim(class: &str) -> Value {
    let mut claim = object("v1", "PersistentVolumeClaim", "shop", "data");
    claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": class, "volumeMode": "Filesystem"});
    claim
}

#[tokio::test]
async fn rules_see_the_namespace_of_the_archive() {
    let server = ApiServer::new();
    let rule = |namespace: &str, value: &str| {
        json!({"conditions": {"groupResource": "configmaps", "namespaces": [namespace]},
            "patches": [{"operation": "add", "path": format!("/data/{value}"), "value": "yes"}]})
    };
    let result = restore_modified(
        &server,
        &[namespace("shop"), config_map("shop", "a")],
        json!({"namespaceMapping": {"shop": "copy"}}),
        json!([rule("shop", "source"), rule("copy", "target")]),
    )
    .await;
    assert_clean(&result);
    let map = live(&server, "ConfigMap", "copy", "a");
    assert_eq!(map["data"], json!({"key": "a", "source": "yes"}));
}

#[tokio::test]
async fn an_object_still_costs_one_call() {
    let server = ApiServer::new();
    let rules = json!([merging("configmaps", &json!({"data": {"key": "changed"}}))]);
    let items = [config_map("default", "a")];
    assert_clean(&restore_modified(&server, &items, json!({}), rules).await);
    let map = live(&server, "ConfigMap", "default", "a");
    assert_eq!(map["data"], json!({"key": "changed"}));
    assert_eq!(server.calls().writes().len(), 1);
}

#[tokio::test]
async fn items_that_others_ask_for_are_changed_too() {
    let server = ApiServer::new();
    let mut pod = object("v1", "Pod", "shop", "web");
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]});
    let rules = json!([
        {
            "conditions": {"groupResource": "persistentvolumeclaims",
                "matches": [{"path": "/spec/storageClassName", "value": "slow"}]},
            "patches": [{"operation": "replace", "path": "/spec/storageClassName", "value": "fast"}],
        },
        {
            "conditions": {"groupResource": "pods", "resourceNameRegex": "^web$"},
            "strategicPatches": [{"patchData": "spec:\n  containers:\n  - name: c\n    image: other"}],
        },
    ]);
    // The claim has no such label: it comes because the pod asks for it.
    let spec = json!({"labelSelector": {"matchLabels": {"app": "web"}}});
    let result = restore_modified(
        &server,
        &[namespace("shop"), pod, claim("slow")],
        spec,
        rules,
    )
    .await;
    assert_clean(&result);
    let claim = live(&server, "PersistentVolumeClaim", "shop", "data");
    assert_eq!(claim["spec"]["storageClassName"], json!("fast"));
    let pod = live(&server, "Pod", "shop", "web");
    assert_eq!(pod["spec"]["containers"][0]["image"], json!("other"));
}

#[tokio::test]
async fn namespaces_stay_as_they_are() {
    let server = ApiServer::new();
    let rules = json!([merging(
        "**",
        &json!({"metadata": {"labels": {"changed": "yes"}}})
    )]);
    let items = [namespace("shop"), config_map("shop", "a")];
    assert_clean(&restore_modified(&server, &items, json!({}), rules).await);
    let made = server.store().get("v1", "Namespace", None, "shop").unwrap();
    assert_eq!(made["metadata"]["labels"]["team"], json!("green"));
    assert_eq!(made["metadata"]["labels"].get("changed"), None);
    let map = live(&server, "ConfigMap", "shop", "a");
    assert_eq!(map["metadata"]["labels"]["changed"], json!("yes"));
}

#[tokio::test]
async fn a_rule_that_fails_is_an_error_and_the_object_comes_without_it() {
    let server = ApiServer::new();
    let rules = json!([
        {"conditions": {"groupResource": "configmaps"}, "patches": [
            {"operation": "add", "path": "/data/half", "value": "done"},
            {"operation": "remove", "path": "/metadata/annotations/gone"},
        ]},
        merging("configmaps", &json!({"data": {"other": "rule"}})),
    ]);
    let items = [
        config_map("default", "a"),
        object("v1", "Secret", "default", "s"),
    ];
    let result = restore_modified(&server, &items, json!({}), rules).await;
    assert_eq!(
        errors(&result),
        [
            "default: resource: /configmaps name: /a error: /a resource modifier cannot be applied, and nothing of this \
            rule is: resourceModifierRules[0].patches[1]: remove /metadata/annotations/gone: the object has no \
            /metadata/annotations"
        ]
    );
    assert_eq!(warnings(&result), [""; 0]);
    assert_eq!(result.phase(), RestorePhase::PartiallyFailed);
    let map = live(&server, "ConfigMap", "default", "a");
    assert_eq!(map["data"], json!({"key": "a", "other": "rule"}));
    assert_eq!(entries(&result, "v1/ConfigMap"), ["default/a(created)"]);
}

#[tokio::test]
async fn a_test_that_does_not_pass_is_no_record() {
    let server = ApiServer::new();
    let rules = json!([{"conditions": {"groupResource": "configmaps"}, "patches": [
        {"operation": "test", "path": "/data/key", "value": "b"},
        {"operation": "replace", "path": "/data/key", "value": "changed"},
    ]}]);
    let items = [config_map("default", "a"), config_map("default", "b")];
    assert_clean(&restore_modified(&server, &items, json!({}), rules).await);
    for (name, want) in [("a", "a"), ("b", "changed")] {
        let map = live(&server, "ConfigMap", "default", name);
        assert_eq!(map["data"]["key"], json!(want));
    }
}

#[tokio::test]
async fn custom_resources_have_no_strategic_merge_patches() {
    let server = ApiServer::new();
    server.store().seed(DEFINITION).unwrap();
    let mut thing = object("example.com/v1", "Thing", "default", "t");
    thing["spec"] = json!({"size": 1});
    let strategic = json!({"conditions": {"groupResource": "*.example.com"},
        "strategicPatches": [{"patchData": "spec: {size: 2}"}]});
    let dotted = json!({"conditions": {"groupResource": "*.example.com"}, "mergePatches": [{"patchData": "spec: {size: 3}"}]});
    let result = restore_modified(&server, &[thing], json!({}), json!([strategic, dotted])).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains(
                "strategicPatches[0]: example.com/v1 Thing has no strategic merge patches"
            ),
        "{errors:?}"
    );
    let live = server
        .store()
        .get("example.com/v1", "Thing", Some("default"), "t")
        .unwrap();
    assert_eq!(live["spec"]["size"], json!(3));
}

#[tokio::test]
async fn the_labels_of_a_restore_come_after_the_rules() {
    let server = ApiServer::new();
    let labels = json!({"metadata": {"labels": {"velero.io/restore-name": "mine", "velero.io/backup-name": "mine", "a": "b"},
        "namespace": "elsewhere"}});
    let items = [config_map("default", "a")];
    assert_clean(
        &restore_modified(
            &server,
            &items,
            json!({}),
            json!([merging("configmaps", &labels)]),
        )
        .await,
    );
    let map = live(&server, "ConfigMap", "default", "a");
    assert_eq!(
        map["metadata"]["labels"],
        json!({"velero.io/backup-name": "b1", "velero.io/restore-name": "r1", "a": "b"})
    );
}

#[tokio::test]
async fn names_and_kinds_can_change() {
    let server = ApiServer::new();
    let rules = json!([
        {"conditions": {"groupResource": "configmaps", "resourceNameRegex": "^a$"},
            "patches": [{"operation": "replace", "path": "/metadata/name", "value": "renamed"}]},
        {"conditions": {"groupResource": "configmaps", "resourceNameRegex": "^b$"}, "patches": [
            {"operation": "replace", "path": "/kind", "value": "Secret"},
            {"operation": "move", "from": "/data", "path": "/stringData"},
        ]},
    ]);
    let items = [config_map("default", "a"), config_map("default", "b")];
    let result = restore_modified(&server, &items, json!({}), rules).await;
    assert_clean(&result);
    live(&server, "ConfigMap", "default", "renamed");
    live(&server, "Secret", "default", "b");
    assert!(
        server
            .store()
            .get("v1", "ConfigMap", Some("default"), "a")
            .is_none()
    );
    let listed = entries(&result, "v1/ConfigMap");
    assert!(
        listed.contains(&"default/renamed(created)".to_owned()),
        "{listed:?}"
    );
}

#[tokio::test]
async fn kinds_that_nobody_serves_any_more_can_become_those_that_followed() {
    let server = ApiServer::new();
    let mut ingress = object("extensions/v1beta1", "Ingress", "default", "web");
    ingress["spec"] = json!({"rules": [{"http": {"paths": [{"path": "/", "backend": {"serviceName": "web", "servicePort": 80}}]}}]});
    let backend = "/spec/rules/0/http/paths/0/backend";
    let rules = json!([{"conditions": {"groupResource": "ingresses.extensions"}, "patches": [
        {"operation": "replace", "path": "/apiVersion", "value": "networking.k8s.io/v1"},
        {"operation": "add", "path": "/spec/rules/0/http/paths/0/pathType", "value": "Prefix"},
        {"operation": "replace", "path": backend, "value": "{\"service\": {\"name\": \"web\", \"port\": {\"number\": 80}}}"},
    ]}]);
    assert_clean(&restore_modified(&server, &[ingress], json!({}), rules).await);
    let found = server
        .store()
        .get("networking.k8s.io/v1", "Ingress", Some("default"), "web");
    let port = found
        .unwrap()
        .pointer(&format!("{backend}/service/port/number"))
        .cloned();
    assert_eq!(port, Some(json!(80)));
}

#[tokio::test]
async fn kinds_that_nobody_serves_stay_errors_where_no_rule_changes_them() {
    let server = ApiServer::new();
    let rule = json!({"conditions": {"groupResource": "ingresses.extensions", "resourceNameRegex": "^other$"},
        "mergePatches": [{"patchData": "apiVersion: networking.k8s.io/v1"}]});
    let items = [object("extensions/v1beta1", "Ingress", "default", "web")];
    let result = restore_modified(&server, &items, json!({}), json!([rule])).await;
    let errors = errors(&result);
    assert!(
        errors.len() == 1
            && errors[0].contains("the cluster does not serve extensions/v1beta1 Ingress"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn an_object_of_the_cluster_is_compared_with_what_the_rules_make() {
    for (there, policy, ends, warns) in [
        ("changed", "none", "skipped", false),
        ("a", "none", "failed", true),
        ("changed", "update", "skipped", false),
        // As it was backed up, and so not as the rules want it.
        ("a", "update", "updated", false),
        ("other", "update", "updated", false),
    ] {
        let server = ApiServer::new();
        let mut map = config_map("default", "a");
        map["data"]["key"] = json!(there);
        server.store().seed_value(map).unwrap();
        let rules = json!([merging("configmaps", &json!({"data": {"key": "changed"}}))]);
        let spec = json!({"existingResourcePolicy": policy});
        let items = [config_map("default", "a")];
        let result = restore_modified(&server, &items, spec, rules).await;
        assert_eq!(
            (errors(&result).len(), warnings(&result).len()),
            (0, usize::from(warns)),
            "{there} {policy}"
        );
        assert_eq!(
            entries(&result, "v1/ConfigMap"),
            [format!("default/a({ends})")]
        );
        let kept = if policy == "update" { "changed" } else { there };
        assert_eq!(
            live(&server, "ConfigMap", "default", "a")["data"]["key"],
            json!(kept)
        );
    }
}

#[tokio::test]
async fn a_restore_that_names_rules_and_has_none_is_refused() {
    let server = ApiServer::new();
    let spec = json!({"resourceModifier": {"kind": "ConfigMap", "name": "rules"}});
    let error = engine(&server)
        .await
        .run(
            &request(spec.clone()),
            Cursor::new(archive(&[config_map("default", "a")])),
            RestoreRun::default(),
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(
        error.to_string().contains("resourceModifier \"rules\""),
        "{error}"
    );
    assert!(server.calls().writes().is_empty());
    let rules = json!([merging("configmaps", &json!({"data": {"key": "changed"}}))]);
    assert_clean(&restore_modified(&server, &[config_map("default", "a")], spec, rules).await);
}

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, plural: things, singular: thing, listKind: ThingList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-preserve-unknown-fields: true
";

/// The peer too matches by plural name and group only; but nobody is to take such a slip for success.
#[tokio::test]
async fn a_rule_for_a_resource_that_nobody_knows_is_told() {
    let server = ApiServer::new();
    let patch = json!({"data": {"key": "changed"}});
    let rules = json!([
        // Right, and without an object in the backup.
        merging("secrets", &patch),
        merging("configmap", &patch),
        merging("cm", &patch),
        merging("deployment", &patch),
        merging("depl*.apps", &patch),
        merging("frobnicators.example.com", &patch),
    ]);
    let items = [config_map("default", "a")];
    let result = restore_modified(&server, &items, json!({}), rules).await;
    let told = |at: usize, name: &str, hint: &str| {
        format!(
            "velero: message: /resourceModifierRules[{at}].conditions.groupResource {name:?}: the rule changes nothing, as \
             neither the backup nor the cluster has a resource of this plural name and group{hint}"
        )
    };
    assert_eq!(
        warnings(&result),
        [
            told(1, "configmap", "; \"configmaps\" is the nearest name"),
            told(2, "cm", "; \"configmaps\" is the nearest name"),
            told(
                3,
                "deployment",
                "; \"deployments.apps\" is the nearest name"
            ),
            told(5, "frobnicators.example.com", ""),
        ]
    );
    assert_eq!(
        live(&server, "ConfigMap", "default", "a")["data"]["key"],
        "a"
    );
}

#[tokio::test]
async fn the_object_that_a_renamed_one_comes_to_is_named() {
    let server = ApiServer::new();
    let rules = json!([merging(
        "configmaps",
        &json!({"metadata": {"name": "taken"}})
    )]);
    let there = [config_map("default", "taken")];
    assert_clean(&restore(&server, &there, json!({})).await);
    let items = [config_map("default", "a")];
    let result = restore_modified(&server, &items, json!({}), rules).await;
    let warnings = warnings(&result);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("/a")
            && warnings[0].ends_with(
                "not restored: the object \"taken\" in the cluster differs from the one in the backup"
            ),
        "{warnings:?}"
    );
}
