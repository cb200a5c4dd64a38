//! Resource modifiers: rules in a ConfigMap that a `Restore` names, which change objects on their way into a cluster.
//!
//! ```
//! use serde_json::json;
//! use velero_core::modifier::ResourceModifiers;
//! use velero_core::{GroupResource, ItemTree};
//!
//! let modifiers = ResourceModifiers::parse(
//!     r#"
//! version: v1
//! resourceModifierRules:
//! - conditions:
//!     groupResource: persistentvolumeclaims
//!     namespaces: [shop-*]
//!     matches:
//!     - path: /spec/storageClassName
//!       value: standard
//!   patches:
//!   - operation: replace
//!     path: /spec/storageClassName
//!     value: premium
//! - conditions:
//!     groupResource: deployments.apps
//!     resourceNameRegex: ^web-
//!   strategicPatches:
//!   - patchData: |
//!       spec:
//!         template:
//!           spec:
//!             containers:
//!             - name: app
//!               image: registry.example.com/app:2
//! "#,
//! )
//! .map_err(|faults| faults.join("; "))?;
//!
//! let mut claim = ItemTree::new(json!({
//!     "apiVersion": "v1", "kind": "PersistentVolumeClaim",
//!     "metadata": {"namespace": "shop-eu", "name": "data"},
//!     "spec": {"storageClassName": "standard"},
//! }))
//! .map_err(|e| e.to_string())?;
//! let outcome = modifiers.apply(&GroupResource::core("persistentvolumeclaims"), &mut claim);
//! assert!(outcome.faults.is_empty());
//! assert_eq!(claim.str_at("/spec/storageClassName"), "premium");
//! # Ok::<_, String>(())
//! ```
//!
//! Mirrors upstream's `internal/resourcemodifiers`. What can be known to be wrong with a rule without an object is told
//! by [`ResourceModifiers::parse`]; the peer finds most of it only when it applies the rule, once for each object.

mod conditions;
mod json_patch;
mod merge_patch;
mod parse;
mod shapes;
mod strategic;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use self::conditions::Conditions;
use self::json_patch::{Failure, Op, Operation};
use self::shapes::shapes;
use self::strategic::Merger;
use crate::{GroupResource, ItemTree};

/// The kind of `spec.resourceModifier` that is read, in any case.
pub const CONFIG_MAP_KIND: &str = "configmap";

/// The resource modifiers of a restore.
#[derive(Debug, Clone)]
pub struct ResourceModifiers {
    rules: Vec<Rule>,
}

/// What [`ResourceModifiers::apply`] did to an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModifierOutcome {
    /// The places of the rules whose patches were made, counted from 0.
    pub applied: Vec<usize>,
    /// Rules whose patches could not be made. The object has nothing of them.
    pub faults: Vec<ModifierFault>,
}

/// Why a rule could not be applied to an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ModifierFault {
    /// The place of the rule, counted from 0.
    pub rule: usize,
    /// What could not be done: `resourceModifierRules[0].patches[2]` for example.
    pub place: String,
    /// Why.
    pub message: String,
}

#[derive(Debug, Clone)]
struct Rule {
    conditions: Conditions,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    Json(Vec<Operation>),
    Merge(Vec<Map<String, Value>>),
    Strategic(Vec<Map<String, Value>>),
}

/// What is wrong, and with which part of a rule.
type Wrong = (String, String);

impl ResourceModifiers {
    /// Reads rules from YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with them, one line each, naming the rule and the field:
    /// `resourceModifierRules[1].patches[0].path: it is missing; ...`.
    pub fn parse(yaml: &str) -> Result<Self, Vec<String>> {
        parse::rules(yaml).map(|rules| Self { rules })
    }

