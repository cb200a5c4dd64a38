//! JSON patches: the examples of RFC 6902, and where the peer's library differs from it.

use serde_json::{Value, json};

use super::{apply, check, check_fault};

/// An object with this as its spec.
fn object(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec})
}

fn rules(patches: &Value) -> Value {
    json!([{"conditions": {"groupResource": "**"}, "patches": patches}])
}

/// `operation path [from] [value]` as a step of a patch.
fn step(text: &str) -> Value {
    let words: Vec<&str> = text.splitn(3, ' ').collect();
    let third = words.get(2).copied().unwrap_or_default();
    let key = if matches!(words[0], "move" | "copy") {
        "from"
    } else {
        "value"
    };
    json!({"operation": words[0], "path": words[1], key: third})
}

fn steps(text: &[&str]) -> Value {
    rules(&text.iter().map(|text| step(text)).collect())
}

#[test]
fn operations() {
    for (before, patch, after) in [
        // The appendix of RFC 6902.
        (
            json!({"foo": "bar"}),
            &["add /spec/baz qux"][..],
            json!({"baz": "qux", "foo": "bar"}),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            &["add /spec/foo/1 qux"],
            json!({"foo": ["bar", "qux", "baz"]}),
        ),
        (
            json!({"baz": "qux", "foo": "bar"}),
            &["remove /spec/baz"],
            json!({"foo": "bar"}),
        ),
        (
            json!({"foo": ["bar", "qux", "baz"]}),
            &["remove /spec/foo/1"],
            json!({"foo": ["bar", "baz"]}),
        ),
        (
            json!({"baz": "qux"}),
            &["replace /spec/baz boo"],
            json!({"baz": "boo"}),
        ),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            &["move /spec/qux/thud /spec/foo/waldo"],
            json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            &["move /spec/foo/3 /spec/foo/1"],
            json!({"foo": ["all", "cows", "eat", "grass"]}),
        ),
        (
            json!({"foo": "bar"}),
            &["add /spec/child {\"grandchild\": {}}"],
            json!({"foo": "bar", "child": {"grandchild": {}}}),
        ),
        (
            json!({"/": 9, "~1": 10}),
            &["test /spec/~01 10", "remove /spec/~1"],
            json!({"~1": 10}),
        ),
        (
            json!({"foo": ["bar"]}),
            &["add /spec/foo/- [\"abc\", \"def\"]"],
            json!({"foo": ["bar", ["abc", "def"]]}),
        ),
        // A value is replaced by another of any type, null too.
        (
            json!({"foo": [1], "nil": null}),
            &["replace /spec/foo 2", "replace /spec/nil 3"],
            json!({"foo": 2, "nil": 3}),
        ),
        (
            json!({"foo": 1}),
            &["replace /spec/foo null"],
            json!({"foo": null}),
        ),
        (json!({"foo": 1}), &["add /spec/foo"], json!({"foo": ""})),
        (
            json!({"a": [1, 2]}),
            &["copy /spec/a/0 /spec/a/1", "add /spec/a/3 9"],
            json!({"a": [2, 1, 2, 9]}),
        ),
        // Indexes from the end, with zeros in front, with a plus.
        (
            json!({"a": [1, 2, 3]}),
            &["remove /spec/a/-1"],
            json!({"a": [1, 2]}),
        ),
        (
            json!({"a": [1, 2, 3]}),
            &["replace /spec/a/-3 9"],
            json!({"a": [9, 2, 3]}),
        ),
        (
            json!({"a": [1, 2]}),
            &["add /spec/a/-1 9"],
            json!({"a": [1, 2, 9]}),
        ),
        (
            json!({"a": [1, 2]}),
            &["add /spec/a/-3 9"],
            json!({"a": [9, 1, 2]}),
        ),
        (
            json!({"a": [{"b": 1}, {"b": 2}]}),
            &["replace /spec/a/-1/b 9"],
            json!({"a": [{"b": 1}, {"b": 9}]}),
        ),
        (
            json!({"a": [1, 2]}),
            &["replace /spec/a/01 9", "replace /spec/a/+0 8"],
            json!({"a": [8, 9]}),
        ),
        // Tests that pass.
        (
            json!({"a": {"b": [1, "x"]}}),
            &["test /spec/a {\"b\": [1, \"x\"]}", "remove /spec/a"],
            json!({}),
        ),
        (
            json!({"a": null}),
            &["test /spec/a null", "add /spec/a 1"],
            json!({"a": 1}),
        ),
        (
            json!({}),
            &["test /spec/a null", "add /spec/a 1"],
            json!({"a": 1}),
        ),
        (
            json!({"a": [7]}),
            &["test /spec/a/-1 7", "add /spec/a/- 8"],
            json!({"a": [7, 8]}),
        ),
        // Operations in capitals: the peer takes them, and then fails for each object.
        (json!({"a": 1}), &["REPLACE /spec/a 2"], json!({"a": 2})),
    ] {
        check(
            steps(patch),
            "things.example.com",
            &object(before),
            &object(after),
        );
    }
}

