//! Resource modifiers, which change objects on their way.

use std::sync::atomic::{AtomicU64, Ordering};

use velero_core::ItemTree;

use super::item::Work;
use super::run::Run;
use crate::RestoreRequest;

/// How many objects each rule has changed so far.
#[derive(Debug, Default)]
pub(super) struct Modified(Vec<AtomicU64>);

impl Modified {
    pub(super) fn new(request: &RestoreRequest) -> Self {
        let rules = request.modifier_rules().map_or(0, |rules| rules.len());
        Self((0..rules).map(|_| AtomicU64::new(0)).collect())
    }

    /// Says in the log what the rules did: one that is for no object may have a slip of the pen.
    pub(super) fn log(&self) {
        for (rule, count) in self.0.iter().enumerate() {
            match count.load(Ordering::Relaxed) {
                0 => tracing::info!("resourceModifierRules[{rule}] changed no object"),
                count => tracing::info!(count, "resourceModifierRules[{rule}] changed objects"),
            }
        }
    }
}

impl Run {
    /// Applies the rules to an object, which still has the namespace that it has in the archive.
    pub(super) fn modify(&self, work: &mut Work<'_>, item: &mut ItemTree) {
        let Some(rules) = self.request.modifier_rules() else {
            return;
        };
        let outcome = rules.apply(work.item.resource, item);
        for rule in outcome.applied {
            if let Some(count) = self.modified.0.get(rule) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        for fault in outcome.faults {
            work.fail(format!(
                "a resource modifier cannot be applied, and nothing of this rule is: {fault}"
            ));
        }
    }
}
