//! The situations.

use serde_json::{Value, json};

use super::kinds::{
    binding, claim, cluster_scoped, config_map, definition, job, named, namespaced, note, object,
    open, pod, role, secret, service, volume, workload,
};
use super::round::Change::{Delete, Keep, Patch, Replace};
use super::round::Round;

/// All rounds.
pub(super) fn all() -> Vec<Round> {
    vec![
        kinds("none", &[], "conflict"),
        kinds(
            "update",
            &["--existing-resource-policy", "update"],
            "update",
        ),
        cluster_kinds("wide-none", &[], "conflict"),
        cluster_kinds(
            "wide-update",
            &["--existing-resource-policy", "update"],
            "update",
        ),
        immutable(),
        quota(),
        limits(),
        admission(),
        security(),
        clerk(),
        mapped(),
        mapped_to_new(),
        merged(),
        ports(),
        volumes(),
        terminating(),
        gone_space(),
        definitions(),
        undefined(),
        other_definition(),
        filtered(),
        pods(),
        pods_without(),
    ]
}

fn space(name: &str) -> Value {
    object("v1", "Namespace", json!({"metadata": {"name": name}}))
}

fn kinds(name: &'static str, flags: &[&'static str], differs: &'static str) -> Round {
    let mut round = Round::new(name, flags);
    round.thrice(namespaced(), false, differs);
    round
}

fn cluster_kinds(name: &'static str, flags: &[&'static str], differs: &'static str) -> Round {
    let mut round = Round::new(name, flags);
    round.thrice(cluster_scoped(), true, differs);
    for (state, change, expected) in [
        ("absent", Delete, "create"),
        ("equal", Keep, "skip-identical"),
        ("differs", Patch(note()), "skip-identical"),
    ] {
        round.put(space(&format!("m-{name}-{state}")), change, expected);
    }
    let group = format!("{name}.matrix.example.com");
    for (plural, kind, change, expected) in [
        ("gones", "Gone", Delete, "create"),
        ("equals", "Equal", Keep, "skip-identical"),
        ("others", "Other", Patch(note()), differs),
    ] {
        round.put(
            definition(&group, plural, kind, "v1", open()),
            change,
            expected,
        );
    }
    round
}

/// What no patch can change.
fn immutable() -> Round {
    let mut round = Round::new("immutable", &["--existing-resource-policy", "update"]);
    let frozen = |value: &str| {
        let mut map = config_map(value);
        map["immutable"] = json!(true);
        map
    };
    let sealed = |value: &str| {
        let mut sealed = secret(value);
        sealed["immutable"] = json!(true);
        sealed
    };
    let mut typed = secret("ours");
    typed["type"] = json!("matrix.example.com/theirs");
    let mut served = workload("StatefulSet", "served");
    served["spec"]["serviceName"] = json!("theirs");
    let mut commanded = pod();
    commanded["spec"]["containers"][0]["command"] = json!(["theirs"]);
    for (name, ours, theirs) in [
        ("data", frozen("ours"), frozen("theirs")),
        ("sealed", sealed("ours"), sealed("theirs")),
        ("type", secret("ours"), typed),
        (
            "headless",
            service(json!({"clusterIP": "None"})),
            service(json!({})),
        ),
        (
            "selector",
            workload("Deployment", "ours"),
            workload("Deployment", "theirs"),
        ),
        (
            "selector",
            workload("ReplicaSet", "ours"),
            workload("ReplicaSet", "theirs"),
        ),
        (
            "selector",
            workload("DaemonSet", "ours"),
            workload("DaemonSet", "theirs"),
        ),
        ("service", workload("StatefulSet", "served"), served),
        (
            "image",
            job("registry.example.com/ours:1"),
            job("registry.example.com/theirs:1"),
        ),
        ("class", claim("nobody"), claim("nobody-else")),
        (
            "ref",
            binding("RoleBinding", "Role", "ours"),
            binding("RoleBinding", "Role", "theirs"),
        ),
        ("command", pod(), commanded),
    ] {
        round.add(&ours, name, Replace(theirs), "conflict");
    }
    let class = |provisioner: &str| {
        let body = json!({"provisioner": provisioner, "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate"});
        object("storage.k8s.io/v1", "StorageClass", body)
    };
    let priority = |value: i64| {
        object(
            "scheduling.k8s.io/v1",
            "PriorityClass",
            json!({"value": value}),
        )
    };
    let ingress = |name: &str| {
        let body = json!({"spec": {"controller": format!("matrix.example.com/{name}")}});
        object("networking.k8s.io/v1", "IngressClass", body)
    };
    let runtime = |name: &str| object("node.k8s.io/v1", "RuntimeClass", json!({"handler": name}));
    for (ours, theirs) in [
        (
            binding("ClusterRoleBinding", "ClusterRole", "view"),
            binding("ClusterRoleBinding", "ClusterRole", "edit"),
        ),
        (class("example.com/ours"), class("example.com/theirs")),
        (priority(1), priority(2)),
        (ingress("ours"), ingress("theirs")),
        (runtime("ours"), runtime("theirs")),
        (volume("/ours"), volume("/theirs")),
    ] {
        let ours = named(&ours, "", "m-immutable");
        round.put(ours, Replace(theirs), "conflict");
    }
    round
}

