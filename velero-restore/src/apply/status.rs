//! The status of objects, where a restore brings it back.

use serde_json::Value;
use velero_cluster::{ErrorKind, WriteOptions};
use velero_core::names::annotations;
use velero_core::result::chain;
use velero_core::{ApiResource, GroupResource, ItemTree, RawItem};

use super::item::Work;
use super::run::Run;
use crate::filters::Filters;

/// Tries to set a status while others write to the object.
const STATUS_TRIES: usize = 5;

/// A status to be written after its object was created.
pub(super) struct StatusWrite {
    /// The status, as the archive has it.
    pub(super) status: Value,
    /// In whose name it is written.
    pub(super) manager: String,
}

/// Whether the status of an item is restored: its annotation decides, and where that says neither `true` nor `false`
/// the restore's spec. Mirrors `determineRestoreStatus` in upstream's `pkg/restore/restore.go`.
pub(super) fn wants_status(filters: &Filters, resource: &GroupResource, item: &ItemTree) -> bool {
    let said = item.annotation(annotations::RESTORE_STATUS);
    match said.map(|text| text.trim().to_lowercase()).as_deref() {
        Some("true") => true,
        Some("false") => false,
        _ => filters.restores_status(resource),
    }
}

impl Run {
    /// Writes the status of an object that was just created; gives the object as it is afterwards.
    ///
    /// A failure is worth a warning: the object is there.
    pub(super) async fn write_status(
        &self,
        work: &mut Work<'_>,
        resource: &ApiResource,
        live: RawItem,
        write: &StatusWrite,
    ) -> Result<RawItem, RawItem> {
        let mut last = live.clone();
        match self
            .try_status(resource, work.namespace, live, write, &mut last)
            .await
        {
            Ok(now) => Ok(now),
            Err(message) => {
                work.warn(message);
                Err(last)
            }
        }
    }

    async fn try_status(
        &self,
        resource: &ApiResource,
        namespace: &str,
        mut live: RawItem,
        write: &StatusWrite,
        last: &mut RawItem,
    ) -> Result<RawItem, String> {
        let failed = |error: &velero_cluster::Error| {
            format!("its status cannot be restored: {}", chain(error))
        };
        let options = WriteOptions::default().field_manager(write.manager.as_str());
        for _ in 0..STATUS_TRIES {
            let mut body = live
                .tree()
                .map_err(|e| format!("its status cannot be restored: {}", chain(&e)))?
                .into_value();
            if body.get("status") == Some(&write.status) {
                return Ok(live);
            }
            body["status"] = write.status.clone();
            let name = &live.head().name;
            match self
                .cluster
                .replace_status(resource, namespace, name, body.to_string().into(), &options)
                .await
            {
                Ok(now) => return Ok(now),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(failed(&error)),
            }
            let found = self.cluster.get(resource, namespace, name).await;
            live = match found {
                Ok(Some(now)) if now.head().uid == live.head().uid => now,
                Ok(_) => return Err("was deleted before its status was restored".to_owned()),
                Err(error) => return Err(failed(&error)),
            };
            *last = live.clone();
        }
        Err(format!(
            "its status is not restored: others changed it {STATUS_TRIES} times meanwhile"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RestoreRequest;
    use serde_json::json;
    use velero_core::Catalog;

    #[test]
    fn the_annotation_decides_before_the_spec() {
        let all = json!({});
        let pods = json!({"includedResources": ["pods"]});
        let but_pods = json!({"excludedResources": ["pods"]});
        for (spec, annotation, expected) in [
            (None, None, false),
            (Some(&all), None, true),
            (Some(&pods), None, true),
            (Some(&but_pods), None, false),
            (
                Some(&json!({"includedResources": ["services"]})),
                None,
                false,
            ),
            (None, Some("true"), true),
            (None, Some(" TrUe "), true),
            (None, Some(""), false),
            (None, Some("yes"), false),
            (Some(&pods), Some("FALSE"), false),
            (Some(&pods), Some("no"), true),
            (Some(&pods), Some(""), true),
            (Some(&but_pods), Some("true"), true),
        ] {
            let mut restore = json!({"metadata": {"name": "r"}, "spec": {"backupName": "b"}});
            if let Some(spec) = spec {
                restore["spec"]["restoreStatus"] = spec.clone();
            }
            let request = RestoreRequest::resolve(serde_json::from_value(restore).unwrap());
            let filters = request.unwrap().filters(&Catalog::default());
            let mut item = ItemTree::new(json!({"kind": "Pod"})).unwrap();
            if let Some(annotation) = annotation {
                item.set_annotation("velero.io/restore-status", annotation);
            }
            assert_eq!(
                wants_status(&filters, &GroupResource::core("pods"), &item),
                expected,
                "{spec:?} {annotation:?}"
            );
        }
    }
}
