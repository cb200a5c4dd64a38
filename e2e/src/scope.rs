//! What belongs to the compared world: all that can be created and deleted, but for the objects listed here.

use serde_json::Value;

use crate::state::{name, text};

/// Objects of which each cluster has its own.
struct Outside {
    kind: &'static str,
    /// Namespaces with `|` between them, or `*` for all.
    namespace: &'static str,
    /// Name, or `*` for all.
    name: &'static str,
    reason: &'static str,
}

const fn outside(
    kind: &'static str,
    namespace: &'static str,
    name: &'static str,
    reason: &'static str,
) -> Outside {
    Outside {
        kind,
        namespace,
        name,
        reason,
    }
}

/// Group of the operator's own records: a restore is in the target only, a backup is what is on test.
const OF_THE_OPERATOR: &str = "velero.io/";

const OUTSIDE: &[Outside] = &[
    outside(
        "Event",
        "*",
        "*",
        "tells what has happened in one cluster, and ends after an hour",
    ),
    outside(
        "Lease",
        "kube-system|kube-node-lease",
        "*",
        "heartbeats of components and nodes",
    ),
    outside(
        "Lease",
        "velero",
        "velero-server",
        "heartbeats of the operator, which keeps it out of backups",
    ),
    outside(
        "ConfigMap",
        "*",
        "kube-root-ca.crt",
        "certificate of the cluster's own authority",
    ),
    outside(
        "ConfigMap",
        "kube-system",
        "extension-apiserver-authentication",
        "certificate of the cluster's own authority",
    ),
    outside(
        "ConfigMap",
        "kube-system",
        "kube-apiserver-legacy-service-account-token-tracking",
        "day on which the cluster began",
    ),
    outside(
        "Service|Endpoints|EndpointSlice",
        "default",
        "kubernetes",
        "address and port of the API server itself",
    ),
];

/// Whether each cluster has its own of this object.
pub(crate) fn is_outside(object: &Value) -> bool {
    why_outside(object).is_some() || text(object, "/apiVersion").starts_with(OF_THE_OPERATOR)
}

fn why_outside(object: &Value) -> Option<&'static str> {
    let is = |wanted: &str, actual: &str| {
        wanted == "*" || wanted.split('|').any(|wanted| wanted == actual)
    };
    OUTSIDE
        .iter()
        .find(|one| {
            is(one.kind, text(object, "/kind"))
                && is(one.namespace, text(object, "/metadata/namespace"))
                && is(one.name, name(object))
        })
        .map(|one| one.reason)
}
