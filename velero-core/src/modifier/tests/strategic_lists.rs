//! Strategic merge patches of lists.

use serde_json::{Value, json};

use super::strategic_patches::{merge, pod, pod_fault};

/// Containers as `name` or `name=image`.
fn containers(text: &str) -> Value {
    text.split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((name, image)) => json!({"name": name, "image": image}),
            None => json!({"name": word}),
        })
        .collect()
}

#[track_caller]
fn check(original: &str, patch: Value, want: &str) {
    pod(
        json!({"containers": containers(original)}),
        patch,
        json!({"containers": containers(want)}),
    );
}

#[test]
fn lists_of_mappings() {
    for (original, patch, want) in [
        ("1 2=b", "2=c", "1 2=c"),
        // What is new comes first, as it does with kubectl.
        ("1 2", "3", "3 1 2"),
        ("1 2", "3 4=d", "3 4=d 1 2"),
        ("", "", ""),
        ("1", "", "1"),
        ("", "1=a", "1=a"),
        // Those of the patch in its order, the others where they were as far as that goes.
        ("1 2=b 3", "3=c 1=a 2=x", "3=c 1=a 2=x"),
        ("1 2=b 3", "3=c 1=a", "2=b 3=c 1=a"),
        ("1 2 3 4", "4 2", "1 3 4 2"),
        ("1 2 3", "0 2", "0 1 2 3"),
    ] {
        check(original, json!({"containers": containers(patch)}), want);
    }
}

#[test]
fn directives_in_lists() {
    let delete = |name: &str| json!({"name": name, "$patch": "delete"});
    let replace = json!({"$patch": "replace"});
    for (original, patch, want) in [
        ("1 2", json!([delete("1")]), "2"),
        ("1 2", json!([delete("3")]), "1 2"),
        ("1 1 2=a 3 3", json!([delete("1"), delete("3")]), "2=a"),
        (
            "1 2",
            json!([delete("1"), {"name": "2", "image": "x"}, {"name": "3"}]),
            "2=x 3",
        ),
        ("1 2", json!([replace]), ""),
        (
            "1 2=b",
            json!([replace, {"name": "2"}, {"name": "3"}]),
            "2 3",
        ),
        ("1 2=b", json!([{"name": "3"}, replace]), "3"),
        ("1", json!([{"name": "2", "image": null}]), "2 1"),
    ] {
        check(original, json!({"containers": patch}), want);
    }
}

#[test]
fn lists_within_lists() {
    let pod_with = |env: Value, ports: Value| json!({"containers": [{"name": "c", "env": env, "ports": ports}]});
    pod(
        pod_with(
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]),
            json!([{"containerPort": 80}]),
        ),
        pod_with(
            json!([{"name": "B", "value": "2"}, {"name": "A", "$patch": "delete"}]),
            json!([{"containerPort": 80, "name": "http"}, {"containerPort": 81}]),
        ),
        pod_with(
            json!([{"name": "B", "value": "2"}]),
            json!([{"containerPort": 80, "name": "http"}, {"containerPort": 81}]),
        ),
    );
    // A new element brings lists of its own; the directives in them are about elements that it has not got.
    pod(
        json!({"containers": [{"name": "a"}]}),
        json!({"containers": [{"name": "b", "env": [{"name": "A", "$patch": "delete"}, {"name": "B"}], "$setElementOrder/env": [{"name": "B"}]}]}),
        json!({"containers": [{"name": "b", "env": [{"name": "B"}]}, {"name": "a"}]}),
    );
}

#[test]
fn order() {
    let patch = |order: &str, list: &str| json!({"$setElementOrder/containers": containers(order), "containers": containers(list)});
    for (original, order, list, want) in [
        ("1 3", "3 2 1", "3=c 1=a", "3=c 1=a"),
        ("1 2", "2 1", "", "2 1"),
        ("1 2", "2 1", "2=x", "2=x 1"),
        ("1 2 3", "3 1", "", "2 3 1"),
        ("1", "2 1", "2=b", "2=b 1"),
        ("", "2 1", "2 1", "2 1"),
    ] {
        check(original, patch(order, list), want);
    }
    check(
        "1 2",
        json!({"$setElementOrder/containers": containers("2 1")}),
        "2 1",
    );
    // An order for a list that neither the object nor the patch has.
    pod(
        json!({"hostname": "a"}),
        json!({"$setElementOrder/containers": containers("1")}),
        json!({"hostname": "a"}),
    );
    let deleted = json!({"$setElementOrder/containers": containers("3 2"), "containers": [{"name": "1", "$patch": "delete"}, {"name": "3"}]});
    check("1 2", deleted, "3 2");
    for (order, words) in [
        (
            json!({"$setElementOrder/containers": containers("1 2 3"), "containers": containers("3 1")}),
            "$setElementOrder/containers: \"1\" of containers must be in it, and in the same order",
        ),
        (
            json!({"$setElementOrder/containers": containers("1"), "containers": containers("2")}),
            "\"2\" of containers must be in it",
        ),
        (
            json!({"$setElementOrder/containers": "1"}),
            "it and containers must be lists",
        ),
        (
            json!({"$setElementOrder/containers": [{"image": "x"}]}),
            "{\"image\":\"x\"} has no name",
        ),
        (
            json!({"$setElementOrder/tolerations": []}),
            "tolerations is not merged but replaced",
        ),
        (
            json!({"$setElementOrder/nothing": []}),
            "a PodSpec has no such field",
        ),
    ] {
        pod_fault(json!({"containers": containers("1 2 3")}), order, words);
    }
}

