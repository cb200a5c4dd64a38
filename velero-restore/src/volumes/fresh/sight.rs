//! How the new volume of a claim stands, and what is to be done about it: decisions without IO.

use serde_json::{Map, Value, json};
use velero_core::ItemTree;

use super::wanted::NewVolume;

/// What is seen of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClaimSight {
    pub(super) phase: String,
    /// Its volume; empty without one.
    pub(super) volume: String,
    pub(super) class: String,
    /// Whether a pod that uses it has been given a node.
    pub(super) has_consumer: bool,
}

impl ClaimSight {
    pub(super) fn of(claim: &ItemTree) -> Self {
        let text = |at: &str| claim.str_at(at).to_owned();
        Self {
            phase: text("/status/phase"),
            volume: text("/spec/volumeName"),
            class: text("/spec/storageClassName"),
            has_consumer: claim
                .annotation("volume.kubernetes.io/selected-node")
                .is_some(),
        }
    }

    /// Whether its volume is worth a look.
    pub(super) fn is_bound(&self) -> bool {
        self.phase == "Bound" && !self.volume.is_empty()
    }
}

/// What is seen of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct VolumeSight {
    uid: String,
    version: String,
    phase: String,
    /// Namespace and name of its claim; empty without one.
    claim: (String, String),
    policy: String,
    labels: std::collections::BTreeMap<String, String>,
}

impl VolumeSight {
    pub(super) fn of(volume: &ItemTree) -> Self {
        let text = |at: &str| volume.str_at(at).to_owned();
        Self {
            uid: text("/metadata/uid"),
            version: text("/metadata/resourceVersion"),
            phase: text("/status/phase"),
            claim: (
                text("/spec/claimRef/namespace"),
                text("/spec/claimRef/name"),
            ),
            policy: text("/spec/persistentVolumeReclaimPolicy"),
            labels: volume.labels(),
        }
    }
}

/// What is seen of a storage class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClassSight {
    /// Whether volumes are made when a pod uses the claim, not before.
    pub(super) waits: bool,
    /// What volumes of the class get.
    pub(super) policy: String,
}

impl ClassSight {
    pub(super) fn of(class: &ItemTree) -> Self {
        Self {
            waits: class.str_at("/volumeBindingMode") == "WaitForFirstConsumer",
            policy: match class.str_at("/reclaimPolicy") {
                "" => "Delete".to_owned(),
                policy => policy.to_owned(),
            },
        }
    }
}

/// What is to be done about a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Look again later; the text says what is missing.
    Wait(String),
    /// Change the volume.
    Patch(Value),
    /// Nothing any more.
    Done,
    /// Nothing any more, and that is to be told.
    Warn(String),
    /// It cannot be done.
    Fail(String),
}

/// Decides about a claim that is there. `class` is looked at while it is not bound, `volume` when it is; `patient` says
/// whether a pod that uses it may still come.
pub(super) fn step(
    wanted: &NewVolume,
    claim: &ClaimSight,
    class: Option<&ClassSight>,
    volume: Option<&VolumeSight>,
    patient: bool,
) -> Step {
    if !claim.is_bound() {
        return unbound(wanted, claim, class, patient);
    }
    let Some(volume) = volume else {
        return Step::Wait(format!("there is no volume {:?}", claim.volume));
    };
    let (namespace, name) = (volume.claim.0.as_str(), volume.claim.1.as_str());
    if name.is_empty() || volume.phase != "Bound" {
        return Step::Wait(format!("volume {:?} is not bound to it", claim.volume));
    }
    if (namespace, name) != (wanted.namespace.as_str(), wanted.claim.as_str()) {
        return Step::Fail(format!(
            "volume {:?} is bound to claim {namespace}/{name}; its reclaim policy and labels stay as they are",
            claim.volume
        ));
    }
    match patch(wanted, volume) {
        Some(body) => Step::Patch(body),
        None => Step::Done,
    }
}

