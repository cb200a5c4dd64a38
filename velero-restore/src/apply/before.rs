//! What an earlier attempt of the restore has created. It counts as created, and what was not done about it is done.

use serde_json::Value;
use velero_core::names::labels;
use velero_core::{ApiResource, ItemTree, Operator, RawItem, Requirement, Selector};

use super::create::Rest;
use super::item::Work;
use super::namespaces::ALWAYS_THERE;
use super::run::Run;
use crate::ownership::{OWN_MANAGER, Ownership, after_conflict, is_status};
use crate::provided::{Provided, provided};
use crate::result::ItemAction;

/// What is known of an object from an earlier attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Before {
    #[default]
    Nothing,
    /// It has its labels and is not older: created by it, as far as that can be told.
    Made,
    /// The cluster makes such objects by itself, in namespaces of the restore too, and no restore changes more of them than
    /// an account's secrets.
    Provided,
}

impl Run {
    /// Whether an earlier attempt has created this object, and it counts as created. Where the policy is to leave what is
    /// there, whoever has changed it since was to: nothing is compared. Any other policy takes up what differs by now.
    pub(super) fn is_made_before(
        &self,
        work: &mut Work<'_>,
        live: &RawItem,
        wanted: &ItemTree,
    ) -> bool {
        let Some(tree) = self.made_before(live) else {
            return false;
        };
        !self.request.updates_existing() || Self::is_as_wanted(work, &tree, wanted)
    }

    /// The pod that an earlier attempt has created, whose hooks are due whatever has become of it since.
    pub(super) fn pod_made_before(&self, work: &Work<'_>, live: &RawItem) -> Option<RawItem> {
        let is_pod = work.item.resource.is("", "pods");
        (is_pod && self.made_before(live).is_some()).then(|| live.clone())
    }

    fn made_before(&self, live: &RawItem) -> Option<ItemTree> {
        let tree = self.ledger.resumes().then(|| live.tree().ok()).flatten()?;
        self.ledger.has_made(&self.request, &tree).then_some(tree)
    }

    /// What a restore that goes on with a plan knows of an object that it meets.
    pub(super) fn known_before(&self, live: &ItemTree, wanted: &ItemTree) -> Before {
        if !self.ledger.resumes() {
            Before::Nothing
        } else if self.ledger.has_made(&self.request, live) {
            Before::Made
        } else if matches!(provided(live, wanted), Provided::No) {
            Before::Nothing
        } else {
            Before::Provided
        }
    }

    /// Selects the objects that carry the label of this restore.
    pub(super) fn own_objects(&self) -> Selector {
        Selector::new(vec![Requirement {
            key: labels::RESTORE_NAME.to_owned(),
            operator: Operator::In,
            values: vec![self.request.restore_label().to_owned()],
        }])
    }

    /// Goes on with an object that an earlier attempt has created: its hooks, its owners, its status and who owns which
    /// field. What is there already is not written again.
    pub(super) async fn created_before(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        mut live: RawItem,
        rest: Rest,
    ) {
        work.set(ItemAction::Created);
        if work.item.resource.is("", "pods") {
            self.hooks.pod_created(&live);
        }
        self.note_owner(work.item.id, &live);
        if live.head().name != work.item.name {
            work.name = Some(live.head().name.clone());
        }
        let Ok(tree) = live.tree() else {
            return;
        };
        self.note_dependent(work, &tree);
        let entries = match rest.ownership {
            Ownership::CreateThenPatch(entries) => Some(entries),
            Ownership::Create(_) => None,
        };
        let is_owned = entries.as_deref().is_some_and(|e| !lacks(&tree, e));
        if let Some(write) = rest.status.as_ref()
            && !is_owned
            && !has_status_of(&tree, &write.manager)
        {
            live = match self.write_status(work, resource, live, write).await {
                Ok(live) | Err(live) => live,
            };
        }
        let Some(mut entries) = entries.filter(|_| !is_owned) else {
            return;
        };
        let Ok(tree) = live.tree() else {
            return;
        };
        let has_status = tree
            .array_at("/metadata/managedFields")
            .iter()
            .any(is_status);
        entries.retain(|entry| has_status || !is_status(entry));
        let entries = after_conflict(&tree, &entries);
        self.patch_managed_fields(work, resource, live, entries)
            .await;
    }

