//! A mixed world of objects as teams have them: workloads, data, access rules, custom resources.

use anyhow::Result;
use serde_json::{Value, json};

use crate::Kubectl;

/// How many namespaces the long form has; each holds about forty objects before controllers add theirs.
pub(crate) const TEAMS: usize = 6;

/// Creates the world of `teams` teams as different tools would: client-side and server-side apply, create, and later
/// changes by others, so that objects have one owner of fields, several, and appliers.
///
/// Returns how many objects were created.
pub(crate) async fn create(kubectl: &Kubectl, teams: usize) -> Result<usize> {
    let shared = shared();
    kubectl.apply(&shared, &[]).await?;
    kubectl
        .ok(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd/books.library.example.com",
            "crd/shelves.library.example.com",
        ])
        .await?;
    let mut made = shared.len();
    for team in 0..teams {
        let namespace = format!("team-{team}");
        let objects = [
            vec![space(&namespace)],
            data(&namespace),
            access(&namespace),
            workloads(&namespace),
            around_workloads(&namespace, team),
            network(&namespace, team),
            books(&namespace),
        ]
        .concat();
        made += objects.len();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let command: &[&str] = match team % 3 {
            0 => &["apply", "-f", "-"],
            1 => &[
                "apply",
                "--server-side",
                "--field-manager=gitops",
                "-f",
                "-",
            ],
            _ => &["create", "--field-manager=deployer", "-f", "-"],
        };
        kubectl.ok_with(command, &list).await?;
        touch(kubectl, &namespace).await?;
    }
    Ok(made)
}

/// Changes by others, which become owners of single fields.
async fn touch(kubectl: &Kubectl, namespace: &str) -> Result<()> {
    for command in [
        &["label", "configmap/plain", "reviewed=yes"][..],
        &["annotate", "service/web", "example.com/contact=ops"],
        &["scale", "deployment/web", "--replicas=3"],
        &[
            "patch",
            "book/second",
            "--type=merge",
            "--field-manager=librarian",
            r#"-p={"spec":{"lent":true}}"#,
        ],
        &[
            "patch",
            "book/first",
            "--type=merge",
            "--subresource=status",
            r#"-p={"status":{"read":true}}"#,
        ],
    ] {
        kubectl.ok(&[command, &["-n", namespace]].concat()).await?;
    }
    Ok(())
}

/// Cluster-scoped objects that all teams share.
fn shared() -> Vec<Value> {
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list", "watch"]}]);
    vec![
        definition("Namespaced", "Book", "books", "book", json!({"status": {}})),
        definition("Cluster", "Shelf", "shelves", "shelf", json!({})),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "keep"},
            "provisioner": "kubernetes.io/no-provisioner", "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate"}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "important"},
            "value": 1000, "description": "for the shop"}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "edge"},
            "spec": {"controller": "example.com/edge"}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "team-reader", "labels": {"example.com/reads": "true"}}, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "all-readers"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"example.com/reads": "true"}}]}, "rules": []}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "team-reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "team-reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "runner", "namespace": "team-0"}]}),
    ]
}

fn definition(scope: &str, kind: &str, plural: &str, singular: &str, subresources: Value) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.library.example.com")},
        "spec": {
            "group": "library.example.com", "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": singular, "listKind": format!("{kind}List")},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": subresources,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    })
}

fn space(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": namespace,
        "labels": {"team": namespace, "pod-security.kubernetes.io/enforce": "privileged"},
        "annotations": {"example.com/owner": "grüße <b>&</b>"},
    }})
}

/// An object of a namespace: `body` with type and name.
fn object(api_version: &str, kind: &str, namespace: &str, name: &str, mut body: Value) -> Value {
    body["apiVersion"] = json!(api_version);
    body["kind"] = json!(kind);
    body["metadata"]["namespace"] = json!(namespace);
    body["metadata"]["name"] = json!(name);
    body
}

