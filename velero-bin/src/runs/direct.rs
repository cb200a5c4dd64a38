//! Custom resources that exist in a store alone.

use jiff::Timestamp;
use velero_backup::PrepareDefaults;
use velero_cluster::{Cluster, ListOptions, ListScope, ServerVersion};
use velero_core::api::{Backup, ObjectMeta, Restore, Time};
use velero_core::{GoDuration, GroupResource, ItemHead};

use super::RunError;

/// The namespaces of a cluster.
///
/// # Errors
/// When they cannot be listed.
pub async fn live_namespaces(cluster: &Cluster) -> Result<Vec<ItemHead>, RunError> {
    let gr = GroupResource::core("namespaces");
    let catalog = cluster.catalog();
    let resource = catalog
        .get(&gr)
        .ok_or(RunError::Cluster(velero_cluster::Error::Unserved {
            resource: gr,
        }))?;
    let mut pages = cluster.pages(resource, ListScope::all(), ListOptions::default());
    let mut heads = Vec::new();
    while let Some(page) = pages.next().await.map_err(RunError::Cluster)? {
        if page.restarted {
            heads.clear();
        }
        heads.extend(page.items.iter().map(|item| item.head().clone()));
    }
    Ok(heads)
}

/// Fills in what an API server and the operator would: uid, times, defaults, the cluster that is backed up.
pub fn prepare_direct_backup(
    backup: &mut Backup,
    live: &[ItemHead],
    version: &ServerVersion,
    now: Timestamp,
) {
    stamp(&mut backup.metadata, now);
    velero_backup::prepare(backup, live, version, now, &PrepareDefaults::default());
}

/// Fills in what an API server and the operator would: uid, times, defaults.
pub fn prepare_direct_restore(restore: &mut Restore, now: Timestamp) {
    stamp(&mut restore.metadata, now);
    restore.spec.item_operation_timeout = restore
        .spec
        .item_operation_timeout
        .or(GoDuration::from_hours(4));
}

fn stamp(metadata: &mut ObjectMeta, now: Timestamp) {
    metadata.uid = Some(uuid::Uuid::new_v4().to_string());
    metadata.creation_timestamp =
        Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
}
