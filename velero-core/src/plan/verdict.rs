//! What a look at the cluster says of each item of a plan.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ExclusionReason, RestorePlan};

/// What a restore would make of an item, as far as the cluster can be asked.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// The object is not there, and would be created.
    #[default]
    Create,
    /// The object is there as it is wanted, or nobody changes one that is there; it would be left alone.
    SkipIdentical,
    /// The object is there, differs, and would be changed.
    Update,
    /// An object is there that differs, and that would stay as it is: a warning of the restore.
    Conflict,
    /// The object would neither be there nor be created: an error of the restore.
    Blocked,
    /// The item would not be restored, or the object that is not in the backup would stay, on purpose.
    Excluded,
    /// The object is not in the backup, and would be deleted.
    Delete,
}

impl Verdict {
    /// The verdict in one word, as it is printed: `create`, `skip-identical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::SkipIdentical => "skip-identical",
            Self::Update => "update",
            Self::Conflict => "conflict",
            Self::Blocked => "blocked",
            Self::Excluded => "excluded",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a look at the cluster says of one item.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ItemVerdict {
    /// `configmaps`, `deployments.apps`.
    pub resource: String,
    /// `v1/ConfigMap`, as lists of a restore's items name it.
    pub kind: String,
    /// Namespace in the cluster; empty for cluster-scoped objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name in the cluster.
    pub name: String,
    /// What would be made of it.
    pub verdict: Verdict,
    /// Whether the API server could not be asked, as what the object needs comes with the same restore; `reason` says
    /// what that is.
    #[serde(skip_serializing_if = "is_false")]
    pub unverified: bool,
    /// Actions that were not run, because they may have effects, and that may change the verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_to: Vec<String>,
    /// Why; empty where there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether the restore would count an error for it, so that it ended `PartiallyFailed`.
    #[serde(skip_serializing_if = "is_false")]
    pub error: bool,
    /// What differs between the object of the cluster and the wanted one; empty where none is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// How many differences there are beyond `differences`, which is kept short.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_differences: u64,
    /// The object of the cluster, where one was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveObject>,
    /// A digest of the object that would be written; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wanted: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl ItemVerdict {
    /// The verdict with what limits it: `create`, `create, unverified`, `create, subject to example.com/a`.
    pub fn summary(&self) -> String {
        let mut text = self.verdict.to_string();
        if self.unverified {
            text.push_str(", unverified");
        }
        if !self.subject_to.is_empty() {
            text.push_str(", subject to ");
            text.push_str(&self.subject_to.join(" and "));
        }
        text
    }

    /// Where the object lies: `configmaps shop/settings`, `clusterroles.rbac.authorization.k8s.io reader`.
    pub fn place(&self) -> String {
        if self.namespace.is_empty() {
            format!("{} {}", self.resource, self.name)
        } else {
            format!("{} {}/{}", self.resource, self.namespace, self.name)
        }
    }
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Difference {
    /// `spec.replicas`, `data["a.b"]`, `spec.ports[0].port`.
    pub path: String,
    /// What the cluster has; absent where it has nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Value>,
    /// What is wanted; absent where that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Value>,
}

/// Which object of the cluster a verdict was found on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveObject {
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// A digest of what it says: status, owners of fields and what clusters note by themselves aside.
    pub content: String,
}

/// A plan in short: what comes in which order, and how much is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanOutline {
    /// Namespaces to ensure: target name, and the source namespace whose labels and annotations a new one gets.
    pub namespaces: BTreeMap<String, String>,
    /// Kinds in the order in which they come.
    pub waves: Vec<WaveOutline>,
    /// How many items are left out, by kind and reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<ExcludedOutline>,
}

/// One wave in short.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WaveOutline {
    /// The kind.
    pub resource: String,
    /// How many items.
    pub items: u64,
}

/// What is left out of one kind for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExcludedOutline {
    /// The kind.
    pub resource: String,
    /// Why.
    pub reason: String,
    /// How many items.
    pub items: u64,
}

impl RestorePlan {
    /// The plan in short.
    pub fn outline(&self) -> PlanOutline {
        let waves = self.waves.iter().map(|wave| WaveOutline {
            resource: wave.resource.to_string(),
            items: wave.items.len() as u64,
        });
        let excluded = self
            .excluded
            .iter()
            .map(|((resource, reason), items)| ExcludedOutline {
                resource: resource.to_string(),
                reason: reason.to_string(),
                items: *items,
            });
        PlanOutline {
            namespaces: self.namespaces.clone(),
            waves: waves.collect(),
            excluded: excluded.collect(),
        }
    }
}

impl fmt::Display for ExclusionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "the kind is not selected",
            Self::NeverRestored => "the kind is never restored",
            Self::Namespace => "the namespace is not selected",
            Self::Labels => "the labels do not match",
            Self::ClusterScope => "cluster-scoped objects are not selected",
            Self::Completed => "it has run to its end",
            Self::MirrorPod => "a kubelet makes it from a file",
            Self::SameTarget => "another item comes to the same name",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn verdicts_are_short_on_the_wire() {
        let mut item = ItemVerdict {
            resource: "configmaps".into(),
            kind: "v1/ConfigMap".into(),
            namespace: "shop".into(),
            name: "settings".into(),
            ..ItemVerdict::default()
        };
        let plain = json!({"resource": "configmaps", "kind": "v1/ConfigMap", "namespace": "shop", "name": "settings",
            "verdict": "create"});
        assert_eq!(serde_json::to_value(&item).unwrap(), plain);
        assert_eq!(item.summary(), "create");
        assert_eq!(item.place(), "configmaps shop/settings");
        item.verdict = Verdict::SkipIdentical;
        item.unverified = true;
        item.subject_to = vec!["a/b".into(), "c/d".into()];
        item.namespace.clear();
        assert_eq!(
            item.summary(),
            "skip-identical, unverified, subject to a/b and c/d"
        );
        assert_eq!(item.place(), "configmaps settings");
        let text = serde_json::to_string(&item).unwrap();
        assert_eq!(serde_json::from_str::<ItemVerdict>(&text).unwrap(), item);
    }
}
