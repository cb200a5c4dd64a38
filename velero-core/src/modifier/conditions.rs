//! Which objects a rule is for.

use regex::Regex;
use serde_json::Value;

use super::json_patch::{Failure, Pointer, test};
use crate::filter::{Glob, IncludesExcludes};
use crate::{ItemTree, Selector};

/// The conditions of a rule, all of which must hold.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    /// `deployments.apps`: `*` stands for one part of the name, `**` for any number.
    pub(super) resource: Glob,
    /// The same as it was written.
    pub(super) resource_text: String,
    /// Namespaces in the archive; objects without a namespace are in all of them.
    pub(super) namespaces: IncludesExcludes,
    /// Must match somewhere in the name.
    pub(super) name: Option<Regex>,
    pub(super) labels: Option<Selector>,
    pub(super) matches: Vec<Match>,
}

/// A value that must be at a place.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub(super) path: Pointer,
    pub(super) value: Value,
}

impl Conditions {
    /// Whether a rule is for an object; the error is the place of the match that makes no sense for it, and why.
    ///
    /// Mirrors `match` in upstream's `internal/resourcemodifiers/resource_modifiers.go`. A list that is too short for a
    /// path is a value that is absent here; there it is an error.
    pub(super) fn hold(&self, resource: &str, item: &ItemTree) -> Result<bool, (usize, String)> {
        let namespace = item.namespace();
        let holds = (namespace.is_empty() || self.namespaces.should_include(namespace))
            && self.resource.matches(resource)
            && self
                .name
                .as_ref()
                .is_none_or(|name| name.is_match(item.name()))
            && self
                .labels
                .as_ref()
                .is_none_or(|labels| labels.is_empty() || labels.matches(&item.labels()));
        if !holds {
            return Ok(false);
        }
        for (at, condition) in self.matches.iter().enumerate() {
            match test(item.as_value(), &condition.path, &condition.value) {
                Ok(()) => {}
                Err(Failure::Test | Failure::Absent(_)) => return Ok(false),
                Err(Failure::Wrong(why)) => {
                    return Err((at, format!("{}: {why}", condition.path.as_str())));
                }
            }
        }
        Ok(true)
    }
}
