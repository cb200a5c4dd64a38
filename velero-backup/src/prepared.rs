//! An item after its actions, on its way into the archive.

use std::sync::Arc;

use velero_core::action::{BackupOperation, BackupOutcome};
use velero_core::names::annotations;
use velero_core::result::{Record, Severity, chain};
use velero_core::{ApiResource, ItemTree, RawItem, ResourceIdentifier};

use crate::blocks::Member;
use crate::invoke::CSI_ACTION;
use crate::pod_facts::PodFacts;

/// What [`CSI_ACTION`] made of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CsiOutcome {
    /// A snapshot is being taken.
    Taken,
    /// The volume is not of a CSI driver.
    NotCsi,
}

/// An item after its actions.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) resource: Arc<ApiResource>,
    /// The item as it was read.
    pub(crate) original: RawItem,
    /// The item as it is stored.
    pub(crate) stored: RawItem,
    /// What is to be known of it if it is a pod.
    pub(crate) pod: Option<Arc<PodFacts>>,
    pub(crate) additional: Vec<ResourceIdentifier>,
    /// Whether the additional items enter the backup whatever the filters say.
    pub(crate) must_include: bool,
    /// Whether an action wants the item left out.
    pub(crate) skip: bool,
    /// What the action for the snapshots of CSI volumes made of a claim.
    pub(crate) csi: Option<CsiOutcome>,
    /// What actions have started, with the names of the actions.
    pub(crate) operations: Vec<(String, BackupOperation)>,
    pub(crate) records: Vec<Record>,
}

/// An item that no action has looked at.
impl From<Member> for Prepared {
    fn from(member: Member) -> Self {
        Self {
            resource: member.resource,
            stored: member.item.clone(),
            original: member.item,
            pod: member.pod,
            additional: Vec::new(),
            must_include: false,
            skip: false,
            csi: None,
            operations: Vec::new(),
            records: Vec::new(),
        }
    }
}

impl Prepared {
    /// The item as additional items name it.
    pub(crate) fn id(&self) -> ResourceIdentifier {
        identify(&self.resource, &self.original)
    }

    /// Notes what went wrong with the item.
    pub(crate) fn error(&mut self, message: String) {
        let head = self.original.head();
        self.records.push(Record::item(
            Severity::Error,
            self.resource.group_resource(),
            head.namespace.as_str(),
            head.name.as_str(),
            message,
        ));
    }

    /// Takes the outcome of an action; two annotations of a changed item are orders to the engine and not stored. Gives
    /// the item as the action has changed it.
    pub(crate) fn take(&mut self, action: &str, outcome: BackupOutcome) -> Option<ItemTree> {
        self.skip |= outcome.skip;
        let started = outcome.operation.is_some() || !outcome.additional_items.is_empty();
        if action == CSI_ACTION && started {
            self.csi = Some(CsiOutcome::Taken);
        }
        if let Some(operation) = outcome.operation.filter(|started| !started.id.is_empty()) {
            self.operations.push((action.to_owned(), operation));
        }
        for id in outcome.additional_items {
            if !self.additional.contains(&id) {
                self.additional.push(id);
            }
        }
        let mut tree = outcome.item?;
        self.skip |= tree.annotation(annotations::SKIP_FROM_BACKUP).is_some();
        if tree.annotation(annotations::MUST_INCLUDE_ADDITIONAL_ITEMS) == Some("true") {
            self.must_include = true;
            tree.remove_annotations(&[annotations::MUST_INCLUDE_ADDITIONAL_ITEMS]);
        }
        if action == CSI_ACTION && tree.annotation(annotations::SKIPPED_NO_CSI_PV).is_some() {
            self.csi.get_or_insert(CsiOutcome::NotCsi);
            tree.remove_annotations(&[annotations::SKIPPED_NO_CSI_PV]);
        }
        Some(tree)
    }

    /// Notes the item as it is after all actions.
    pub(crate) fn change(&mut self, tree: &ItemTree) {
        match RawItem::from_tree(tree) {
            Ok(stored) => self.stored = stored,
            Err(error) => self.error(format!(
                "its actions left no object, so it is stored as it was: {}",
                chain(&error)
            )),
        }
    }
}

/// An item as additional items name it.
pub(crate) fn identify(resource: &ApiResource, item: &RawItem) -> ResourceIdentifier {
    let head = item.head();
    ResourceIdentifier {
        group_resource: resource.group_resource(),
        namespace: head.namespace.clone(),
        name: head.name.clone(),
    }
}
