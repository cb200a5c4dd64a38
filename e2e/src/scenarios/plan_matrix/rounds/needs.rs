//! Objects that need others, and objects that are left out.

use serde_json::{Value, json};

use super::super::kinds::{config_map, definition, named, object, open, pod, role, secret};
use super::super::round::Change::{Delete, Keep, Replace};
use super::super::round::Round;
use super::space;

fn widget(group: &str, spec: Value) -> Value {
    object(&format!("{group}/v1"), "Widget", json!({"spec": spec}))
}

pub(super) fn definitions() -> Round {
    let mut round = Round::new("definitions", &[]);
    let group = "definitions.matrix.example.com";
    let crd = definition(group, "widgets", "Widget", "v1", open());
    round.put(crd, Delete, "create");
    for name in ["one", "two"] {
        round.add(
            &widget(group, json!({"size": 1})),
            name,
            Keep,
            "create, unverified",
        );
    }
    round
}

/// The kind is not served, and nothing brings it.
pub(super) fn undefined() -> Round {
    let mut round = Round::new(
        "undefined",
        &[
            "--exclude-resources",
            "customresourcedefinitions.apiextensions.k8s.io",
        ],
    );
    let group = "undefined.matrix.example.com";
    let crd = definition(group, "widgets", "Widget", "v1", open());
    round.put(crd, Delete, "excluded");
    for name in ["one", "two"] {
        round.add(&widget(group, json!({"size": 1})), name, Keep, "blocked");
    }
    round
}

/// The definition is another by now: stricter, or of another version.
pub(super) fn other_definition() -> Round {
    let mut round = Round::new("other", &[]);
    let (strict, newer) = ("strict.matrix.example.com", "newer.matrix.example.com");
    let sized =
        json!({"type": "object", "properties": {"size": {"type": "integer", "maximum": 5}}});
    round
        .put(
            definition(strict, "widgets", "Widget", "v1", open()),
            Replace(definition(strict, "widgets", "Widget", "v1", sized)),
            "conflict",
        )
        .put(
            definition(newer, "widgets", "Widget", "v1", open()),
            Replace(definition(newer, "widgets", "Widget", "v2", open())),
            "conflict",
        )
        .add(
            &widget(strict, json!({"size": 9})),
            "large",
            Keep,
            "blocked",
        )
        .add(&widget(strict, json!({"size": 3})), "small", Keep, "create")
        .add(
            &widget(strict, json!({"size": "x"})),
            "text",
            Keep,
            "blocked",
        )
        .add(&widget(newer, json!({"size": 1})), "newer", Keep, "blocked");
    round
}

pub(super) fn filtered() -> Round {
    let mut round = Round::new(
        "filtered",
        &[
            "--exclude-resources",
            "secrets",
            "--exclude-namespaces",
            "m-hidden",
            "--selector",
            "matrix.example.com/wanted=yes",
        ],
    );
    round.surroundings.push(space("m-hidden"));
    let wanted = |mut object: Value| {
        object["metadata"]["labels"]["matrix.example.com/wanted"] = json!("yes");
        object
    };
    let node = object("v1", "Node", json!({"metadata": {"name": "m-filtered"}}));
    round
        .add(&wanted(config_map("ours")), "wanted", Delete, "create")
        .add(&config_map("ours"), "unlabelled", Delete, "excluded")
        .add(&wanted(secret("ours")), "kind", Delete, "excluded")
        .put(
            wanted(named(&config_map("ours"), "m-hidden", "namespace")),
            Delete,
            "excluded",
        )
        .put(
            wanted(named(&role("ClusterRole"), "", "m-filtered")),
            Delete,
            "excluded",
        )
        .put(wanted(node), Delete, "excluded");
    round
}

/// A pod that names something in its spec.
fn pod_with(field: &str, name: &str) -> Value {
    let mut pod = pod();
    pod["spec"][field] = json!(name);
    pod
}

/// Pods that need what comes with them.
pub(super) fn pods() -> Round {
    let mut round = Round::new("pods", &[]);
    let account = object("v1", "ServiceAccount", json!({}));
    let class = object("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 9}));
    round
        .add(&account, "runner", Delete, "create")
        .add(&account, "there", Keep, "skip-identical")
        .put(named(&class, "", "m-pods"), Delete, "create")
        .add(
            &pod_with("serviceAccountName", "runner"),
            "runs",
            Delete,
            "create, unverified",
        )
        .add(
            &pod_with("serviceAccountName", "there"),
            "runs-there",
            Delete,
            "create",
        )
        .add(
            &pod_with("priorityClassName", "m-pods"),
            "important",
            Delete,
            "create, unverified",
        )
        .add(&pod(), "plain", Delete, "create");
    round
}

/// Pods without what they need.
pub(super) fn pods_without() -> Round {
    let mut round = Round::new(
        "lacking",
        &[
            "--exclude-resources",
            "serviceaccounts,priorityclasses.scheduling.k8s.io",
        ],
    );
    let account = object("v1", "ServiceAccount", json!({}));
    let class = object("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 9}));
    round
        .add(&account, "runner", Delete, "excluded")
        .put(named(&class, "", "m-lacking"), Delete, "excluded")
        .add(
            &pod_with("serviceAccountName", "runner"),
            "runs",
            Delete,
            "blocked",
        )
        .add(
            &pod_with("priorityClassName", "m-lacking"),
            "important",
            Delete,
            "blocked",
        );
    round
}
