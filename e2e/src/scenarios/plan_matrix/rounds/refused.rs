//! Objects that the API server refuses.

use serde_json::{Value, json};

use super::super::kinds::{
    binding, claim, config_map, job, named, object, pod, role, secret, service, workload,
};
use super::super::round::Change::{Delete, Keep, Patch};
use super::super::round::Round;

pub(super) fn quota() -> Round {
    let mut round = Round::new("quota", &[]);
    let hard = json!({"count/secrets": "0", "services.nodeports": "0", "persistentvolumeclaims": "0",
        "count/deployments.apps": "0", "count/jobs.batch": "0", "pods": "0"});
    let quota = object("v1", "ResourceQuota", json!({"spec": {"hard": hard}}));
    round.obstacles.push(named(&quota, "m-quota", "full"));
    round.canary = Some(named(&secret("x"), "m-quota", "canary"));
    round
        .add(&secret("ours"), "absent", Delete, "blocked")
        .add(&secret("ours"), "equal", Keep, "skip-identical")
        .add(
            &secret("ours"),
            "differs",
            Patch(json!({"stringData": {"key": "theirs"}})),
            "conflict",
        )
        .add(&config_map("ours"), "absent", Delete, "create")
        .add(
            &service(json!({"type": "NodePort"})),
            "absent",
            Delete,
            "blocked",
        )
        .add(&service(json!({})), "inner", Delete, "create")
        .add(&claim("nobody"), "absent", Delete, "blocked")
        .add(&claim("nobody"), "equal", Keep, "skip-identical")
        .add(&workload("Deployment", "d"), "absent", Delete, "blocked")
        .add(&workload("StatefulSet", "s"), "absent", Delete, "create")
        .add(
            &job("registry.example.com/x:1"),
            "absent",
            Delete,
            "blocked",
        )
        .add(&pod(), "absent", Delete, "blocked");
    round
}

