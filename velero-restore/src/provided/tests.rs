use super::*;
use serde_json::json;

fn tree(value: Value) -> ItemTree {
    ItemTree::new(value).unwrap()
}

fn object(version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn bootstrapped(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = object(RBAC, kind, namespace, name);
    object["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    object["metadata"]["annotations"] =
        json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
    object
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    let Some(slot) = object.pointer_mut(field) else {
        let (parent, key) = field.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[key] = value;
        return object;
    };
    *slot = value;
    object
}

/// Each row of the table, as a cluster has it, and what is no such object although it looks like one.
#[test]
fn every_row_has_its_object_and_its_neighbour() {
    let marked = |mut object: Value, map: &str, key: &str, value: &str| {
        object["metadata"][map] = json!({key: value});
        object
    };
    let lease = |namespace, name| object("coordination.k8s.io/v1", "Lease", namespace, name);
    let flow = |kind| object("flowcontrol.apiserver.k8s.io/v1", kind, "", "system");
    let autoupdate = "apf.kubernetes.io/autoupdate-spec";
    let slice = |ns| object("discovery.k8s.io/v1", "EndpointSlice", ns, "kubernetes");
    let net = |kind, name| object("networking.k8s.io/v1", kind, "", name);
    let managed_by = "ipaddress.kubernetes.io/managed-by";
    let class = |name| object("scheduling.k8s.io/v1", "PriorityClass", "", name);
    let api = object("apiregistration.k8s.io/v1", "APIService", "", "v1.apps");
    let automanaged = "kube-aggregator.kubernetes.io/automanaged";
    let role = object(RBAC, "ClusterRole", "", "edit");
    for (provided, other) in [
        (
            object("v1", "ConfigMap", "x", "kube-root-ca.crt"),
            object("v1", "ConfigMap", "x", "settings"),
        ),
        (
            object(
                "v1",
                "ConfigMap",
                "kube-system",
                "extension-apiserver-authentication",
            ),
            object(
                "v1",
                "ConfigMap",
                "shop",
                "extension-apiserver-authentication",
            ),
        ),
        (
            object("v1", "Service", "default", "kubernetes"),
            object("v1", "Service", "shop", "kubernetes"),
        ),
        (
            object("v1", "Endpoints", "default", "kubernetes"),
            object("v1", "Endpoints", "default", "web"),
        ),
        (slice("default"), slice("shop")),
        (
            marked(
                lease("kube-system", "a"),
                "labels",
                "apiserver.kubernetes.io/identity",
                "x",
            ),
            lease("kube-system", "a"),
        ),
        (
            lease("kube-system", "kube-scheduler"),
            lease("shop", "kube-scheduler"),
        ),
        (lease("kube-node-lease", "node-1"), lease("shop", "node-1")),
        (bootstrapped("ClusterRole", "", "edit"), role.clone()),
        (
            bootstrapped("RoleBinding", "kube-system", "b"),
            marked(
                role,
                "labels",
                "kubernetes.io/bootstrapping",
                "rbac-defaults",
            ),
        ),
        (
            marked(flow("FlowSchema"), "annotations", autoupdate, "true"),
            marked(flow("FlowSchema"), "annotations", autoupdate, "false"),
        ),
        (
            marked(
                flow("PriorityLevelConfiguration"),
                "annotations",
                autoupdate,
                "true",
            ),
            flow("PriorityLevelConfiguration"),
        ),
        (class("system-node-critical"), class("high")),
        (net("ServiceCIDR", "kubernetes"), net("ServiceCIDR", "more")),
        (
            marked(
                net("IPAddress", "10.0.0.1"),
                "labels",
                managed_by,
                "ipallocator.k8s.io",
            ),
            net("IPAddress", "10.0.0.1"),
        ),
        (marked(api.clone(), "labels", automanaged, "onstart"), api),
        (
            object("v1", "ServiceAccount", "shop", "default"),
            object("v1", "ServiceAccount", "shop", "job-controller"),
        ),
        (
            object("v1", "ServiceAccount", "kube-system", "job-controller"),
            object("v1", "ServiceAccount", "kube-system", "mine"),
        ),
    ] {
        assert!(is_provided(&tree(provided.clone())), "{provided}");
        assert!(!is_provided(&tree(other.clone())), "{other}");
        assert_eq!(
            super::provided(&tree(other.clone()), &tree(other)),
            Provided::No
        );
    }
}

#[test]
fn what_a_user_could_have_set_is_compared() {
    let root = |ca: &str| {
        with(
            object("v1", "ConfigMap", "x", "kube-root-ca.crt"),
            "/data",
            json!({"ca.crt": ca}),
        )
    };
    let labelled = |object, labels| with(object, "/metadata/labels", labels);
    let class = |value: i64| {
        with(
            object(
                "scheduling.k8s.io/v1",
                "PriorityClass",
                "",
                "system-node-critical",
            ),
            "/value",
            json!(value),
        )
    };
    let service = |ip: &str| {
        let service = object("v1", "Service", "default", "kubernetes");
        with(service, "/spec", json!({"clusterIP": ip}))
    };
    for (live, wanted, expected) in [
        (root("a"), root("b"), Provided::Same),
        (
            labelled(root("a"), json!({"theirs": "1"})),
            root("b"),
            Provided::Same,
        ),
        (
            root("a"),
            labelled(root("b"), json!({"velero.io/restore-name": "r"})),
            Provided::Same,
        ),
        (
            root("a"),
            labelled(root("b"), json!({"mine": "1"})),
            Provided::Changed,
        ),
        (
            labelled(root("a"), json!({"mine": "1", "theirs": "2"})),
            labelled(root("b"), json!({"mine": "1"})),
            Provided::Same,
        ),
        (
            root("a"),
            with(root("b"), "/immutable", json!(true)),
            Provided::Changed,
        ),
        (class(2), class(3), Provided::Same),
        (service("10.0.0.1"), service("10.9.0.1"), Provided::Same),
        (
            object("v1", "ServiceAccount", "x", "default"),
            with(
                object("v1", "ServiceAccount", "x", "default"),
                "/imagePullSecrets",
                json!([{"name": "p"}]),
            ),
            Provided::Account,
        ),
    ] {
        assert_eq!(
            provided(&tree(live.clone()), &tree(wanted.clone())),
            expected,
            "{live} {wanted}"
        );
    }
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

#[test]
fn roles_may_grant_more_but_not_less() {
    let role = |rules: Value| with(bootstrapped("ClusterRole", "", "r"), "/rules", rules);
    let named = |name: &str| {
        with(
            rule(&[""], &["secrets"], &["get"]),
            "/resourceNames",
            json!([name]),
        )
    };
    let url = |url: &str| json!({"nonResourceURLs": [url], "verbs": ["get"]});
    let pods = rule(&[""], &["pods"], &["get", "list"]);
    let split = json!([
        rule(&[""], &["pods"], &["get"]),
        rule(&[""], &["pods", "x"], &["list"])
    ]);
    let all = json!([rule(&["*"], &["*"], &["*"])]);
    let (same, changed) = (Provided::Same, Provided::Changed);
    for (live, wanted, expected) in [
        (split, json!([pods]), same),
        (
            json!([pods]),
            json!([rule(&[""], &["pods"], &["get", "watch"])]),
            changed,
        ),
        (
            json!([pods]),
            json!([pods, rule(&["apps"], &["pods"], &["get"])]),
            changed,
        ),
        (json!([pods]), json!([]), same),
        (json!([]), json!([pods]), changed),
        (all, json!([pods, named("a")]), same),
        (
            json!([rule(&[""], &["*/scale"], &["get"])]),
            json!([rule(&[""], &["rs/scale"], &["get"])]),
            same,
        ),
        (json!([named("a")]), json!([named("a")]), same),
        (json!([named("a")]), json!([named("b")]), changed),
        (
            json!([named("a")]),
            json!([rule(&[""], &["secrets"], &["get"])]),
            changed,
        ),
        (json!([url("/healthz/*")]), json!([url("/healthz/a")]), same),
        (json!([url("/healthz")]), json!([url("/metrics")]), changed),
    ] {
        let got = provided(&tree(role(live.clone())), &tree(role(wanted.clone())));
        assert_eq!(got, expected, "{live} {wanted}");
    }
    // A controller writes the rules of an aggregated role.
    let aggregated = |rules: Value| {
        let selectors = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
        with(role(rules), "/aggregationRule", selectors)
    };
    let got = provided(
        &tree(aggregated(json!([]))),
        &tree(aggregated(json!([pods]))),
    );
    assert_eq!(got, same);
    let got = provided(&tree(role(json!([pods]))), &tree(aggregated(json!([pods]))));
    assert_eq!(got, changed);
    // Whoever has switched the upkeep off wants the role as it is.
    let off = with(
        role(json!([])),
        "/metadata/annotations/rbac.authorization.kubernetes.io~1autoupdate",
        json!("false"),
    );
    assert_eq!(provided(&tree(role(json!([]))), &tree(off)), changed);
}

#[test]
fn bindings_may_bind_more_but_not_fewer() {
    let user =
        |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    let binding = |subjects: Value, role: &str| {
        let binding = bootstrapped("ClusterRoleBinding", "", "b");
        let to =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
        with(with(binding, "/subjects", subjects), "/roleRef", to)
    };
    for (live, wanted, expected) in [
        (
            binding(json!([user("a"), user("b")]), "r"),
            binding(json!([user("b")]), "r"),
            Provided::Same,
        ),
        (
            binding(json!([user("a")]), "r"),
            binding(json!([user("a"), user("b")]), "r"),
            Provided::Changed,
        ),
        (
            binding(json!([user("a")]), "r"),
            binding(json!([user("a")]), "s"),
            Provided::Changed,
        ),
    ] {
        assert_eq!(
            provided(&tree(live.clone()), &tree(wanted.clone())),
            expected,
            "{live} {wanted}"
        );
    }
}

#[test]
fn what_holds_in_one_cluster_only_is_left_there_unless_somebody_has_set_something_on_it() {
    let root = with(
        object("v1", "ConfigMap", "x", "kube-root-ca.crt"),
        "/data",
        json!({"ca.crt": "a"}),
    );
    let lease = object("coordination.k8s.io/v1", "Lease", "kube-node-lease", "n");
    for (item, expected) in [
        (root.clone(), true),
        (with(root.clone(), "/metadata/uid", json!("u")), true),
        (
            with(
                root.clone(),
                "/metadata/annotations",
                json!({"kubernetes.io/description": "d"}),
            ),
            true,
        ),
        (
            with(root.clone(), "/metadata/labels", json!({"mine": "1"})),
            false,
        ),
        (with(root, "/binaryData", json!({"a": ""})), false),
        (
            with(
                lease,
                "/metadata/ownerReferences",
                json!([{"kind": "Node"}]),
            ),
            true,
        ),
        (object("v1", "ConfigMap", "x", "settings"), false),
        (bootstrapped("ClusterRole", "", "edit"), false),
    ] {
        assert_eq!(is_of_its_cluster(&tree(item.clone())), expected, "{item}");
    }
}
