//! Items that actions ask for.

use std::sync::Arc;

use velero_core::ResourceIdentifier;
use velero_core::plan::ItemId;
use velero_core::result::{Record, Severity, chain};

use super::item::Work;
use super::run::{Run, Stage};
use super::run_actions::resolved;
use crate::plan::finished;

impl Run {
    /// Restores items of the archive before the one that asks for them; gives those that exist in the cluster then.
    pub(super) async fn restore_related(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        work: &mut Work<'_>,
        wanted: &[ResourceIdentifier],
    ) -> Vec<ResourceIdentifier> {
        let mut existing = Vec::new();
        for id in wanted {
            let resource = resolved(stage, id);
            if !stage.filters.keeps_related(&resource, &id.namespace) {
                continue;
            }
            let Some(item) = self
                .index
                .find(&resource, &id.namespace, &id.name)
                .and_then(|found| self.index.item(found))
            else {
                let id = ResourceIdentifier {
                    group_resource: resource,
                    ..id.clone()
                };
                if self.is_missing(stage, work, &id).await {
                    work.records = true;
                } else {
                    existing.push(id);
                }
                continue;
            };
            if finished(&item).is_some() {
                continue;
            }
            if self.restore_one_related(stage, work, item.id).await {
                existing.push(id.clone());
            }
            if work.delay.is() {
                break;
            }
        }
        existing
    }

    async fn restore_one_related(
        self: &Arc<Self>,
        stage: &Arc<Stage>,
        work: &mut Work<'_>,
        id: ItemId,
    ) -> bool {
        let asking = work.item.id;
        // Two items that ask for each other: the one that was taken up first is created last.
        if !self.states.begin_wait(asking, id) {
            return false;
        }
        let may_put_off = work.may_put_off();
        let end = self.restore(stage, id, None, false, may_put_off).await;
        self.states.end_wait(asking);
        if end.put_off {
            work.delay.put_off();
        }
        work.records |= end.records;
        end.exists
    }

    /// Whether an object that the archive lacks is missing in the cluster too; says so the first time.
    async fn is_missing(&self, stage: &Stage, work: &Work<'_>, id: &ResourceIdentifier) -> bool {
        let target = if id.namespace.is_empty() {
            ""
        } else {
            self.request.target_namespace(&id.namespace)
        };
        let found = match stage.catalog.get(&id.group_resource) {
            Some(resource) => self
                .cluster
                .get(resource, target, &id.name)
                .await
                .map_err(|e| chain(&e)),
            None => Ok(None),
        };
        let message = match found {
            Ok(Some(_)) => return false,
            Ok(None) => format!(
                "is neither in the archive nor in the cluster; {} {} asks for it",
                work.item.resource, work.item.name
            ),
            Err(message) => {
                format!("is not in the archive, and the cluster cannot be asked: {message}")
            }
        };
        if self.first_miss(id) {
            self.record(Record::item(
                Severity::Warning,
                &id.group_resource,
                &id.namespace,
                &id.name,
                message,
            ));
        }
        true
    }
}
