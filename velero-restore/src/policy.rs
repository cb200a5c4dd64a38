//! What becomes of objects that are in the cluster already.

use std::fmt;
use std::str::FromStr;

use velero_core::api::Restore;

use crate::validate::switch_of;

/// Annotation of a Restore that says `recreate` where objects that cannot be changed are to be deleted and created anew, and
/// `mirror` where objects that the backup does not have are to be deleted, too. It goes with the policy `update` of the spec,
/// which is all that the peer knows.
pub const EXISTING_RESOURCE_POLICY: &str = "x.velero.io/existing-resource-policy";
/// Annotation of a Restore that says `true` where objects are to get the owners again that they had.
pub const RELINK_OWNERS: &str = "x.velero.io/relink-owners";

/// What becomes of an object of the cluster that differs from the one in the backup.
///
/// Whatever the policy: what every cluster provides by itself, Velero, its namespace and its custom resources are not
/// changed, a ServiceAccount is merged, and an object that is equal stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExistingPolicy {
    /// It stays as it is, with a warning: `none`.
    #[default]
    Leave,
    /// It is changed, where the API server lets it: `update`.
    Update,
    /// It is changed, or deleted and created anew where the API server refuses the change as invalid: `recreate`. Claims,
    /// volumes and CustomResourceDefinitions are never deleted to be created anew.
    Recreate,
    /// As `recreate`; objects of the cluster that restore and backup select and that the backup does not have are deleted, by a
    /// plan that lists them alone: `mirror`. See [`BackedUp`](crate::BackedUp).
    Mirror,
}

impl ExistingPolicy {
    /// The policy of a Restore that is valid.
    pub fn of(restore: &Restore) -> Self {
        let said = switch_of(restore, EXISTING_RESOURCE_POLICY);
        match (restore.spec.existing_resource_policy.as_str(), said) {
            (_, Some("recreate")) => Self::Recreate,
            (_, Some("mirror")) => Self::Mirror,
            ("update", _) => Self::Update,
            _ => Self::Leave,
        }
    }

    /// Writes the policy into a Restore.
    pub fn apply(self, restore: &mut Restore) {
        let policy = match self {
            Self::Leave => "none",
            Self::Update | Self::Recreate | Self::Mirror => "update",
        };
        restore.spec.existing_resource_policy = policy.to_owned();
        let annotations = &mut restore.metadata.annotations;
        if matches!(self, Self::Recreate | Self::Mirror) {
            let (key, value) = (EXISTING_RESOURCE_POLICY.to_owned(), self.to_string());
            annotations.get_or_insert_default().insert(key, value);
        } else if let Some(annotations) = annotations {
            annotations.remove(EXISTING_RESOURCE_POLICY);
        }
    }
}

impl fmt::Display for ExistingPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leave => "none",
            Self::Update => "update",
            Self::Recreate => "recreate",
            Self::Mirror => "mirror",
        })
    }
}

impl FromStr for ExistingPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "none" => Ok(Self::Leave),
            "update" => Ok(Self::Update),
            "recreate" => Ok(Self::Recreate),
            "mirror" => Ok(Self::Mirror),
            _ => Err(format!(
                "{text:?} is not one of none, update, recreate and mirror"
            )),
        }
    }
}

/// What is wrong with the annotations of this module.
pub(crate) fn policy_faults(restore: &Restore) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(said) = switch_of(restore, EXISTING_RESOURCE_POLICY) {
        let spec = restore.spec.existing_resource_policy.as_str();
        if !["recreate", "mirror"].contains(&said) {
            faults.push(format!(
                "annotation {EXISTING_RESOURCE_POLICY}: {said:?} is not known; \"recreate\" and \"mirror\" are"
            ));
        } else if spec == "none" {
            faults.push(format!(
                "annotation {EXISTING_RESOURCE_POLICY}: {said:?} contradicts existingResourcePolicy {spec:?}; \"update\" \
                 goes with it"
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies_of_spec_and_annotation() {
        for (spec, said, expected) in [
            ("", None, Ok(ExistingPolicy::Leave)),
            ("none", None, Ok(ExistingPolicy::Leave)),
            ("update", None, Ok(ExistingPolicy::Update)),
            ("", Some("recreate"), Ok(ExistingPolicy::Recreate)),
            ("update", Some("recreate"), Ok(ExistingPolicy::Recreate)),
            ("none", Some("recreate"), Err("contradicts")),
            ("", Some("mirror"), Ok(ExistingPolicy::Mirror)),
            ("none", Some("mirror"), Err("contradicts")),
            ("update", Some("replace"), Err("\"replace\" is not known")),
        ] {
            let mut restore: Restore = serde_json::from_value(json!({
                "metadata": {"name": "r"}, "spec": {"backupName": "b", "existingResourcePolicy": spec},
            }))
            .unwrap();
            if let Some(said) = said {
                let annotation = (EXISTING_RESOURCE_POLICY.to_owned(), said.to_owned());
                restore.metadata.annotations = Some([annotation].into());
            }
            let faults = policy_faults(&restore).join("; ");
            match expected {
                Ok(policy) => {
                    assert_eq!(
                        (faults.as_str(), ExistingPolicy::of(&restore)),
                        ("", policy)
                    );
                    // What is written is read again.
                    policy.apply(&mut restore);
                    assert_eq!(ExistingPolicy::of(&restore), policy);
                    assert!(policy_faults(&restore).is_empty());
                    assert_eq!(policy.to_string().parse(), Ok(policy));
                }
                Err(fault) => assert!(faults.contains(fault), "{faults}"),
            }
        }
        assert!("replace".parse::<ExistingPolicy>().is_err());
    }
}
