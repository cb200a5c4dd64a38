//! What a claim needs, and what earlier restores left on it.

use async_trait::async_trait;
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, Effects, ResourceSelector,
};
use velero_core::api::Backup;
use velero_core::names::{annotations, labels, valid_label_name};
use velero_core::{GroupResource, ItemTree, ResourceIdentifier};

/// `velero.io/pv`: asks for the volume of a bound claim and clears what earlier restores left on the claim.
///
/// A claim that is not bound stays as it is. Mirrors upstream's `pkg/backup/actions/backup_pv_action.go`.
#[derive(Debug, Clone, Copy, Default)]
pub struct PersistentVolumeClaimAction;

#[async_trait]
impl BackupItemAction for PersistentVolumeClaimAction {
    fn name(&self) -> &str {
        "velero.io/pv"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["persistentvolumeclaims"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        let volume = item.str_at("/spec/volumeName").to_owned();
        if item.str_at("/status/phase") != "Bound" || volume.is_empty() {
            return Ok(BackupOutcome::unchanged());
        }
        let related = ResourceIdentifier::cluster(GroupResource::core("persistentvolumes"), volume);
        let mut cleaned = item.clone();
        clean(
            &mut cleaned,
            cx.run.metadata.name.as_deref().unwrap_or_default(),
        );
        let outcome = if cleaned == item {
            BackupOutcome::unchanged()
        } else {
            BackupOutcome::changed(cleaned)
        };
        Ok(outcome.with([related]))
    }

    fn effects(&self) -> Effects {
        Effects::None
    }
}

fn clean(claim: &mut ItemTree, backup: &str) {
    claim.remove("/spec", "dataSource");
    claim.remove("/spec", "dataSourceRef");
    // A claim for a volume that was made by hand finds it by this selector; any other has its volume already.
    if claim.at("/spec/storageClassName").and_then(|v| v.as_str()) == Some("") {
        drop_velero_keys(claim);
    } else {
        claim.remove("/spec", "selector");
    }
    let stale_backup = claim
        .labels()
        .get(labels::BACKUP_NAME)
        .is_some_and(|v| *v != backup && *v != valid_label_name(backup));
    let mut stale = vec![
        labels::RESTORE_NAME,
        labels::VOLUME_SNAPSHOT_NAME,
        annotations::MUST_INCLUDE_ADDITIONAL_ITEMS,
    ];
    if stale_backup {
        stale.push(labels::BACKUP_NAME);
    }
    if claim
        .labels()
        .keys()
        .any(|key| stale.contains(&key.as_str()))
    {
        claim.remove_labels(&stale);
    }
}

fn drop_velero_keys(claim: &mut ItemTree) {
    if let Some(map) = claim
        .at_mut("/spec/selector/matchLabels")
        .and_then(|v| v.as_object_mut())
    {
        map.retain(|key, _| !key.starts_with("velero.io/"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cleaned(labels: Value, spec: Value) -> Value {
        let mut claim =
            ItemTree::new(json!({"metadata": {"name": "c", "labels": labels}, "spec": spec}))
                .unwrap();
        clean(&mut claim, "today");
        claim.into_value()
    }

    #[test]
    fn what_earlier_restores_left_is_cleared() {
        for (labels, spec, expected_labels, expected_spec) in [
            (
                json!({"a": "b"}),
                json!({"volumeName": "v"}),
                json!({"a": "b"}),
                json!({"volumeName": "v"}),
            ),
            (
                json!({"a": "b"}),
                json!({"dataSource": {"name": "s"}, "dataSourceRef": {"name": "s"}}),
                json!({"a": "b"}),
                json!({}),
            ),
            (
                json!({"velero.io/backup-name": "today", "velero.io/restore-name": "r"}),
                json!({}),
                json!({"velero.io/backup-name": "today"}),
                json!({}),
            ),
            (
                json!({"velero.io/backup-name": "old", "x": "y"}),
                json!({}),
                json!({"x": "y"}),
                json!({}),
            ),
            (
                json!({"velero.io/volume-snapshot-name": "s"}),
                json!({}),
                Value::Null,
                json!({}),
            ),
            (
                json!({"a": "b"}),
                json!({"storageClassName": "fast", "selector": {"matchLabels": {"x": "y"}}}),
                json!({"a": "b"}),
                json!({"storageClassName": "fast"}),
            ),
            (
                json!({"a": "b"}),
                json!({"storageClassName": "", "selector": {"matchLabels": {"x": "y", "velero.io/dynamic-pv-restore": "z"}}}),
                json!({"a": "b"}),
                json!({"storageClassName": "", "selector": {"matchLabels": {"x": "y"}}}),
            ),
        ] {
            let out = cleaned(labels.clone(), spec.clone());
            assert_eq!(out["spec"], expected_spec, "{labels} {spec}");
            assert_eq!(
                out["metadata"]
                    .get("labels")
                    .cloned()
                    .unwrap_or(Value::Null),
                expected_labels,
                "{labels} {spec}"
            );
        }
    }
}
