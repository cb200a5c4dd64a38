//! Strategic merge patches of mappings, and on which kinds they work.
//!
//! The cases here and in `strategic_lists` follow those of apimachinery's `pkg/util/strategicpatch/patch_test.go`.

use serde_json::{Value, json};

use super::{check, check_fault};
use crate::modifier::shapes::shapes;
use crate::modifier::strategic::Merger;

/// Merges a patch into an object of a kind.
pub(super) fn merge(
    version: &str,
    kind: &str,
    object: &Value,
    patch: &Value,
) -> Result<Value, String> {
    let shape = shapes().of_kind(version, kind).unwrap();
    let (Value::Object(object), Value::Object(patch)) = (object.clone(), patch) else {
        panic!("no mappings")
    };
    Merger::new(shapes())
        .merge(&shape, object, patch)
        .map(Value::Object)
        .map_err(|trouble| trouble.to_string())
}

/// Asserts what becomes of the spec of a pod.
#[track_caller]
pub(super) fn pod(spec: Value, patch: Value, want: Value) {
    let merged = merge("v1", "Pod", &json!({"spec": spec}), &json!({"spec": patch}));
    assert_eq!(merged, Ok(json!({"spec": want})), "{patch}");
}

/// Asserts that a patch of the spec of a pod is refused with these words.
#[track_caller]
pub(super) fn pod_fault(spec: Value, patch: Value, words: &str) {
    let error = merge("v1", "Pod", &json!({"spec": spec}), &json!({"spec": patch})).unwrap_err();
    assert!(error.contains(words), "{patch}: {error}");
}

fn strategic(patch: &str) -> Value {
    json!([{"conditions": {"groupResource": "**"}, "strategicPatches": [{"patchData": patch}]}])
}

fn object(version: &str, kind: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "finalizers": ["x"]}})
}

/// The pods and services of upstream's `resource_modifiers_test.go`.
#[test]
fn objects() {
    let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod1", "namespace": "fake"}, "spec": spec});
    let image = |image: &str| pod(json!({"containers": [{"image": image, "name": "nginx"}]}));
    for patch in [
        r#"{"spec":{"containers":[{"name":"nginx","image":"nginx1"}]}}"#,
        "spec:\n  containers:\n  - name: nginx\n    image: nginx1",
    ] {
        check(strategic(patch), "pods", &image("nginx"), &image("nginx1"));
    }
    let volumes = |first: Value| {
        pod(
            json!({"containers": [{"image": "fake", "name": "fake"}], "volumes": [first, {"name": "vol2", "emptyDir": {}}]}),
        )
    };
    let nfs = volumes(json!({"name": "vol1", "nfs": {"path": "/fake2"}}));
    let claim = volumes(json!({"name": "vol1", "persistentVolumeClaim": {"claimName": "pvc1"}}));
    for patch in [
        r#"{"spec":{"volumes":[{"nfs":null,"name":"vol1","persistentVolumeClaim":{"claimName":"pvc1"}}]}}"#,
        r#"{"spec":{"volumes":[{"$retainKeys":["name","persistentVolumeClaim"],"name":"vol1","persistentVolumeClaim":{"claimName":"pvc1"}}]}}"#,
    ] {
        check(strategic(patch), "pods", &nfs, &claim);
    }
    let port = |name: &str, port: u16| json!({"name": name, "port": port, "protocol": "TCP", "targetPort": port});
    let service = |middle: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc1", "namespace": "fake"},
            "spec": {"ports": [port("fake1", 8001), port("fake", middle), port("fake2", 8002)]}})
    };
    let patch = r#"{"spec":{"$setElementOrder/ports":[{"port":8001},{"port":9000},{"port":8002}],
        "ports":[{"name":"fake","port":9000,"protocol":"TCP","targetPort":9000},{"$patch":"delete","port":8000}]}}"#;
    check(strategic(patch), "services", &service(8000), &service(9000));
}