fn unbound(
    wanted: &NewVolume,
    claim: &ClaimSight,
    class: Option<&ClassSight>,
    patient: bool,
) -> Step {
    match class {
        Some(class) if class.waits && claim.volume.is_empty() && !claim.has_consumer => {
            let what = format!(
                "no pod uses it, for which storage class {:?} waits",
                claim.class
            );
            if patient {
                return Step::Wait(what);
            }
            let policy = wanted.reclaim_policy.as_str();
            if policy.is_empty() || policy == class.policy {
                return Step::Done;
            }
            Step::Warn(format!(
                "its volume will have reclaim policy {:?} instead of {policy:?}: it is made later, as {what}",
                class.policy
            ))
        }
        _ => Step::Wait(match claim.phase.as_str() {
            "" | "Pending" => "the claim is not bound".to_owned(),
            "Bound" => "the claim does not name its volume".to_owned(),
            phase => format!("the claim is {phase}"),
        }),
    }
}

/// The change that a volume needs, for this version of it alone; `None` without one. Other labels of it stay.
fn patch(wanted: &NewVolume, volume: &VolumeSight) -> Option<Value> {
    let labels: Map<String, Value> = wanted
        .labels
        .iter()
        .filter(|(key, value)| volume.labels.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.as_str().into()))
        .collect();
    let policy = wanted.reclaim_policy.as_str();
    let changes_policy = !policy.is_empty() && policy != volume.policy;
    if labels.is_empty() && !changes_policy {
        return None;
    }
    let mut body = json!({"metadata": {"uid": volume.uid, "resourceVersion": volume.version}});
    if !labels.is_empty() {
        body["metadata"]["labels"] = labels.into();
    }
    if changes_policy {
        body["spec"] = json!({"persistentVolumeReclaimPolicy": policy});
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(policy: &str, labels: &[(&str, &str)]) -> NewVolume {
        NewVolume {
            namespace: "shop".into(),
            claim: "data".into(),
            reclaim_policy: policy.into(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn claim(phase: &str, volume: Value, node: Value) -> ClaimSight {
        let claim = json!({"kind": "x", "metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}},
            "spec": {"volumeName": volume, "storageClassName": "fast"}, "status": {"phase": phase}});
        let mut tree = ItemTree::new(claim).unwrap();
        if node.is_null() {
            tree.remove("/metadata", "annotations");
        }
        ClaimSight::of(&tree)
    }

    fn volume(claim: Value, phase: &str, policy: &str, labels: Value) -> VolumeSight {
        let volume = json!({"kind": "x", "metadata": {"uid": "u", "resourceVersion": "7", "labels": labels},
            "spec": {"claimRef": claim, "persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase}});
        VolumeSight::of(&ItemTree::new(volume).unwrap())
    }

    fn class(mode: &str, policy: Value) -> ClassSight {
        let class = json!({"kind": "x", "volumeBindingMode": mode, "reclaimPolicy": policy});
        ClassSight::of(&ItemTree::new(class).unwrap())
    }

    fn told(step: &Step) -> String {
        match step {
            Step::Wait(what) => format!("wait: {what}"),
            Step::Warn(what) => format!("warn: {what}"),
            Step::Fail(what) => format!("fail: {what}"),
            Step::Done => "done".to_owned(),
            Step::Patch(body) => format!("patch: {body}"),
        }
    }

    #[test]
    fn claims_that_are_not_bound() {
        let later = || Some(class("WaitForFirstConsumer", json!("Delete")));
        let at_once = || Some(class("Immediate", json!("Delete")));
        let bare = Some(class("WaitForFirstConsumer", Value::Null));
        for (claim, class, policy, patient, expected) in [
            (
                claim("Pending", Value::Null, Value::Null),
                at_once(),
                "Retain",
                false,
                "wait: the claim is not bound",
            ),
            (
                claim("Pending", Value::Null, Value::Null),
                None,
                "Retain",
                false,
                "wait: the claim is not bound",
            ),
            (
                claim("", Value::Null, Value::Null),
                at_once(),
                "Retain",
                false,
                "wait: the claim is not bound",
            ),
            (
                claim("Lost", json!("pv"), Value::Null),
                at_once(),
                "Retain",
                false,
                "wait: the claim is Lost",
            ),
            (
                claim("Bound", Value::Null, Value::Null),
                at_once(),
                "Retain",
                false,
                "wait: the claim does not name its volume",
            ),
            (
                claim("Pending", Value::Null, Value::Null),
                later(),
                "Retain",
                true,
                "wait: no pod uses it, for which storage class \"fast\" waits",
            ),
            (
                claim("Pending", Value::Null, Value::Null),
                later(),
                "Retain",
                false,
                "warn: its volume will have reclaim policy \"Delete\" instead of \"Retain\": it is made later, as no pod uses \
                 it, for which storage class \"fast\" waits",
            ),
            (
                claim("Pending", Value::Null, Value::Null),
                later(),
                "Delete",
                false,
                "done",
            ),
            (
                claim("Pending", Value::Null, Value::Null),
                bare,
                "Delete",
                false,
                "done",
            ),
            (
                claim("Pending", Value::Null, Value::Null),
                later(),
                "",
                false,
                "done",
            ),
            // The scheduler has chosen a node: the volume is on its way.
            (
                claim("Pending", Value::Null, json!("n1")),
                later(),
                "Retain",
                false,
                "wait: the claim is not bound",
            ),
            (
                claim("Pending", json!("pv"), Value::Null),
                later(),
                "Retain",
                false,
                "wait: the claim is not bound",
            ),
        ] {
            let found = step(&wanted(policy, &[]), &claim, class.as_ref(), None, patient);
            assert_eq!(told(&found), expected, "{claim:?} {class:?}");
        }
    }

    #[test]
    fn volumes_of_bound_claims() {
        let own = || json!({"namespace": "shop", "name": "data"});
        let some =
            |phase: &str, policy: &str, labels: Value| Some(volume(own(), phase, policy, labels));
        let elsewhere = json!({"namespace": "shop", "name": "other"});
        for (volume, expected) in [
            (None, "wait: there is no volume \"pv\""),
            (
                some("Available", "Delete", Value::Null),
                "wait: volume \"pv\" is not bound to it",
            ),
            (
                Some(volume(Value::Null, "Bound", "Delete", Value::Null)),
                "wait: volume \"pv\" is not bound to it",
            ),
            (
                Some(volume(elsewhere, "Bound", "Delete", Value::Null)),
                "fail: volume \"pv\" is bound to claim shop/other; its reclaim policy and labels stay as they are",
            ),
            (
                some("Bound", "Retain", json!({"team": "a", "more": "b"})),
                "done",
            ),
            (
                some("Bound", "Delete", json!({"team": "a"})),
                "patch: {\"metadata\":{\"resourceVersion\":\"7\",\"uid\":\"u\"},\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}",
            ),
            (
                some("Bound", "Retain", json!({"team": "b", "more": "b"})),
                "patch: {\"metadata\":{\"labels\":{\"team\":\"a\"},\"resourceVersion\":\"7\",\"uid\":\"u\"}}",
            ),
        ] {
            let claim = claim("Bound", json!("pv"), Value::Null);
            let wanted = wanted("Retain", &[("team", "a")]);
            let found = step(&wanted, &claim, None, volume.as_ref(), false);
            assert_eq!(told(&found), expected, "{volume:?}");
        }
        // A backup that does not tell the policy changes none.
        let volume = some("Bound", "Delete", Value::Null);
        let claim = claim("Bound", json!("pv"), Value::Null);
        let found = step(&wanted("", &[]), &claim, None, volume.as_ref(), false);
        assert_eq!(found, Step::Done);
    }
}