#[test]
fn a_test_that_fails_leaves_the_object_without_a_word() {
    for (before, patch) in [
        (
            json!({"replicas": 1}),
            &["test /spec/replicas 5", "replace /spec/replicas 2"][..],
        ),
        (
            json!({"replicas": 1}),
            &["replace /spec/replicas 2", "test /spec/replicas 1"],
        ),
        (json!({"replicas": 1}), &["test /spec/replicas \"1\""]),
        (json!({"replicas": 1}), &["test /spec/replicas null"]),
        (json!({}), &["test /spec/replicas 1"]),
        (json!({"a": null}), &["test /spec/a x"]),
        (json!({"a": [1, 2]}), &["test /spec/a [2, 1]"]),
    ] {
        let before = object(before);
        let (after, outcome) = apply(&steps(patch), "things.example.com", &before);
        assert_eq!((after, outcome), (before, Default::default()), "{patch:?}");
    }
}

#[test]
fn what_cannot_be_done_is_told() {
    for (before, patch, words) in [
        (
            json!({}),
            "remove /spec/a",
            "patches[0]: remove /spec/a: the object has no /spec/a",
        ),
        (json!({}), "replace /spec/a 1", "the object has no /spec/a"),
        (
            json!({}),
            "add /spec/a/b 1",
            "add /spec/a/b: the object has no /spec/a",
        ),
        (json!({}), "add /spec/a/b/c 1", "the object has no /spec/a"),
        (json!({}), "test /spec/a/b 1", "the object has no /spec/a"),
        (
            json!({"a": "text"}),
            "add /spec/a/b 1",
            "/spec/a of the object holds nothing",
        ),
        (
            json!({"a": null}),
            "add /spec/a/b 1",
            "/spec/a of the object holds nothing",
        ),
        (
            json!({}),
            "move /spec/b /spec/a",
            "move /spec/a to /spec/b: the object has no /spec/a",
        ),
        (
            json!({}),
            "copy /spec/b /spec/a",
            "copy /spec/a to /spec/b: the object has no /spec/a",
        ),
        (
            json!({"a": {"b": 1}}),
            "move /spec/a/b/c /spec/a",
            "the object has no /spec/a",
        ),
        (
            json!({"a": [1]}),
            "remove /spec/a/1",
            "the list has no place 1; there are 1",
        ),
        (
            json!({"a": [1]}),
            "remove /spec/a/-2",
            "the list has no place -2",
        ),
        (
            json!({"a": [1]}),
            "add /spec/a/2 1",
            "the list has no place 2",
        ),
        (
            json!({"a": [1]}),
            "add /spec/a/-3 1",
            "the list has no place -3",
        ),
        (
            json!({"a": [1]}),
            "test /spec/a/1 1",
            "the list has no place 1",
        ),
        (
            json!({"a": [1]}),
            "remove /spec/a/-",
            "\"-\" is no place in a list",
        ),
        (
            json!({"a": [1]}),
            "add /spec/a/x 1",
            "\"x\" is no place in a list",
        ),
        (
            json!({"a": []}),
            "remove /spec/a/99999999999999999999",
            "is no place in a list",
        ),
        (
            json!({"a": []}),
            "remove /spec/a/-9223372036854775808",
            "the list has no place",
        ),
    ] {
        check_fault(
            steps(&[patch]),
            "things.example.com",
            &object(before),
            words,
        );
    }
}

/// The deployments and ConfigMaps of upstream's `resource_modifiers_test.go`.
#[test]
fn workloads() {
    let deployment = |replicas: u32, containers: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "test-deployment", "namespace": "foo", "labels": {"app": "nginx"}},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}}})
    };
    let nginx = json!({"name": "nginx", "image": "nginx:latest"});
    let mysql = json!({"name": "mysql", "image": "mysql:latest"});
    let one = deployment(1, json!([nginx]));
    let both = deployment(1, json!([nginx, mysql]));
    let resource = "deployments.apps";
    check(
        steps(&["test /spec/replicas 1", "replace /spec/replicas 2"]),
        resource,
        &one,
        &deployment(2, json!([nginx])),
    );
    let add =
        "add /spec/template/spec/containers/1 {\"name\": \"mysql\", \"image\": \"mysql:latest\"}";
    check(steps(&[add]), resource, &one, &both);
    let copy = [
        "copy /spec/template/spec/containers/1 /spec/template/spec/containers/0",
        "test /spec/template/spec/containers/1/image nginx:latest",
        "replace /spec/template/spec/containers/1/name mysql",
        "replace /spec/template/spec/containers/1/image mysql:latest",
    ];
    check(steps(&copy), resource, &one, &both);
    let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"test": value}});
    check(
        steps(&["replace /data/test \"false\""]),
        "configmaps",
        &map("true"),
        &map("false"),
    );
}