pub(super) fn limits() -> Round {
    let mut round = Round::new("limits", &[]);
    let limits = object(
        "v1",
        "LimitRange",
        json!({"spec": {"limits": [
            {"type": "Container", "max": {"memory": "64Mi"}},
            {"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}}]}}),
    );
    let pod = |memory: &str| {
        let mut pod = pod();
        pod["spec"]["containers"][0]["resources"] =
            json!({"limits": {"memory": memory}, "requests": {"memory": memory}});
        pod
    };
    round.obstacles.push(named(&limits, "m-limits", "small"));
    round.canary = Some(named(&pod("65Mi"), "m-limits", "canary"));
    round
        .add(&pod("128Mi"), "large", Delete, "blocked")
        .add(&pod("32Mi"), "small", Delete, "create")
        .add(&pod("128Mi"), "equal", Keep, "skip-identical")
        .add(&claim("nobody"), "small", Delete, "blocked");
    round
}

pub(super) fn admission() -> Round {
    let mut round = Round::new("admission", &["--existing-resource-policy", "update"]);
    let rules = json!({"resourceRules": [{"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps", "secrets", "services", "serviceaccounts", "deployments"]}]});
    let policy = |name: &str, expression: &str| {
        let body = json!({"metadata": {"name": name}, "spec": {"failurePolicy": "Fail", "matchConstraints": rules,
            "validations": [{"expression": expression, "message": "not with us"}]}});
        object(
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicy",
            body,
        )
    };
    let bound = |policy: &str, action: &str| {
        let selected = json!({"matchLabels": {"kubernetes.io/metadata.name": "m-admission"}});
        let body = json!({"metadata": {"name": policy}, "spec": {"policyName": policy, "validationActions": [action],
            "matchResources": {"namespaceSelector": selected}}});
        object(
            "admissionregistration.k8s.io/v1",
            "ValidatingAdmissionPolicyBinding",
            body,
        )
    };
    let has = |label: &str| {
        format!("!has(object.metadata.labels) || !('{label}' in object.metadata.labels)")
    };
    round.obstacles = vec![
        policy("deny.matrix.example.com", &has("deny")),
        bound("deny.matrix.example.com", "Deny"),
        policy("warn.matrix.example.com", &has("warn")),
        bound("warn.matrix.example.com", "Warn"),
    ];
    let labelled = |mut object: Value, label: &str| {
        object["metadata"]["labels"] = json!({label: "yes"});
        object
    };
    let mut canary = named(&labelled(config_map("x"), "deny"), "m-admission", "canary");
    canary["data"] = json!({});
    round.canary = Some(canary);
    let account = object(
        "v1",
        "ServiceAccount",
        json!({"imagePullSecrets": [{"name": "pull"}]}),
    );
    for (name, object) in [
        ("denied", config_map("ours")),
        ("denied", secret("ours")),
        ("denied", service(json!({}))),
        ("denied", account.clone()),
        ("denied", workload("Deployment", "d")),
    ] {
        round.add(&labelled(object, "deny"), name, Delete, "blocked");
    }
    let theirs = || Patch(json!({"data": {"key": "theirs"}}));
    round
        .add(
            &labelled(config_map("ours"), "warn"),
            "warned",
            Delete,
            "create",
        )
        .add(&config_map("ours"), "free", Delete, "create")
        .add(&config_map("ours"), "changed", theirs(), "update")
        // Not even the labels of the restore can be written.
        .add(
            &labelled(config_map("ours"), "deny"),
            "kept",
            theirs(),
            "blocked",
        )
        .add(
            &labelled(config_map("ours"), "warn"),
            "changed-warned",
            theirs(),
            "update",
        )
        .add(
            &labelled(account, "deny"),
            "united",
            Patch(json!({"imagePullSecrets": null})),
            "blocked",
        );
    round
}

/// Pod security, which the namespace asks for after the backup.
pub(super) fn security() -> Round {
    let mut round = Round::new("security", &[]);
    round.obstacles.push(object(
        "v1",
        "Namespace",
        json!({"metadata": {"name": "m-security", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}),
    ));
    let mut safe = pod();
    safe["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    safe["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let mut on_host = pod();
    on_host["spec"]["hostNetwork"] = json!(true);
    round.canary = Some(named(&on_host, "m-security", "canary"));
    round
        .add(&pod(), "plain", Delete, "blocked")
        .add(&on_host, "on-host", Delete, "blocked")
        .add(&safe, "safe", Delete, "create")
        .add(&pod(), "equal", Keep, "skip-identical")
        .add(&workload("Deployment", "d"), "workload", Delete, "create");
    round
}

/// A user who may do some things.
pub(super) fn clerk() -> Round {
    let mut round = Round::new("clerk", &["--existing-resource-policy", "update"]);
    round.is_clerk = true;
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let rules = json!([
        rule("", &["namespaces"], &["get", "create"]),
        rule("", &["configmaps"], &["get", "list", "create", "patch"]),
        rule("", &["secrets"], &["get", "list"]),
        rule("", &["services"], &["get", "create"]),
        rule(
            "rbac.authorization.k8s.io",
            &["roles", "rolebindings"],
            &["get", "create"]
        ),
    ]);
    let mut allowed = role("ClusterRole");
    allowed["rules"] = rules;
    let mut bound = binding("ClusterRoleBinding", "ClusterRole", "clerk");
    bound["subjects"][0]["name"] = json!(super::super::CLERK);
    round.surroundings = vec![named(&allowed, "", "clerk"), named(&bound, "", "clerk")];
    let theirs = || Patch(json!({"data": {"key": "theirs"}}));
    let mut wide = role("Role");
    wide["rules"] = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    round
        .add(&config_map("ours"), "absent", Delete, "create")
        .add(&config_map("ours"), "equal", Keep, "skip-identical")
        .add(&config_map("ours"), "differs", theirs(), "update")
        .add(&secret("ours"), "absent", Delete, "blocked")
        .add(
            &secret("ours"),
            "differs",
            Patch(json!({"stringData": {"key": "theirs"}})),
            "blocked",
        )
        .add(&service(json!({})), "absent", Delete, "create")
        .add(
            &service(json!({})),
            "differs",
            Patch(json!({"spec": {"sessionAffinity": "ClientIP"}})),
            "blocked",
        )
        .add(&workload("Deployment", "d"), "absent", Delete, "blocked")
        .add(&workload("Deployment", "d"), "equal", Keep, "blocked")
        .add(&role("Role"), "small", Delete, "create")
        .add(&wide, "wide", Delete, "blocked")
        .add(
            &binding("RoleBinding", "ClusterRole", "cluster-admin"),
            "wide",
            Delete,
            "blocked",
        );
    round
}

pub(super) fn ports() -> Round {
    let mut round = Round::new("ports", &["--preserve-nodeports"]);
    let at = |port: u16| {
        service(
            json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": port}]}),
        )
    };
    round.obstacles.push(named(&at(30061), "m-ports", "holder"));
    round
        .add(&at(30061), "taken", Delete, "blocked")
        .add(&at(30062), "free", Delete, "create")
        .add(&at(30063), "equal", Keep, "skip-identical")
        .add(
            &at(30064),
            "moved",
            Patch(json!({"spec": {"ports": [{"name": "http", "port": 80, "nodePort": 30065}]}})),
            "conflict",
        )
        .add(
            &service(json!({"clusterIP": "None"})),
            "headless",
            Delete,
            "create",
        )
        .add(
            &service(json!({"type": "ExternalName", "externalName": "example.com"})),
            "outside",
            Delete,
            "create",
        );
    round
}
