//! What is kept, as plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use velero_core::action::RestoreOutcome;
use velero_core::artifact::RestoreItemOperation;
use velero_core::{ItemTree, ResourceIdentifier, Timestamp};

use crate::HookJournal;

/// What a restore has to remember beyond its process: a JSON document.
///
/// It grows with pods that have hooks, with operations of actions and with volumes made of snapshots, and with nothing else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct JournalEntries {
    /// When the first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How the hooks of restored pods stand.
    #[serde(skip_serializing_if = "HookJournal::is_empty")]
    pub hooks: HookJournal,
    /// What actions have started, and what they have made of their items.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) started: Vec<Started>,
    /// Volumes made of snapshots: ids by the names of their PersistentVolumes in the archive.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) volumes: BTreeMap<String, String>,
}

impl JournalEntries {
    /// The operations that actions have started, as they were begun.
    pub fn operations(&self) -> Vec<RestoreItemOperation> {
        let started = self.started.iter();
        started.map(|started| started.operation.clone()).collect()
    }
}

/// An operation that an action has started, and the outcome that came with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    pub(crate) operation: RestoreItemOperation,
    /// What the action has made of the item.
    item: Value,
    #[serde(default)]
    skip: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    additional_items: Vec<ResourceIdentifier>,
    #[serde(default)]
    waits: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
}

impl Started {
    pub(crate) fn new(operation: RestoreItemOperation, outcome: &RestoreOutcome) -> Self {
        Self {
            operation,
            item: outcome.item.as_value().clone(),
            skip: outcome.skip,
            additional_items: outcome.additional_items.clone(),
            waits: outcome.wait_for_additional_items,
            timeout: outcome.additional_items_timeout,
        }
    }

    /// What the action has said; `None` where what is kept is no object.
    pub(crate) fn outcome(self) -> Option<RestoreOutcome> {
        let mut outcome = RestoreOutcome::create(ItemTree::new(self.item).ok()?);
        outcome.skip = self.skip;
        outcome.additional_items = self.additional_items;
        outcome.wait_for_additional_items = self.waits;
        outcome.additional_items_timeout = self.timeout;
        Some(outcome)
    }

    /// Whether it was started by this action for this item.
    pub(crate) fn is_of(&self, action: &str, item: &ResourceIdentifier) -> bool {
        let spec = &self.operation.spec;
        spec.restore_item_action == action && spec.resource_identifier == *item
    }
}