#[test]
fn kinds() {
    let patch = "metadata:\n  finalizers: [z]";
    for (version, kind) in [
        ("v1", "Pod"),
        ("v1", "PersistentVolumeClaim"),
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "CronJob"),
        ("networking.k8s.io/v1", "Ingress"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("velero.io/v1", "Schedule"),
        ("velero.io/v2alpha1", "DataUpload"),
        ("snapshot.storage.k8s.io/v1", "VolumeSnapshot"),
        (
            "groupsnapshot.storage.k8s.io/v1beta2",
            "VolumeGroupSnapshot",
        ),
    ] {
        let mut want = object(version, kind);
        want["metadata"]["finalizers"] = json!(["z", "x"]);
        check(strategic(patch), "things", &object(version, kind), &want);
    }
    for (version, kind) in [
        ("example.com/v1", "Pod"),
        ("apps.kruise.io/v1alpha1", "StatefulSet"),
        ("apps.example.com/v1", "Deployment"),
        ("extensions/v1beta1", "Ingress"),
        ("v1", "PodSpec"),
        ("v1", "Nothing"),
        ("velero.io/v1", "Other"),
    ] {
        let words = format!("strategicPatches[0]: {version} {kind} has no strategic merge patches");
        check_fault(strategic(patch), "things", &object(version, kind), &words);
    }
}

#[test]
fn custom_resources_of_the_peer_have_no_lists_that_are_merged() {
    let schedule = |namespaces: Value| {
        json!({"apiVersion": "velero.io/v1", "kind": "Schedule", "metadata": {"name": "s"},
            "spec": {"template": {"includedNamespaces": namespaces, "ttl": "1h"}}})
    };
    check(
        strategic("spec: {template: {includedNamespaces: [b]}}"),
        "schedules.velero.io",
        &schedule(json!(["a"])),
        &schedule(json!(["b"])),
    );
}

#[test]
fn mappings() {
    let two = json!({"nodeSelector": {"a": "1", "b": "1"}});
    for (spec, patch, want) in [
        (
            json!({"hostname": "a"}),
            json!({}),
            json!({"hostname": "a"}),
        ),
        (
            json!({"hostname": "a"}),
            json!({"subdomain": "b"}),
            json!({"hostname": "a", "subdomain": "b"}),
        ),
        (
            json!({"hostname": "a"}),
            json!({"hostname": null, "subdomain": "b"}),
            json!({"subdomain": "b"}),
        ),
        (
            json!({"hostname": "a"}),
            json!({"subdomain": null}),
            json!({"hostname": "a"}),
        ),
        (
            two.clone(),
            json!({"nodeSelector": {"b": null, "c": "2"}}),
            json!({"nodeSelector": {"a": "1", "c": "2"}}),
        ),
        (two.clone(), json!({"nodeSelector": null}), json!({})),
        (
            two.clone(),
            json!({"nodeSelector": {"$patch": "delete"}}),
            json!({"nodeSelector": {}}),
        ),
        (
            two.clone(),
            json!({"nodeSelector": {"$patch": "replace", "c": "2"}}),
            json!({"nodeSelector": {"c": "2"}}),
        ),
        (
            two.clone(),
            json!({"$patch": "replace", "hostname": "a"}),
            json!({"hostname": "a"}),
        ),
        (two.clone(), json!({"$patch": "replace"}), json!({})),
        // What the object has not got is taken without nulls and directives.
        (
            json!({}),
            json!({"nodeSelector": {"a": null, "b": "1"}}),
            json!({"nodeSelector": {"b": "1"}}),
        ),
        (
            json!({}),
            json!({"nodeSelector": {"$patch": "delete", "b": "1"}}),
            json!({}),
        ),
        (
            json!({}),
            json!({"nodeSelector": {"$patch": "replace", "b": "1"}}),
            json!({"nodeSelector": {"b": "1"}}),
        ),
        (
            json!({}),
            json!({"securityContext": {"$retainKeys": ["fsGroup"], "fsGroup": 1}}),
            json!({"securityContext": {"fsGroup": 1}}),
        ),
        (
            json!({"nodeSelector": null}),
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"a": "1"}}),
        ),
        // Values that are one.
        (
            json!({"containers": [{"name": "c", "args": ["a"]}]}),
            json!({"containers": [{"name": "c", "args": ["b"]}]}),
            json!({"containers": [{"name": "c", "args": ["b"]}]}),
        ),
    ] {
        pod(spec, patch, want);
    }
}

