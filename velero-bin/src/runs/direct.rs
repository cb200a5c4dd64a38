//! Custom resources that exist in a store alone.

use jiff::Timestamp;
use velero_backup::{LiveNamespaces, PrepareDefaults};
use velero_cluster::{Cluster, ListOptions, ServerVersion};
use velero_core::api::{Backup, ObjectMeta, Restore, Time};
use velero_core::{GoDuration, ItemHead};

use super::RunError;

/// The namespaces of a cluster, or as many of them as the credentials and the included names tell.
///
/// # Errors
/// When they cannot be read.
pub async fn live_namespaces(
    cluster: &Cluster,
    included: &[String],
) -> Result<LiveNamespaces, RunError> {
    velero_backup::live_namespaces(cluster, &ListOptions::default(), included)
        .await
        .map_err(RunError::Cluster)
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
