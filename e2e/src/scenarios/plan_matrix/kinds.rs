//! One object of each kind, and how somebody changes it.

use serde_json::{Value, json};

/// An object without a name, and a merge patch that changes it.
pub(super) type Kind = (Value, Value);

/// Stands for a change that any object takes.
pub(super) fn note() -> Value {
    json!({"metadata": {"annotations": {"matrix.example.com/note": "theirs"}}})
}

/// An object of `api_version` and `kind` with more fields.
pub(super) fn object(api_version: &str, kind: &str, mut body: Value) -> Value {
    body["apiVersion"] = json!(api_version);
    body["kind"] = json!(kind);
    body
}

/// The object with a namespace (none where that is empty) and a name.
pub(super) fn named(object: &Value, namespace: &str, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["name"] = json!(name);
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

fn template(restart: &str) -> Value {
    json!({"metadata": {"labels": {"app": "x"}},
        "spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "registry.example.com/x:1"}]}})
}

pub(super) fn pod() -> Value {
    object(
        "v1",
        "Pod",
        json!({"spec": {"containers": [{"name": "c", "image": "registry.example.com/x:1"}]}}),
    )
}

pub(super) fn config_map(value: &str) -> Value {
    object("v1", "ConfigMap", json!({"data": {"key": value}}))
}

pub(super) fn secret(value: &str) -> Value {
    object(
        "v1",
        "Secret",
        json!({"type": "Opaque", "stringData": {"key": value}}),
    )
}

/// A service without a selector, so that no controller makes anything for it.
pub(super) fn service(spec: Value) -> Value {
    let mut service = object("v1", "Service", json!({"spec": spec}));
    if service["spec"].get("ports").is_none() {
        service["spec"]["ports"] = json!([{"name": "http", "port": 80}]);
    }
    service
}

pub(super) fn claim(class: &str) -> Value {
    object(
        "v1",
        "PersistentVolumeClaim",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": {"requests": {"storage": "1Gi"}}}}),
    )
}

/// A volume that no [`claim`] gets by itself: it would hold the volume.
pub(super) fn volume(path: &str) -> Value {
    object(
        "v1",
        "PersistentVolume",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "nowhere",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": path}}}),
    )
}

/// Something that runs no pods: of an apps kind.
pub(super) fn workload(kind: &str, app: &str) -> Value {
    let mut template = template("Always");
    template["metadata"]["labels"]["app"] = json!(app);
    let mut spec = json!({"selector": {"matchLabels": {"app": app}}, "template": template});
    if kind != "DaemonSet" {
        spec["replicas"] = json!(0);
    }
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("x");
    }
    object("apps/v1", kind, json!({"spec": spec}))
}

/// A job that waits for somebody to let it run.
pub(super) fn job(image: &str) -> Value {
    let mut template = template("Never");
    template["spec"]["containers"][0]["image"] = json!(image);
    object(
        "batch/v1",
        "Job",
        json!({"spec": {"suspend": true, "template": template}}),
    )
}

pub(super) fn role(kind: &str) -> Value {
    object(
        "rbac.authorization.k8s.io/v1",
        kind,
        json!({"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}),
    )
}

pub(super) fn binding(kind: &str, role_kind: &str, role: &str) -> Value {
    object(
        "rbac.authorization.k8s.io/v1",
        kind,
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]}),
    )
}

pub(super) fn definition(
    group: &str,
    plural: &str,
    kind: &str,
    version: &str,
    schema: Value,
) -> Value {
    let mut crd = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        json!({"spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema}}}}]}}),
    );
    crd["metadata"]["name"] = json!(format!("{plural}.{group}"));
    crd
}

/// Anything below `spec`.
pub(super) fn open() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Kinds that live in namespaces. The last ones come last, as they change what may be created beside them.
pub(super) fn namespaced() -> Vec<Kind> {
    let ready = json!({"spec": {"minReadySeconds": 7}});
    let account = object(
        "v1",
        "ServiceAccount",
        json!({"imagePullSecrets": [{"name": "pull"}]}),
    );
    let controller = object(
        "v1",
        "ReplicationController",
        json!({"spec": {"replicas": 0, "selector": {"app": "x"}, "template": template("Always")}}),
    );
    let cron = object(
        "batch/v1",
        "CronJob",
        json!({"spec": {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": template("Never")}}}}),
    );
    let ingress = object(
        "networking.k8s.io/v1",
        "Ingress",
        json!({"spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}}),
    );
    let policy = object(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        json!({"spec": {"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Ingress"]}}),
    );
    let budget = object(
        "policy/v1",
        "PodDisruptionBudget",
        json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}),
    );
    let scaler = object(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"},
            "minReplicas": 1, "maxReplicas": 4}}),
    );
    let slice = object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.7"]}], "ports": []}),
    );
    let lease = object(
        "coordination.k8s.io/v1",
        "Lease",
        json!({"spec": {"holderIdentity": "a"}}),
    );
    let pod_template = object("v1", "PodTemplate", json!({"template": template("Always")}));
    let limits = object(
        "v1",
        "LimitRange",
        json!({"spec": {"limits": [{"type": "Container", "default": {"memory": "64Mi"}}]}}),
    );
    let quota = object(
        "v1",
        "ResourceQuota",
        json!({"spec": {"hard": {"count/events": "1k"}}}),
    );
    vec![
        (config_map("ours"), json!({"data": {"key": "theirs"}})),
        (secret("ours"), json!({"stringData": {"key": "theirs"}})),
        (account, json!({"imagePullSecrets": null})),
        (role("Role"), json!({"rules": []})),
        (
            binding("RoleBinding", "Role", "role-equal"),
            json!({"subjects": []}),
        ),
        (
            service(json!({})),
            json!({"spec": {"sessionAffinity": "ClientIP"}}),
        ),
        (workload("Deployment", "deployment"), ready.clone()),
        (workload("StatefulSet", "statefulset"), ready.clone()),
        (workload("DaemonSet", "daemonset"), ready.clone()),
        (workload("ReplicaSet", "replicaset"), ready.clone()),
        (controller, ready),
        (
            pod_template,
            json!({"template": {"metadata": {"labels": {"app": "y"}}}}),
        ),
        (
            job("registry.example.com/x:1"),
            json!({"spec": {"parallelism": 2}}),
        ),
        (cron, json!({"spec": {"schedule": "0 4 1 1 *"}})),
        (
            ingress,
            json!({"spec": {"defaultBackend": {"service": {"port": {"number": 81}}}}}),
        ),
        (
            policy,
            json!({"spec": {"podSelector": {"matchLabels": {"app": "y"}}}}),
        ),
        (budget, json!({"spec": {"minAvailable": 2}})),
        (scaler, json!({"spec": {"maxReplicas": 5}})),
        (claim("nobody"), note()),
        (slice, json!({"endpoints": [{"addresses": ["192.0.2.8"]}]})),
        (lease, json!({"spec": {"holderIdentity": "b"}})),
        (pod(), note()),
        (
            limits,
            json!({"spec": {"limits": [{"type": "Container", "default": {"memory": "65Mi"}}]}}),
        ),
        (quota, json!({"spec": {"hard": {"count/events": "1001"}}})),
    ]
}