#[test]
fn keys_to_retain() {
    let strategy = |spec: &Value, patch: Value| {
        merge(
            "apps/v1",
            "Deployment",
            &json!({"spec": {"strategy": spec}}),
            &json!({"spec": {"strategy": patch}}),
        )
    };
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}});
    for (patch, want) in [
        (json!({}), rolling.clone()),
        (
            json!({"type": "Recreate"}),
            json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
        ),
        (
            json!({"rollingUpdate": null}),
            json!({"type": "RollingUpdate"}),
        ),
        (
            json!({"$retainKeys": ["type"], "type": "Recreate"}),
            json!({"type": "Recreate"}),
        ),
        (
            json!({"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null}),
            json!({"type": "Recreate"}),
        ),
        (json!({"$retainKeys": []}), json!({})),
        (
            json!({"$retainKeys": ["type", "rollingUpdate"]}),
            rolling.clone(),
        ),
    ] {
        assert_eq!(
            strategy(&rolling, patch.clone()),
            Ok(json!({"spec": {"strategy": want}})),
            "{patch}"
        );
    }
    for (patch, words) in [
        (
            json!({"$retainKeys": ["rollingUpdate"], "type": "Recreate"}),
            "spec.strategy.$retainKeys: type is set beside it and must be in it",
        ),
        (
            json!({"$retainKeys": "type"}),
            "spec.strategy.$retainKeys: it must be a list",
        ),
    ] {
        let error = strategy(&rolling, patch).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn selectors_of_budgets_are_replaced() {
    let spec = |selector: Value| json!({"spec": {"selector": selector}});
    let merged = merge(
        "policy/v1",
        "PodDisruptionBudget",
        &spec(json!({"matchLabels": {"a": "b"}})),
        &spec(json!({"matchExpressions": []})),
    );
    assert_eq!(merged, Ok(spec(json!({"matchExpressions": []}))));
}

#[test]
fn what_the_kind_cannot_have_is_told() {
    for (patch, words) in [
        (
            json!({"containerz": []}),
            "spec.containerz: a PodSpec has no such field",
        ),
        (
            json!({"containers": [{"name": "new", "ports": [{"port": 1}]}]}),
            "spec.containers[0].ports[0].port: a ContainerPort has no such field",
        ),
        (
            json!({"containers": [{"name": "c", "imagee": "x"}]}),
            "spec.containers[0].imagee: a Container has no such field",
        ),
        (
            json!({"$patch": "replace", "a": 1}),
            "spec.a: a PodSpec has no such field",
        ),
        (
            json!({"containers": {"name": "c"}}),
            "spec.containers: it must be a list",
        ),
        (
            json!({"nodeSelector": ["a"]}),
            "spec.nodeSelector: it must be a mapping",
        ),
        (
            json!({"hostname": {"a": 1}}),
            "spec.hostname: it must be a plain value",
        ),
        (
            json!({"nodeSelector": {"$patch": "merge"}}),
            "spec.nodeSelector.$patch: \"merge\" is no directive; write replace or delete",
        ),
        (
            json!({"nodeSelector": {"$patch": true}}),
            "spec.nodeSelector.$patch: true is no directive",
        ),
    ] {
        pod_fault(
            json!({"containers": [{"name": "c"}], "nodeSelector": {"a": "1"}}),
            patch,
            words,
        );
    }
    pod_fault(
        json!({}),
        json!({"$patch": "keep"}),
        "spec.$patch: \"keep\" is no directive",
    );
}