    /// Reads rules from the data of a ConfigMap, which must have one key of any name.
    ///
    /// # Errors
    /// As [`ResourceModifiers::parse`], each line behind the name of the ConfigMap and of the key.
    pub fn from_config_map(
        namespace: &str,
        name: &str,
        data: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<String>> {
        let place = format!("resource modifier ConfigMap {namespace}/{name}");
        let mut entries = data.iter();
        let (Some((key, yaml)), None) = (entries.next(), entries.next()) else {
            return Err(vec![format!(
                "{place}: it has {} data keys and must have exactly one, which holds the rules as yaml",
                data.len()
            )]);
        };
        Self::parse(yaml).map_err(|faults| {
            let line = |fault| format!("{place}, key {key}: {fault}");
            faults.into_iter().map(line).collect()
        })
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are no rules. There are some after a successful [`ResourceModifiers::parse`].
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules whose `groupResource` matches none of the names: their places, counted from 0, and what they have.
    pub fn without_resource<'a>(&'a self, known: &BTreeSet<String>) -> Vec<(usize, &'a str)> {
        let conditions = self.rules.iter().map(|rule| &rule.conditions).enumerate();
        conditions
            .filter(|(_, rule)| !known.iter().any(|name| rule.resource.matches(name)))
            .map(|(at, rule)| (at, rule.resource_text.as_str()))
            .collect()
    }

    /// Whether a rule for objects of `resource` writes their `apiVersion` or `kind`: objects of a kind that a cluster
    /// does not serve can become others then.
    pub fn changes_kind(&self, resource: &GroupResource) -> bool {
        let resource = resource.to_string();
        self.rules
            .iter()
            .any(|rule| rule.conditions.resource.matches(&resource) && rule.change.changes_kind())
    }

    /// Applies all rules that are for an object of `resource`, which has the namespace that it has in the archive.
    ///
    /// Conditions look at the object as it was before any rule; patches are made one after another. A rule whose JSON
    /// patch has a `test` that fails changes nothing, and that is no fault. A rule that fails otherwise changes nothing
    /// either; the others go on.
    pub fn apply(&self, resource: &GroupResource, item: &mut ItemTree) -> ModifierOutcome {
        let resource = resource.to_string();
        let mut outcome = ModifierOutcome::default();
        let mut held = Vec::new();
        let fault = |rule: usize, (part, message): Wrong| ModifierFault {
            rule,
            place: format!("resourceModifierRules[{rule}].{part}"),
            message,
        };
        for (at, rule) in self.rules.iter().enumerate() {
            match rule.conditions.hold(&resource, item) {
                Ok(true) => held.push((at, rule)),
                Ok(false) => {}
                Err((condition, message)) => {
                    let part = format!("conditions.matches[{condition}]");
                    outcome.faults.push(fault(at, (part, message)));
                }
            }
        }
        for (at, rule) in held {
            match rule.change.made(item) {
                Ok(Some(changed)) => {
                    *item = changed;
                    outcome.applied.push(at);
                }
                Ok(None) => {}
                Err(wrong) => outcome.faults.push(fault(at, wrong)),
            }
        }
        outcome.faults.sort_by_key(|fault| fault.rule);
        outcome
    }
}

impl Change {
    fn changes_kind(&self) -> bool {
        let fields = ["apiVersion", "kind"];
        match self {
            Self::Json(operations) => operations.iter().any(|operation| {
                let path = operation.path.as_str().strip_prefix('/');
                operation.op != Op::Test && path.is_some_and(|path| fields.contains(&path))
            }),
            Self::Merge(patches) | Self::Strategic(patches) => patches
                .iter()
                .any(|patch| fields.iter().any(|field| patch.contains_key(*field))),
        }
    }

    /// The object with all patches made; `None` when a test says that they are not to be made.
    fn made(&self, item: &ItemTree) -> Result<Option<ItemTree>, Wrong> {
        let mut draft = item.clone();
        let list = match self {
            Self::Json(operations) => {
                match json_patch::apply(draft.as_value_mut(), operations) {
                    Ok(()) => {}
                    Err((_, Failure::Test)) => return Ok(None),
                    Err((at, Failure::Absent(why) | Failure::Wrong(why))) => {
                        return Err((format!("patches[{at}]"), told(operations.get(at), &why)));
                    }
                }
                "patches"
            }
            Self::Merge(patches) => {
                if let Value::Object(object) = draft.as_value_mut() {
                    for patch in patches {
                        merge_patch::merge(object, patch);
                    }
                }
                "mergePatches"
            }
            Self::Strategic(patches) => {
                for (at, patch) in patches.iter().enumerate() {
                    strategically(&mut draft, patch)
                        .map_err(|why| (format!("strategicPatches[{at}]"), why))?;
                }
                "strategicPatches"
            }
        };
        match lost(&draft) {
            None => Ok(Some(draft)),
            Some(field) => Err((
                list.to_owned(),
                format!("the object would have no {field}, without which it cannot be restored"),
            )),
        }
    }
}

/// What could not be done.
fn told(operation: Option<&Operation>, why: &str) -> String {
    let Some(operation) = operation else {
        return why.to_owned();
    };
    let (op, path) = (operation.op.as_str(), operation.path.as_str());
    if operation.op.has_source() {
        format!("{op} {} to {path}: {why}", operation.from.as_str())
    } else {
        format!("{op} {path}: {why}")
    }
}

fn strategically(item: &mut ItemTree, patch: &Map<String, Value>) -> Result<(), String> {
    let (version, kind) = (item.api_version(), item.kind());
    let Some(shape) = shapes().of_kind(version, kind) else {
        return Err(format!(
            "{version} {kind} has no strategic merge patches, which are for the kinds of kubernetes itself; use mergePatches or patches"
        ));
    };
    if let Value::Object(object) = item.as_value_mut() {
        let merged = Merger::new(shapes()).merge(&shape, std::mem::take(object), patch);
        *object = merged.map_err(|trouble| trouble.to_string())?;
    }
    Ok(())
}

/// A field that every object needs and that is gone.
fn lost(item: &ItemTree) -> Option<&'static str> {
    [
        ("/apiVersion", "apiVersion"),
        ("/kind", "kind"),
        ("/metadata/name", "metadata.name"),
    ]
    .into_iter()
    .find(|(pointer, _)| item.str_at(pointer).is_empty())
    .map(|(_, field)| field)
}

#[cfg(test)]
mod tests;
