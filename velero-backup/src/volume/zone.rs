//! The zone of a PersistentVolume.

use serde_json::Value;
use velero_core::ItemTree;

const LABEL: &str = "topology.kubernetes.io/zone";
const OLD_LABEL: &str = "failure-domain.beta.kubernetes.io/zone";
const GKE: &str = "topology.gke.io/zone";

/// Keys of node affinities that tell a zone.
const KEYS: [&str; 7] = [
    "topology.ebs.csi.aws.com/zone",
    "topology.disk.csi.azure.com/zone",
    GKE,
    "topology.manila.csi.openstack.org/zone",
    "topology.cinder.csi.openstack.org/zone",
    LABEL,
    OLD_LABEL,
];

/// The zone of a volume, from its labels or its node affinity; empty when neither tells.
///
/// A regional disk of GKE has one term for each zone; they are joined by `__`. Any other volume has the first value of
/// the first expression that tells. Mirrors `zoneFromPVNodeAffinity` in upstream's `pkg/backup/item_backupper.go`.
pub(super) fn zone(volume: &ItemTree) -> String {
    let labels = volume.labels();
    if let Some(zone) = labels.get(LABEL).or_else(|| labels.get(OLD_LABEL)) {
        return zone.clone();
    }
    let terms = volume.array_at("/spec/nodeAffinity/required/nodeSelectorTerms");
    let expressions = terms
        .iter()
        .filter_map(|term| term.get("matchExpressions")?.as_array())
        .flatten();
    let mut regional = Vec::new();
    for (key, zone) in expressions.filter_map(first_value) {
        if key != GKE {
            return zone.to_owned();
        }
        regional.push(zone);
    }
    regional.join("__")
}

/// The key of an expression that tells a zone, and its first value.
fn first_value(expression: &Value) -> Option<(&str, &str)> {
    let key = expression.get("key")?.as_str()?;
    let is_zone = KEYS.contains(&key) && expression.get("operator")?.as_str() == Some("In");
    let zone = expression.get("values")?.as_array()?.first()?.as_str()?;
    (is_zone && !zone.is_empty()).then_some((key, zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn zones() {
        let terms = |terms: Value| json!({"required": {"nodeSelectorTerms": terms}});
        let term = |key: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]});
        let not =
            json!({"matchExpressions": [{"key": LABEL, "operator": "NotIn", "values": ["a"]}]});
        for (labels, affinity, expected) in [
            (json!({LABEL: "new", OLD_LABEL: "old"}), json!(null), "new"),
            (
                json!({OLD_LABEL: "old"}),
                terms(json!([term(LABEL, json!(["x"]))])),
                "old",
            ),
            (json!({}), json!(null), ""),
            (
                json!({}),
                terms(json!([term(
                    "topology.ebs.csi.aws.com/zone",
                    json!(["a", "b"])
                )])),
                "a",
            ),
            (
                json!({}),
                terms(json!([term(
                    "topology.disk.csi.azure.com/zone",
                    json!(["az-1"])
                )])),
                "az-1",
            ),
            (
                json!({}),
                terms(json!([term(
                    "topology.manila.csi.openstack.org/zone",
                    json!(["m"])
                )])),
                "m",
            ),
            (
                json!({}),
                terms(json!([term(
                    "topology.cinder.csi.openstack.org/zone",
                    json!(["c"])
                )])),
                "c",
            ),
            (json!({}), terms(json!([term(LABEL, json!(["l"]))])), "l"),
            (
                json!({}),
                terms(json!([term(OLD_LABEL, json!(["o"]))])),
                "o",
            ),
            (
                json!({}),
                terms(json!([not.clone(), term(LABEL, json!(["second"]))])),
                "second",
            ),
            (
                json!({}),
                terms(json!([
                    term("rack", json!(["r"])),
                    term(LABEL, json!(["a"])),
                    term(LABEL, json!(["b"]))
                ])),
                "a",
            ),
            (
                json!({}),
                terms(json!([
                    term(GKE, json!(["a", "x"])),
                    term(GKE, json!(["b"]))
                ])),
                "a__b",
            ),
            (json!({}), terms(json!([term(GKE, json!(["a"]))])), "a"),
            (json!({}), terms(json!([term(LABEL, json!([]))])), ""),
            (json!({}), terms(json!([not])), ""),
        ] {
            let volume = ItemTree::new(json!({"metadata": {"name": "pv", "labels": labels}, "spec": {"nodeAffinity": affinity}})).unwrap();
            assert_eq!(zone(&volume), expected, "{:?}", volume.as_value());
        }
    }
}