/// Kinds that live in no namespace.
pub(super) fn cluster_scoped() -> Vec<Kind> {
    let storage = object(
        "storage.k8s.io/v1",
        "StorageClass",
        json!({"provisioner": "matrix.example.com/none", "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate"}),
    );
    let priority = object(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        json!({"value": 7, "description": "ours"}),
    );
    let ingress = object(
        "networking.k8s.io/v1",
        "IngressClass",
        json!({"spec": {"controller": "matrix.example.com/ours"}}),
    );
    let runtime = object("node.k8s.io/v1", "RuntimeClass", json!({"handler": "ours"}));
    let driver = object(
        "storage.k8s.io/v1",
        "CSIDriver",
        json!({"spec": {"attachRequired": false, "podInfoOnMount": false}}),
    );
    let admission = "admissionregistration.k8s.io/v1";
    let policy = object(
        admission,
        "ValidatingAdmissionPolicy",
        json!({"spec": {"failurePolicy": "Fail", "validations": [{"expression": "true"}], "matchConstraints": {"resourceRules": [
            {"apiGroups": ["matrix.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}]}}}),
    );
    let policy_binding = object(
        admission,
        "ValidatingAdmissionPolicyBinding",
        json!({"spec": {"policyName": "nothing.matrix.example.com", "validationActions": ["Deny"]}}),
    );
    vec![
        (role("ClusterRole"), json!({"rules": []})),
        (
            binding("ClusterRoleBinding", "ClusterRole", "view"),
            json!({"subjects": []}),
        ),
        (storage, note()),
        (priority, json!({"description": "theirs"})),
        (ingress, note()),
        (volume("/matrix"), note()),
        (runtime, note()),
        (driver, note()),
        (policy, json!({"spec": {"failurePolicy": "Ignore"}})),
        (
            policy_binding,
            json!({"spec": {"validationActions": ["Warn"]}}),
        ),
        (
            object(
                admission,
                "ValidatingWebhookConfiguration",
                json!({"webhooks": []}),
            ),
            note(),
        ),
        (
            object(
                admission,
                "MutatingWebhookConfiguration",
                json!({"webhooks": []}),
            ),
            note(),
        ),
    ]
}
