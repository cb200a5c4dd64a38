//! Users of whom the API server takes few calls at a time, by its priority and fairness.

use serde_json::{Value, json};

/// Name of the user of [`narrow`], and of the objects that make it one.
pub const NARROW: &str = "narrow";

/// A user whose calls of some verbs the API server refuses when there are two at a time.
#[must_use]
pub fn narrow(verbs: &[&str]) -> [Value; 3] {
    let api = "flowcontrol.apiserver.k8s.io/v1";
    [
        json!({"apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": NARROW},
            "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"}}}}),
        json!({"apiVersion": api, "kind": "FlowSchema", "metadata": {"name": NARROW},
            "spec": {"matchingPrecedence": 2, "priorityLevelConfiguration": {"name": NARROW},
                "rules": [{"subjects": [{"kind": "User", "user": {"name": NARROW}}],
                    "resourceRules": [{"verbs": verbs, "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}}),
        administrator(NARROW),
    ]
}

/// Allows a user everything.
#[must_use]
pub fn administrator(user: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": user},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}]})
}