fn data(ns: &str) -> Vec<Value> {
    let map = |name: &str, body| object("v1", "ConfigMap", ns, name, body);
    let secret = |name: &str, body| object("v1", "Secret", ns, name, body);
    let claim = |name: &str, class: Value| {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        if class.is_string() {
            spec["storageClassName"] = class;
        }
        object(
            "v1",
            "PersistentVolumeClaim",
            ns,
            name,
            json!({"spec": spec}),
        )
    };
    let docker = r#"{"auths":{"registry.example.com":{"auth":"bm90OnJlYWw="}}}"#;
    let mut all = vec![
        map(
            "plain",
            json!({"metadata": {"labels": {"app": "web"}}, "data": {"greeting": "grüße <b>&</b>", "empty": ""}}),
        ),
        map("binary", json!({"binaryData": {"blob": "AAECAwT/"}})),
        map("frozen", json!({"immutable": true, "data": {"a": "1"}})),
        map(
            "nothing",
            json!({"metadata": {"annotations": {"example.com/note": "no data at all"}}}),
        ),
        secret("keys", json!({"stringData": {"token": "not-a-real-token"}})),
        secret(
            "login",
            json!({"type": "kubernetes.io/basic-auth", "stringData": {"username": "u", "password": "p"}}),
        ),
        secret(
            "pull",
            json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": docker}}),
        ),
        claim("data", Value::Null),
        claim("kept", json!("keep")),
    ];
    // kwok provisions for its own class only: this volume is there before its claim, and bound by the controller.
    all.push(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("kept-{ns}"), "labels": {"team": ns}},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "keep",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": format!("/kept/{ns}")},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": ns, "name": "kept"}}}));
    for n in 0..6 {
        let large = "0123456789".repeat(n * 40);
        all.push(map(
            &format!("settings-{n}"),
            json!({"data": {"n": n.to_string(), "large": large}}),
        ));
    }
    all
}

fn access(ns: &str) -> Vec<Value> {
    let group = "rbac.authorization.k8s.io";
    let version = "rbac.authorization.k8s.io/v1";
    let rules = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"], "resourceNames": ["web"]}]);
    vec![
        object(
            "v1",
            "ServiceAccount",
            ns,
            "runner",
            json!({"imagePullSecrets": [{"name": "pull"}]}),
        ),
        object(
            "v1",
            "ServiceAccount",
            ns,
            "bare",
            json!({"automountServiceAccountToken": false}),
        ),
        object(version, "Role", ns, "deployer", json!({"rules": rules})),
        object(
            version,
            "RoleBinding",
            ns,
            "deployer",
            json!({
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "deployer"},
                "subjects": [{"kind": "ServiceAccount", "name": "runner", "namespace": ns}, {"kind": "User", "apiGroup": group, "name": "ann"}],
            }),
        ),
        object(
            "coordination.k8s.io/v1",
            "Lease",
            ns,
            "leader",
            json!({"spec": {"holderIdentity": "runner-0", "leaseDurationSeconds": 15}}),
        ),
        object(
            "v1",
            "LimitRange",
            ns,
            "limits",
            json!({"spec": {"limits": [{"type": "Container", "default": {"memory": "64Mi"}, "defaultRequest": {"cpu": "5m"}}]}}),
        ),
        object(
            "v1",
            "ResourceQuota",
            ns,
            "quota",
            json!({"spec": {"hard": {"pods": "100", "configmaps": "200"}}}),
        ),
    ]
}

/// A pod's template; nothing runs in it but what kwok plays.
fn template(app: &str, mut spec: Value) -> Value {
    spec["containers"] = json!([{"name": "main", "image": format!("registry.example.com/{app}:1"),
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "100m"}}}]);
    json!({"metadata": {"labels": {"app": app}}, "spec": spec})
}

fn select(app: &str) -> Value {
    json!({"matchLabels": {"app": app}})
}

