//! One restore with the situations that it meets.

use serde_json::{Value, json};

use super::kinds::{Kind, named};

/// Label of all objects that are backed up; its value is the round.
pub(super) const LABEL: &str = "matrix.example.com/round";

/// What happens to an object between backup and restore.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Nothing.
    Keep,
    /// It is deleted.
    Delete,
    /// It gets a merge patch.
    Patch(Value),
    /// It is deleted, and another of its name takes its place.
    Replace(Value),
    /// It comes only now, so that no backup has it.
    Come,
}

/// An object, what happens to it, and what the plan is to say.
#[derive(Debug, Clone)]
pub(super) struct Situation {
    pub(super) object: Value,
    pub(super) change: Change,
    /// The verdict with what limits it, such as `create, unverified`.
    pub(super) expected: &'static str,
}

/// One restore, and the situations in which its objects are.
#[derive(Debug, Clone, Default)]
pub(super) struct Round {
    pub(super) name: &'static str,
    /// Flags of plan and restore.
    pub(super) flags: Vec<&'static str>,
    /// What is there before, and is not backed up.
    pub(super) surroundings: Vec<Value>,
    /// What comes between backup and restore.
    pub(super) obstacles: Vec<Value>,
    /// An object that is refused as soon as the obstacles are in force.
    pub(super) canary: Option<Value>,
    /// Whether the restore is run by a user who may not do everything.
    pub(super) is_clerk: bool,
    pub(super) situations: Vec<Situation>,
    /// Namespaces that get another name.
    pub(super) mapping: Vec<(&'static str, &'static str)>,
    /// Namespaces to delete after the backup, and whether to wait until they are gone.
    pub(super) deleted: Vec<(&'static str, bool)>,
}

impl Round {
    pub(super) fn new(name: &'static str, flags: &[&'static str]) -> Self {
        Self {
            name,
            flags: flags.to_vec(),
            ..Self::default()
        }
    }

    /// The namespace of most of its objects.
    pub(super) fn space(&self) -> String {
        format!("m-{}", self.name)
    }

    /// Adds a situation of an object in the round's namespace.
    pub(super) fn add(
        &mut self,
        object: &Value,
        name: &str,
        change: Change,
        expected: &'static str,
    ) -> &mut Self {
        let object = named(object, &self.space(), name);
        self.put(object, change, expected)
    }

    /// Adds a situation of an object that has its name and namespace.
    pub(super) fn put(
        &mut self,
        mut object: Value,
        change: Change,
        expected: &'static str,
    ) -> &mut Self {
        object["metadata"]["labels"][LABEL] = json!(self.name);
        self.situations.push(Situation {
            object,
            change,
            expected,
        });
        self
    }

    /// Adds each kind three times: gone, as it was, changed.
    pub(super) fn thrice(&mut self, kinds: Vec<Kind>, is_cluster: bool, differs: &'static str) {
        for (object, patch) in kinds {
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
            // Accounts are united with what the cluster has, whatever the policy.
            let differs = match kind.as_str() {
                "serviceaccount" => "update",
                _ => differs,
            };
            for (state, change, expected) in [
                ("absent", Change::Delete, "create"),
                ("equal", Change::Keep, "skip-identical"),
                ("differs", Change::Patch(patch), differs),
            ] {
                let name = format!("{kind}-{state}");
                if is_cluster {
                    let name = format!("m-{}-{name}", self.name);
                    self.put(named(&object, "", &name), change, expected);
                } else {
                    self.add(&object, &name, change, expected);
                }
            }
        }
    }

    /// Whether objects that are there stay as they are, with not even a label of the restore.
    pub(super) fn leaves(&self) -> bool {
        !self.flags.contains(&"--existing-resource-policy")
    }

    /// Whether a namespace is deleted before the restore, and what is in it may go at any time.
    pub(super) fn goes(&self, namespace: &str) -> bool {
        let mut deleted = self.deleted.iter();
        deleted.any(|(name, _)| *name == namespace)
    }

    /// Where an object of the archive goes.
    pub(super) fn target<'a>(&self, namespace: &'a str) -> &'a str {
        let found = self.mapping.iter().find(|(from, _)| *from == namespace);
        found.map_or(namespace, |(_, to)| *to)
    }
}
