//! A mix of kinds, as teams have them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Body, plain};

/// Pods of a Deployment. They share its claim.
const REPLICAS: usize = 2;

/// Kinds of the mixed load, and how many of each a namespace holds; each Deployment has a claim and an account.
const MIX: [(Kind, usize); 9] = [
    (Kind::ConfigMap, 300),
    (Kind::Secret, 200),
    (Kind::Widget, 150),
    (Kind::Service, 10),
    (Kind::Claim, 10),
    (Kind::Account, 10),
    (Kind::Role, 5),
    (Kind::RoleBinding, 5),
    (Kind::Deployment, 10),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    ConfigMap,
    Secret,
    Widget,
    Service,
    Claim,
    Account,
    Role,
    RoleBinding,
    Deployment,
}

/// Objects that a namespace holds before the controllers add theirs.
pub(super) fn per_namespace() -> usize {
    MIX.iter().map(|(_, count)| count).sum()
}

/// Pods that the controllers make in a namespace.
pub(super) fn pods_per_namespace() -> usize {
    let deployments = |(kind, count): &(Kind, usize)| match kind {
        Kind::Deployment => *count,
        _ => 0,
    };
    REPLICAS * MIX.iter().map(deployments).sum::<usize>()
}

/// Object number `n` of a namespace.
pub(super) fn body(space: &str, mut n: usize) -> Body {
    for (kind, count) in MIX {
        if n < count {
            return of_kind(kind, space, n);
        }
        n -= count;
    }
    of_kind(Kind::ConfigMap, space, n)
}

fn of_kind(kind: Kind, space: &str, n: usize) -> Body {
    let rbac = "apis/rbac.authorization.k8s.io/v1";
    let (api, resource, json) = match kind {
        Kind::ConfigMap => return plain::small(space, n),
        Kind::Secret => ("api/v1", "secrets", secret(n)),
        Kind::Widget => ("apis/bench.example.com/v1", "widgets", widget(n)),
        Kind::Service => ("api/v1", "services", service(n)),
        Kind::Claim => ("api/v1", "persistentvolumeclaims", claim(n)),
        Kind::Account => ("api/v1", "serviceaccounts", account(n)),
        Kind::Role => (rbac, "roles", role(n)),
        Kind::RoleBinding => (rbac, "rolebindings", role_binding(n)),
        Kind::Deployment => ("apis/apps/v1", "deployments", deployment(n)),
    };
    Body::new(api, space, resource, json)
}

fn account(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ServiceAccount","metadata":{{"name":"account-{n:05}"}}}}"#
    )
}

fn secret(n: usize) -> String {
    let value = STANDARD.encode(format!("secret number {n} ").repeat(20));
    format!(
        r#"{{"apiVersion":"v1","kind":"Secret","type":"Opaque","metadata":{{"name":"secret-{n:05}"}},"data":{{"value":"{value}"}}}}"#
    )
}

fn widget(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"bench.example.com/v1","kind":"Widget","metadata":{{"name":"widget-{n:05}"}},"spec":{{"size":{n},"colour":"green","parts":["a","b","c"]}}}}"#
    )
}

fn service(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"service-{n:05}"}},"spec":{{"selector":{{"app":"app-{n}"}},"ports":[{{"name":"http","port":80,"targetPort":8080}}]}}}}"#
    )
}

fn claim(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"claim-{n:05}"}},"spec":{{"accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"1Gi"}}}}}}}}"#
    )
}

fn role(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{{"name":"role-{n:05}"}},"rules":[{{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}}]}}"#
    )
}

fn role_binding(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{{"name":"binding-{n:05}"}},"roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"role-{n:05}"}},"subjects":[{{"kind":"ServiceAccount","name":"account-{n:05}"}}]}}"#
    )
}

fn deployment(n: usize) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"app-{n:05}"}},"spec":{{"replicas":{REPLICAS},"selector":{{"matchLabels":{{"app":"app-{n}"}}}},"template":{{"metadata":{{"labels":{{"app":"app-{n}"}}}},"spec":{{"serviceAccountName":"account-{n:05}","containers":[{{"name":"main","image":"app:1","volumeMounts":[{{"name":"data","mountPath":"/data"}}]}}],"volumes":[{{"name":"data","persistentVolumeClaim":{{"claimName":"claim-{n:05}"}}}}]}}}}}}}}"#
    )
}

/// The definition of the custom resources.
pub(super) fn definition() -> Value {
    json!({
        "metadata": {"name": "widgets.bench.example.com"},
        "spec": {
            "group": "bench.example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": {
                        "size": {"type": "integer"},
                        "colour": {"type": "string"},
                        "parts": {"type": "array", "items": {"type": "string"}},
                    }}},
                }},
            }],
        },
    })
}