fn workloads(ns: &str) -> Vec<Value> {
    let claim = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let storage = json!([{"metadata": {"name": "disk"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}]);
    vec![
        object(
            "apps/v1",
            "Deployment",
            ns,
            "web",
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {
            "replicas": 2, "selector": select("web"),
            "template": template("web", json!({"serviceAccountName": "runner", "volumes": claim, "priorityClassName": "important"}))}}),
        ),
        object(
            "apps/v1",
            "Deployment",
            ns,
            "idle",
            json!({"spec": {
            "replicas": 0, "selector": select("idle"), "strategy": {"type": "Recreate"}, "template": template("idle", json!({}))}}),
        ),
        object(
            "apps/v1",
            "StatefulSet",
            ns,
            "db",
            json!({"spec": {
            "serviceName": "db", "replicas": 2, "selector": select("db"), "template": template("db", json!({})),
            "volumeClaimTemplates": storage}}),
        ),
        object(
            "apps/v1",
            "DaemonSet",
            ns,
            "agent",
            json!({"spec": {"selector": select("agent"), "template": template("agent", json!({}))}}),
        ),
    ]
}

/// A pod that nobody looks after, jobs, and what others say about workloads.
fn around_workloads(ns: &str, team: usize) -> Vec<Value> {
    let job = |spec: Value| json!({"template": template("job", spec)});
    let once = json!({"restartPolicy": "Never"});
    let mut pod = template("lone", json!({"nodeSelector": {"type": "kwok"}}));
    pod["metadata"]["labels"]["team"] = json!(team.to_string());
    let mut suspended = job(once.clone());
    suspended["suspend"] = json!(true);
    vec![
        object("v1", "Pod", ns, "lone", pod),
        object("batch/v1", "Job", ns, "later", json!({"spec": suspended})),
        object(
            "batch/v1",
            "CronJob",
            ns,
            "nightly",
            json!({"spec": {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": job(once)}}}),
        ),
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            ns,
            "idle",
            json!({"spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "idle"}, "minReplicas": 1, "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}}),
        ),
        object(
            "policy/v1",
            "PodDisruptionBudget",
            ns,
            "web",
            json!({"spec": {"minAvailable": 1, "selector": select("web")}}),
        ),
    ]
}

fn network(ns: &str, team: usize) -> Vec<Value> {
    let service = |name: &str, spec| object("v1", "Service", ns, name, json!({"spec": spec}));
    // Below 30086, where the API server gives no ports by itself while it has others.
    let chosen = 30010 + team;
    vec![
        service(
            "web",
            json!({"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}),
        ),
        service(
            "db",
            json!({"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 5432}]}),
        ),
        service(
            "edge",
            json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]}),
        ),
        service(
            "fixed",
            json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "nodePort": chosen}]}),
        ),
        service(
            "outside",
            json!({"type": "ExternalName", "externalName": "db.example.com"}),
        ),
        // Without a selector, so the slice is the user's and no controller's.
        service("legacy", json!({"ports": [{"port": 5432}]})),
        object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            ns,
            "legacy-1",
            json!({"metadata": {"labels": {"kubernetes.io/service-name": "legacy"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.7"]}], "ports": [{"name": "", "port": 5432, "protocol": "TCP"}]}),
        ),
        object(
            "networking.k8s.io/v1",
            "Ingress",
            ns,
            "web",
            json!({"spec": {"ingressClassName": "edge", "rules": [{
            "host": format!("{ns}.example.com"),
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"name": "http"}}}}]}}]}}),
        ),
        object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            ns,
            "closed",
            json!({"spec": {
            "podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]}}),
        ),
    ]
}

fn books(ns: &str) -> Vec<Value> {
    let book = |name: &str, spec| {
        object(
            "library.example.com/v1",
            "Book",
            ns,
            name,
            json!({"spec": spec}),
        )
    };
    let shelf = json!({"apiVersion": "library.example.com/v1", "kind": "Shelf",
        "metadata": {"name": format!("shelf-{ns}"), "labels": {"team": ns}}, "spec": {"width": 1.5}});
    vec![
        shelf,
        book(
            "first",
            json!({"pages": 321, "big": 9_007_199_254_740_993_i64, "tags": ["a", "b"]}),
        ),
        book(
            "second",
            json!({"pages": 12, "nested": {"deep": [{"x": null}, {"y": -0.25}]}}),
        ),
        book("third", json!({})),
    ]
}