fn quota() -> Round {
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

fn limits() -> Round {
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

fn admission() -> Round {
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
fn security() -> Round {
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
fn clerk() -> Round {
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
    bound["subjects"][0]["name"] = json!(super::CLERK);
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

fn mapped() -> Round {
    let mut round = Round::new("mapped", &["--namespace-mappings", "m-mapped:m-target"]);
    round.mapping = vec![("m-mapped", "m-target")];
    round.surroundings.push(space("m-target"));
    let there = |object: &Value, name: &str| named(object, "m-target", name);
    round.obstacles = vec![
        there(&config_map("ours"), "equal"),
        there(&config_map("theirs"), "differs"),
        there(&secret("ours"), "equal"),
        there(&secret("theirs"), "differs"),
        there(&service(json!({})), "equal"),
        there(&service(json!({"sessionAffinity": "ClientIP"})), "differs"),
        there(&role("Role"), "equal"),
    ];
    let mut bound = binding("RoleBinding", "Role", "equal");
    bound["subjects"] =
        json!([{"kind": "ServiceAccount", "namespace": "m-mapped", "name": "runner"}]);
    let mut moved = bound.clone();
    moved["subjects"][0]["namespace"] = json!("m-target");
    round.obstacles.push(there(&moved, "equal"));
    round.obstacles.push(there(&bound, "differs"));
    round
        .add(&config_map("ours"), "absent", Keep, "create")
        .add(&config_map("ours"), "equal", Keep, "skip-identical")
        .add(&config_map("ours"), "differs", Keep, "conflict")
        .add(&secret("ours"), "absent", Keep, "create")
        .add(&secret("ours"), "equal", Keep, "skip-identical")
        .add(&secret("ours"), "differs", Keep, "conflict")
        .add(&service(json!({})), "absent", Keep, "create")
        .add(&service(json!({})), "equal", Keep, "skip-identical")
        .add(&service(json!({})), "differs", Keep, "conflict")
        .add(&role("Role"), "absent", Keep, "create")
        .add(&role("Role"), "equal", Keep, "skip-identical")
        .add(&bound, "absent", Keep, "create")
        .add(&bound, "equal", Keep, "skip-identical")
        .add(&bound, "differs", Keep, "conflict")
        .add(&workload("Deployment", "d"), "absent", Keep, "create")
        .add(&pod(), "absent", Keep, "create");
    round
}

fn mapped_to_new() -> Round {
    let mut round = Round::new("copied", &["--namespace-mappings", "m-copied:m-copy"]);
    round.mapping = vec![("m-copied", "m-copy")];
    let account = object("v1", "ServiceAccount", json!({}));
    for object in [
        config_map("ours"),
        secret("ours"),
        service(json!({})),
        role("Role"),
        account,
        claim("nobody"),
        workload("Deployment", "d"),
        pod(),
    ] {
        round.add(&object, "one", Keep, "create, unverified");
    }
    round
}

/// Two namespaces become one.
fn merged() -> Round {
    let mut round = Round::new(
        "merged",
        &["--namespace-mappings", "m-merged:m-both,m-second:m-both"],
    );
    round.mapping = vec![("m-merged", "m-both"), ("m-second", "m-both")];
    round.surroundings = vec![space("m-second"), space("m-both")];
    round
        .add(&config_map("first"), "both", Keep, "create")
        .add(&config_map("first"), "first", Keep, "create")
        .add(&secret("first"), "both", Keep, "create");
    round.put(
        named(&config_map("second"), "m-second", "both"),
        Keep,
        "excluded",
    );
    round.put(
        named(&config_map("second"), "m-second", "second"),
        Keep,
        "create",
    );
    round.put(
        named(&secret("second"), "m-second", "both"),
        Keep,
        "excluded",
    );
    round
}

fn ports() -> Round {
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

fn volumes() -> Round {
    let mut round = Round::new("volumes", &["--existing-resource-policy", "update"]);
    let bound = |name: &str, claim: &str| {
        let mut volume = named(&volume("/volumes"), "", name);
        volume["spec"]["claimRef"] = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "m-volumes", "name": claim});
        volume
    };
    let claiming = |name: &str, volume: &str| {
        let mut claim = named(&claim("nobody"), "m-volumes", name);
        claim["spec"]["volumeName"] = json!(volume);
        claim
    };
    let mut short_lived = named(&volume("/short-lived"), "", "m-volumes-short-lived");
    short_lived["spec"]["persistentVolumeReclaimPolicy"] = json!("Delete");
    round.obstacles = vec![claiming("thief", "m-volumes-taken")];
    round
        .put(bound("m-volumes-kept", "kept"), Keep, "skip-identical")
        .put(claiming("kept", "m-volumes-kept"), Keep, "skip-identical")
        .put(
            bound("m-volumes-taken", "robbed"),
            Replace(bound("m-volumes-taken", "thief")),
            "conflict",
        )
        .put(
            named(&volume("/lost"), "", "m-volumes-lost"),
            Delete,
            "create",
        )
        .put(short_lived, Delete, "excluded")
        .add(&claim("nobody"), "unbound", Delete, "create");
    round
}

fn terminating() -> Round {
    let mut round = Round::new("terminating", &["--terminating-resource-timeout", "2s"]);
    let mut stays = named(&config_map("x"), "m-terminating", "stays");
    stays["metadata"]["finalizers"] = json!(["matrix.example.com/stays"]);
    round.surroundings.push(stays);
    round.deleted = vec![("m-terminating", false)];
    for object in [
        config_map("ours"),
        secret("ours"),
        pod(),
        workload("Deployment", "d"),
    ] {
        round.add(&object, "one", Keep, "blocked");
    }
    round
}

/// The namespace is gone, too.
fn gone_space() -> Round {
    let mut round = Round::new("gone", &[]);
    round.deleted = vec![("m-gone", true)];
    for object in [
        config_map("ours"),
        secret("ours"),
        pod(),
        service(json!({})),
        claim("nobody"),
    ] {
        round.add(&object, "one", Keep, "create, unverified");
    }
    round
}

fn widget(group: &str, spec: Value) -> Value {
    object(&format!("{group}/v1"), "Widget", json!({"spec": spec}))
}

fn definitions() -> Round {
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
fn undefined() -> Round {
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
fn other_definition() -> Round {
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

fn filtered() -> Round {
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

/// Pods that need what comes with them.
fn pods() -> Round {
    let mut round = Round::new("pods", &[]);
    let account = object("v1", "ServiceAccount", json!({}));
    let class = object("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 9}));
    let with = |field: &str, name: &str| {
        let mut pod = pod();
        pod["spec"][field] = json!(name);
        pod
    };
    round
        .add(&account, "runner", Delete, "create")
        .add(&account, "there", Keep, "skip-identical")
        .put(named(&class, "", "m-pods"), Delete, "create")
        .add(
            &with("serviceAccountName", "runner"),
            "runs",
            Delete,
            "create, unverified",
        )
        .add(
            &with("serviceAccountName", "there"),
            "runs-there",
            Delete,
            "create",
        )
        .add(
            &with("priorityClassName", "m-pods"),
            "important",
            Delete,
            "create, unverified",
        )
        .add(&pod(), "plain", Delete, "create");
    round
}

/// Pods without what they need.
fn pods_without() -> Round {
    let mut round = Round::new(
        "lacking",
        &[
            "--exclude-resources",
            "serviceaccounts,priorityclasses.scheduling.k8s.io",
        ],
    );
    let account = object("v1", "ServiceAccount", json!({}));
    let class = object("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 9}));
    let with = |field: &str, name: &str| {
        let mut pod = pod();
        pod["spec"][field] = json!(name);
        pod
    };
    round
        .add(&account, "runner", Delete, "excluded")
        .put(named(&class, "", "m-lacking"), Delete, "excluded")
        .add(
            &with("serviceAccountName", "runner"),
            "runs",
            Delete,
            "blocked",
        )
        .add(
            &with("priorityClassName", "m-lacking"),
            "important",
            Delete,
            "blocked",
        );
    round
}