    /// Whether an earlier attempt has created a namespace: it is not older than the restore and is what the restore would
    /// make of it. Sets who owns its fields, where that was not done.
    pub(super) async fn namespace_made_before(
        &self,
        resource: &ApiResource,
        wanted: &ItemTree,
        owners: Option<Vec<Value>>,
    ) -> bool {
        if !self.ledger.resumes()
            || self.rehearsal.is_some()
            || ALWAYS_THERE.contains(&wanted.name())
        {
            return false;
        }
        // What cannot be read counts as there before; nothing follows from it but a line in a list.
        let Ok(Some(live)) = self.cluster.get(resource, "", wanted.name()).await else {
            return false;
        };
        let Ok(tree) = live.tree() else {
            return false;
        };
        let (labels, annotations) = (tree.labels(), tree.annotations());
        let has_all = wanted
            .labels()
            .iter()
            .all(|(k, v)| labels.get(k) == Some(v))
            && wanted
                .annotations()
                .iter()
                .all(|(k, v)| annotations.get(k) == Some(v));
        if !has_all || !self.ledger.is_recent(&tree) {
            return false;
        }
        if let Some(owners) = owners.filter(|owners| lacks(&tree, owners)) {
            let owners = after_conflict(&tree, &owners);
            self.give_namespace_to(resource, live, owners).await;
        }
        true
    }
}

/// Whether a live object was created and its managedFields were not set to these: our own entry is still there.
fn lacks(live: &ItemTree, entries: &[Value]) -> bool {
    let is_own = |entry: &&Value| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str);
        text("manager") == Some(OWN_MANAGER)
            && text("operation") == Some("Update")
            && text("subresource").unwrap_or_default().is_empty()
    };
    let own = live.array_at("/metadata/managedFields").iter().find(is_own);
    let archived = entries.iter().find(is_own);
    own.is_some_and(|own| archived.is_none_or(|entry| entry["fieldsV1"] != own["fieldsV1"]))
}

/// Whether a manager has written the status of a live object.
fn has_status_of(live: &ItemTree, manager: &str) -> bool {
    let mut entries = live.array_at("/metadata/managedFields").iter();
    entries.any(|entry| is_status(entry) && entry["manager"] == *manager)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, subresource: &str, fields: Value) -> Value {
        let mut entry = json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsV1": fields});
        if !subresource.is_empty() {
            entry["subresource"] = json!(subresource);
        }
        entry
    }

    #[test]
    fn our_own_entry_stays_until_others_take_its_place() {
        let (data, all) = (
            json!({"f:data": {}}),
            json!({"f:data": {}, "f:metadata": {}}),
        );
        let own = || entry(OWN_MANAGER, "", all.clone());
        let status = || entry(OWN_MANAGER, "status", json!({"f:status": {}}));
        let kubectl = || entry("kubectl", "", data.clone());
        for (live, archived, expected) in [
            (vec![own()], vec![kubectl()], true),
            (
                vec![own(), entry("other", "", data.clone())],
                vec![kubectl()],
                true,
            ),
            (vec![kubectl()], vec![kubectl()], false),
            (vec![status()], vec![kubectl()], false),
            (vec![own()], vec![own()], false),
            (
                vec![own()],
                vec![entry(OWN_MANAGER, "", data.clone())],
                true,
            ),
            (vec![], vec![kubectl()], false),
        ] {
            let object = json!({"metadata": {"managedFields": live}});
            let tree = ItemTree::new(object).unwrap();
            assert_eq!(lacks(&tree, &archived), expected, "{live:?} {archived:?}");
            assert_eq!(has_status_of(&tree, OWN_MANAGER), live.contains(&status()));
        }
    }
}
