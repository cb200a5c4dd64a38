//! Objects that stay although a backup does not have them.

use std::fmt;

use velero_core::{GroupResource, ItemTree};

use crate::homes::Homes;
use crate::provided::{PROVIDED, is_provided};

/// Why an object stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    Going,
    Provided,
    Veleros,
    Owned,
    OfKubelet,
    Token,
}

impl Stay {
    /// Whether the object goes, or comes again, with what it belongs to, so that it keeps no namespace from going.
    pub(super) fn is_of_others(self) -> bool {
        !matches!(self, Self::Veleros)
    }
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Going => "it is being deleted",
            Self::Provided => PROVIDED,
            Self::Veleros => "it belongs to Velero itself",
            Self::Owned => "its owner decides about it",
            Self::OfKubelet => "a kubelet makes it from a file",
            Self::Token => "its ServiceAccount decides about it",
        })
    }
}

/// Why an object stays, as far as it tells by itself.
pub(super) fn stays(live: &ItemTree, homes: &Homes) -> Option<Stay> {
    let is_token = live.api_version() == "v1"
        && live.kind() == "Secret"
        && live.str_at("/type") == "kubernetes.io/service-account-token";
    let is_owned = !live.array_at("/metadata/ownerReferences").is_empty();
    let reasons = [
        (
            live.at("/metadata/deletionTimestamp").is_some(),
            Stay::Going,
        ),
        (is_provided(live), Stay::Provided),
        (homes.own(live), Stay::Veleros),
        (is_owned, Stay::Owned),
        (
            live.annotation("kubernetes.io/config.mirror").is_some(),
            Stay::OfKubelet,
        ),
        (is_token, Stay::Token),
    ];
    reasons
        .into_iter()
        .find(|(holds, _)| *holds)
        .map(|(_, why)| why)
}

/// The claim that a volume is bound to.
pub(super) fn holder(live: &ItemTree) -> Option<(&str, &str)> {
    let is_bound = live.api_version() == "v1"
        && live.kind() == "PersistentVolume"
        && live.str_at("/status/phase") == "Bound";
    is_bound.then(|| {
        (
            live.str_at("/spec/claimRef/namespace"),
            live.str_at("/spec/claimRef/name"),
        )
    })
}

/// What goes with an object that is deleted.
pub(super) fn goes_with_it(live: &ItemTree) -> &'static str {
    match (live.api_version(), live.kind()) {
        ("v1", "PersistentVolumeClaim") => "; the data of its volume may be deleted with it",
        ("v1", "PersistentVolume") => {
            match live.str_at("/spec/persistentVolumeReclaimPolicy") == "Delete" {
                true => "; its data may be deleted with it",
                false => "",
            }
        }
        ("v1", "Namespace") => "; all that is left in it is deleted with it",
        _ => "",
    }
}

/// The resource that a definition defines.
pub(super) fn defines(live: &ItemTree) -> GroupResource {
    GroupResource::new(
        live.str_at("/spec/group"),
        live.str_at("/spec/names/plural"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tree(mut object: Value) -> ItemTree {
        object["metadata"]["name"] = json!("x");
        ItemTree::new(object).unwrap()
    }

    #[test]
    fn who_else_decides() {
        for (object, expected) in [
            (json!({"apiVersion": "v1", "kind": "ConfigMap"}), ""),
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
                "being deleted",
            ),
            (
                json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {
                    "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
                    "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}}}),
                "provided",
            ),
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "velero"}}),
                "Velero",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"ownerReferences": [{"uid": "u"}]}}),
                "owner",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {"kubernetes.io/config.mirror": "h"}}}),
                "kubelet",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token"}),
                "ServiceAccount",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque"}),
                "",
            ),
            (
                json!({"apiVersion": "example.com/v1", "kind": "Schedule"}),
                "",
            ),
            (
                json!({"apiVersion": "velero.io/v1", "kind": "Schedule"}),
                "Velero",
            ),
        ] {
            let why = stays(&tree(object.clone()), &Homes::of("velero")).map(|why| why.to_string());
            match expected {
                "" => assert_eq!(why, None, "{object}"),
                part => assert!(
                    why.as_ref().is_some_and(|why| why.contains(part)),
                    "{object} {why:?}"
                ),
            }
        }
    }

    #[test]
    fn bound_volumes_have_a_holder() {
        for (phase, expected) in [
            ("Bound", Some(("shop", "data"))),
            ("Released", None),
            ("Available", None),
        ] {
            let volume = tree(
                json!({"apiVersion": "v1", "kind": "PersistentVolume", "status": {"phase": phase},
                "spec": {"claimRef": {"namespace": "shop", "name": "data"}}}),
            );
            assert_eq!(holder(&volume), expected);
        }
    }
}
