//! Rules on objects. The cases follow upstream's `internal/resourcemodifiers/*_test.go`.

mod json_patches;
mod parsing;
mod peer;
mod properties;
mod strategic_lists;
mod strategic_patches;

use serde_json::{Value, json};

use super::{ModifierOutcome, ResourceModifiers};
use crate::{GroupResource, ItemTree};

/// Rules with these conditions and patches: JSON is YAML too.
fn modifiers(rules: &Value) -> ResourceModifiers {
    let text = json!({"version": "v1", "resourceModifierRules": rules}).to_string();
    ResourceModifiers::parse(&text).unwrap_or_else(|faults| panic!("{}", faults.join("\n")))
}

fn apply(rules: &Value, resource: &str, object: &Value) -> (Value, ModifierOutcome) {
    let mut item = ItemTree::new(object.clone()).unwrap();
    let outcome = modifiers(rules).apply(&GroupResource::from(resource), &mut item);
    (item.into_value(), outcome)
}

/// Asserts that rules make `want` of an object.
#[track_caller]
fn check(rules: Value, resource: &str, object: &Value, want: &Value) {
    let (changed, outcome) = apply(&rules, resource, object);
    assert_eq!(outcome.faults, [], "{rules}");
    assert_eq!(&changed, want, "{rules}");
}

/// Asserts that rules leave an object alone and that the one fault holds these words.
#[track_caller]
fn check_fault(rules: Value, resource: &str, object: &Value, words: &str) {
    let (changed, outcome) = apply(&rules, resource, object);
    assert_eq!(&changed, object, "{rules}");
    let faults: Vec<String> = outcome.faults.iter().map(ToString::to_string).collect();
    assert!(
        faults.len() == 1 && faults[0].contains(words),
        "{rules}: {faults:?} does not hold {words:?}"
    );
}

fn claim(class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "test-pvc", "namespace": "foo"},
        "spec": {"storageClassName": class}})
}

fn map(labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm1", "namespace": "fake", "labels": labels}})
}

fn relabel(value: &str) -> Value {
    json!([{"patchData": json!({"metadata": {"labels": {"a": value}}}).to_string()}])
}

fn class_rule(when: &str, then: &str) -> Value {
    json!({
        "conditions": {"groupResource": "persistentvolumeclaims", "resourceNameRegex": ".*",
            "matches": [{"path": "/spec/storageClassName", "value": when}]},
        "patches": [{"operation": "replace", "path": "/spec/storageClassName", "value": then}],
    })
}

#[test]
fn rules_look_at_the_object_as_it_was() {
    let resource = "persistentvolumeclaims";
    let two = |a, b| json!([class_rule("standard", a), class_rule(b, "gold")]);
    let standard = claim("standard");
    check(
        two("premium", "premium"),
        resource,
        &standard,
        &claim("premium"),
    );
    check(
        two("premium", "standard"),
        resource,
        &standard,
        &claim("gold"),
    );
    let (_, outcome) = apply(&two("premium", "premium"), resource, &standard);
    assert_eq!(outcome.applied, [0]);
}

#[test]
fn conditions_choose_objects() {
    let object = map(json!({"a": "b", "c": "d"}));
    let changed = map(json!({"a": "c", "c": "d"}));
    for (resource, conditions, holds) in [
        ("configmaps", json!({"groupResource": "configmaps"}), true),
        ("configmaps", json!({"groupResource": "*"}), true),
        ("configmaps", json!({"groupResource": "**"}), true),
        ("configmaps", json!({"groupResource": "secrets"}), false),
        ("fake.apps", json!({"groupResource": "*"}), false),
        ("fake.apps", json!({"groupResource": "**"}), true),
        ("fake.apps", json!({"groupResource": "*.apps"}), true),
        ("fake.x.apps", json!({"groupResource": "*.apps"}), false),
        (
            "configmaps",
            json!({"groupResource": "*", "namespaces": ["fake"]}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "namespaces": ["f*", "x"]}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "namespaces": ["*"]}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "namespaces": []}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "namespaces": ["bar"]}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "resourceNameRegex": "m"}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "resourceNameRegex": "^m"}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "resourceNameRegex": "^cm\\d$"}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "resourceNameRegex": ""}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "labelSelector": {}}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "labelSelector": {"matchLabels": {"a": "b"}}}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "labelSelector": {"matchLabels": {"a": "x"}}}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "matches": [{"path": "/metadata/labels/a", "value": "b"}]}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "matches": [{"path": "/metadata/labels/a", "value": "c"}]}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "matches": [{"path": "/metadata/labels/a/b", "value": "c"}]}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "matches": [{"path": "/metadata/labels/x", "value": ""}]}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "matches": [{"path": "/metadata/labels/x", "value": "null"}]}),
            true,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "matches": [{"path": "/metadata/labels/a", "value": "null"}]}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "matches": [{"path": "/data/x", "value": "null"}]}),
            false,
        ),
        (
            "configmaps",
            json!({"groupResource": "*", "matches": [{"path": "/metadata/labels/a", "value": "b"}, {"path": "/metadata/name", "value": "x"}]}),
            false,
        ),
    ] {
        let rules = json!([{"conditions": conditions, "mergePatches": relabel("c")}]);
        let want = if holds { &changed } else { &object };
        check(rules, resource, &object, want);
    }
}