#[test]
fn elements_need_their_key() {
    let one = json!({"containers": containers("1")});
    for (patch, words) in [
        (
            json!([{"image": "b"}]),
            "spec.containers[0]: name is missing",
        ),
        (
            json!([{"name": "1"}, {"$patch": "delete"}]),
            "spec.containers[1]: name is missing",
        ),
        (
            json!([{"name": "1", "$patch": "merge"}]),
            "spec.containers[0].$patch: \"merge\" is no directive",
        ),
        (
            json!(["1"]),
            "spec.containers: its elements must be mappings with a name",
        ),
        (json!([[]]), "its elements must be mappings with a name"),
    ] {
        pod_fault(one.clone(), json!({"containers": patch}), words);
    }
    pod_fault(
        json!({"containers": [{"image": "x"}]}),
        one,
        "spec.containers: name is missing",
    );
}

#[test]
fn lists_of_plain_values() {
    for (original, patch, want) in [
        (
            json!(["1", "2"]),
            json!({"finalizers": ["2", "3"]}),
            json!(["1", "2", "3"]),
        ),
        (
            json!(["1", "2", "3"]),
            json!({"finalizers": ["3", "1", "2"]}),
            json!(["3", "1", "2"]),
        ),
        (
            json!(["1", "2", "3"]),
            json!({"finalizers": ["3", "1"]}),
            json!(["2", "3", "1"]),
        ),
        (json!([]), json!({"finalizers": []}), json!([])),
        (
            json!(["1", "2"]),
            json!({"$deleteFromPrimitiveList/finalizers": ["3"]}),
            json!(["1", "2"]),
        ),
        (
            json!(["1", "2", "3"]),
            json!({"$deleteFromPrimitiveList/finalizers": ["2"]}),
            json!(["1", "3"]),
        ),
        (
            json!(["1", "2"]),
            json!({"$deleteFromPrimitiveList/finalizers": ["1"], "finalizers": ["4"]}),
            json!(["4", "2"]),
        ),
        (
            json!(["1", "3"]),
            json!({"$setElementOrder/finalizers": ["3", "2", "1"]}),
            json!(["3", "1"]),
        ),
        (
            json!(["1", "2"]),
            json!({"$setElementOrder/finalizers": ["3", "1"], "$deleteFromPrimitiveList/finalizers": ["2"], "finalizers": ["3"]}),
            json!(["3", "1"]),
        ),
        (
            Value::Null,
            json!({"$deleteFromPrimitiveList/finalizers": ["3"]}),
            Value::Null,
        ),
    ] {
        let merged = merge(
            "v1",
            "ConfigMap",
            &json!({"metadata": {"finalizers": original}}),
            &json!({"metadata": patch}),
        );
        assert_eq!(
            merged,
            Ok(json!({"metadata": {"finalizers": want}})),
            "{patch}"
        );
    }
    // Nothing to delete from.
    let bare = json!({"metadata": {"name": "a"}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["3"]}});
    assert_eq!(merge("v1", "ConfigMap", &bare, &patch), Ok(bare));
    // Also from lists that are replaced otherwise.
    let args = |args: Value| json!({"containers": [{"name": "c", "args": args}]});
    pod(
        args(json!(["1", "2", "3"])),
        json!({"containers": [{"name": "c", "$deleteFromPrimitiveList/args": ["2"]}]}),
        args(json!(["1", "3"])),
    );
    for (patch, words) in [
        (
            json!({"finalizers": [{"a": 1}]}),
            "metadata.finalizers: its elements must be plain values",
        ),
        (
            json!({"$deleteFromPrimitiveList/finalizers": "a"}),
            "metadata.$deleteFromPrimitiveList/finalizers: it must be a list",
        ),
        (
            json!({"$deleteFromPrimitiveList/labels": ["a"]}),
            "it must be a mapping",
        ),
        (
            json!({"$deleteFromPrimitiveList/ownerReferences": [{"uid": "1"}]}),
            "ownerReferences is no list of plain values",
        ),
    ] {
        let object = json!({"metadata": {"finalizers": ["1"], "ownerReferences": [{"uid": "1"}]}});
        let error = merge("v1", "ConfigMap", &object, &json!({"metadata": patch})).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