#[test]
fn objects_without_a_namespace_are_in_all() {
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "s"}});
    let conditions = json!({"groupResource": "*.storage.k8s.io", "namespaces": ["bar"]});
    let mut want = class.clone();
    want["metadata"]["labels"] = json!({"a": "c"});
    check(
        json!([{"conditions": conditions, "mergePatches": relabel("c")}]),
        "storageclasses.storage.k8s.io",
        &class,
        &want,
    );
}

#[test]
fn a_short_list_is_no_match_and_a_word_for_a_place_in_it_is_a_fault() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
    let rule = |path: &str| json!([{"conditions": {"groupResource": "pods", "matches": [{"path": path, "value": "x"}]}, "mergePatches": relabel("c")}]);
    check(rule("/spec/containers/1"), "pods", &pod, &pod);
    check(rule("/spec/containers/1/name"), "pods", &pod, &pod);
    check_fault(
        rule("/spec/containers/first"),
        "pods",
        &pod,
        "resourceModifierRules[0].conditions.matches[0]: /spec/containers/first: \"first\" is no place in a list",
    );
}

#[test]
fn merge_patches() {
    let labels = |value: Value| map(value);
    for (patch, before, after) in [
        (
            r#"{"metadata":{"labels":{"a":"c"}}}"#,
            json!({"a": "b", "c": "d"}),
            json!({"a": "c", "c": "d"}),
        ),
        (
            "metadata:\n  labels:\n    a: c",
            json!({"a": "b", "c": "d"}),
            json!({"a": "c", "c": "d"}),
        ),
        (
            r#"{"metadata":{"labels":{"a":null}}}"#,
            json!({"a": "b", "c": "d"}),
            json!({"c": "d"}),
        ),
        (
            r#"{"metadata":{"labels":{"a":"b"}}}"#,
            json!({"c": "d"}),
            json!({"a": "b", "c": "d"}),
        ),
        (
            r#"{"metadata":{"labels":{"a":null}}}"#,
            json!({"c": "d"}),
            json!({"c": "d"}),
        ),
    ] {
        check(
            json!([{"conditions": {"groupResource": "configmaps"}, "mergePatches": [{"patchData": patch}]}]),
            "configmaps",
            &labels(before),
            &labels(after),
        );
    }
}

#[test]
fn numbers_and_words_in_patches_are_those_of_yaml_1_1() {
    let mut want = map(json!({}));
    want["spec"] = json!({"defaultMode": 420, "suspend": true, "size": "0644"});
    check(
        json!([{"conditions": {"groupResource": "*"},
            "mergePatches": [{"patchData": "spec:\n  defaultMode: 0644\n  suspend: yes\n  size: '0644'"}]}]),
        "configmaps",
        &map(json!({})),
        &want,
    );
}

#[test]
fn patches_of_a_rule_accumulate_and_a_rule_that_fails_leaves_nothing() {
    let object = map(json!({"a": "b"}));
    let conditions = json!({"groupResource": "configmaps"});
    let failing = json!({"conditions": conditions, "patches": [
        {"operation": "add", "path": "/data", "value": "{}"},
        {"operation": "remove", "path": "/metadata/annotations/x"},
    ]});
    let rules = json!([failing, {"conditions": conditions, "mergePatches": relabel("c")}]);
    let (changed, outcome) = apply(&rules, "configmaps", &object);
    assert_eq!(changed, map(json!({"a": "c"})));
    assert_eq!(outcome.applied, [1]);
    assert_eq!(
        outcome.faults[0].to_string(),
        "resourceModifierRules[0].patches[1]: remove /metadata/annotations/x: the object has no /metadata/annotations"
    );
}

#[test]
fn rules_that_write_the_kind_are_known() {
    let json =
        |path: &str, op: &str| json!({"patches": [{"operation": op, "path": path, "value": "x"}]});
    for (change, want) in [
        (json("/apiVersion", "replace"), true),
        (json("/kind", "ADD"), true),
        (json("/kind", "test"), false),
        (json("/spec/kind", "replace"), false),
        (
            json!({"mergePatches": [{"patchData": "spec: {kind: a}"}, {"patchData": "apiVersion: v1"}]}),
            true,
        ),
        (
            json!({"strategicPatches": [{"patchData": "kind: Pod"}]}),
            true,
        ),
        (
            json!({"mergePatches": [{"patchData": "spec: {kind: a}"}]}),
            false,
        ),
    ] {
        let mut rule = change;
        rule["conditions"] = json!({"groupResource": "*.extensions"});
        let modifiers = modifiers(&json!([rule]));
        let of = |resource: &str| modifiers.changes_kind(&GroupResource::from(resource));
        assert_eq!(
            (of("ingresses.extensions"), of("pods")),
            (want, false),
            "{rule}"
        );
    }
}

#[test]
fn an_object_keeps_what_it_needs_to_be_one() {
    let object = map(json!({}));
    let conditions = json!({"groupResource": "configmaps"});
    for (patches, field) in [
        (
            json!({"patches": [{"operation": "remove", "path": "/kind"}]}),
            "patches: the object would have no kind",
        ),
        (
            json!({"mergePatches": [{"patchData": "{\"apiVersion\": null}"}]}),
            "mergePatches: the object would have no apiVersion",
        ),
        (
            json!({"mergePatches": [{"patchData": "{\"metadata\": 5}"}]}),
            "no metadata.name",
        ),
        (
            json!({"strategicPatches": [{"patchData": "$patch: delete"}]}),
            "strategicPatches: the object would have no apiVersion",
        ),
    ] {
        let mut rule = patches;
        rule["conditions"] = conditions.clone();
        check_fault(json!([rule]), "configmaps", &object, field);
    }
}
