//! What authors plug into the backup engine, with an outcome for each field of the documents beside an archive.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_backup::velero_core::{
    GroupResource, ItemTree, ResourceIdentifier, Timestamp,
    action::{
        ActionContext, ActionError, BackupItemAction, BackupOperation, BackupOutcome,
        OperationProgress, ResourceSelector,
    },
    api::{Backup, BackupPhase, DataMovePhase, PodVolumeBackup},
    volume::{PodVolume, PodVolumeBackups, VolumeProperties, VolumeSnapshotter},
};

/// Takes snapshots of nothing; every second one fails.
pub(crate) struct Disks;

#[async_trait::async_trait]
impl VolumeSnapshotter for Disks {
    fn location(&self) -> &str {
        "disks"
    }

    async fn volume_id(&self, volume: &ItemTree) -> Result<Option<String>, ActionError> {
        Ok(Some(format!("vol-{}", volume.name())))
    }

    async fn properties(&self, _: &str, _: &str) -> Result<VolumeProperties, ActionError> {
        Ok(VolumeProperties {
            volume_type: "fast".into(),
            iops: Some(3000),
        })
    }

    async fn create_snapshot(
        &self,
        id: &str,
        _: &str,
        _: &BTreeMap<String, String>,
    ) -> Result<String, ActionError> {
        if id.ends_with("bad") {
            return Err(ActionError::new("the quota is <used up>"));
        }
        Ok(format!("snap-{id}"))
    }
}

/// Copies nothing.
pub(crate) struct Copier;

#[async_trait::async_trait]
impl PodVolumeBackups for Copier {
    async fn create(
        &self,
        backup: &Backup,
        volume: PodVolume<'_>,
    ) -> Result<PodVolumeBackup, ActionError> {
        let mut copy = PodVolumeBackup::default();
        copy.metadata.name = Some(format!("copy-{}", volume.pod.name()));
        copy.metadata.namespace = Some("velero".into());
        copy.metadata.creation_timestamp = Some(Time(whole(Timestamp::now())));
        copy.spec.pod.kind = Some("Pod".into());
        copy.spec.pod.namespace = Some(volume.pod.namespace().into());
        copy.spec.pod.name = Some(volume.pod.name().into());
        copy.spec.node = "node-0".into();
        copy.spec.volume = volume.volume.into();
        copy.spec.backup_storage_location = backup.spec.storage_location.clone();
        copy.spec.repo_identifier = "repo".into();
        copy.spec.uploader_type = "kopia".into();
        copy.spec.tags = [("volume".to_owned(), volume.volume.to_owned())].into();
        Ok(copy)
    }

    async fn wait(
        &self,
        created: &[PodVolumeBackup],
        _: Duration,
    ) -> Result<Vec<PodVolumeBackup>, ActionError> {
        let mut ended = created.to_vec();
        for copy in &mut ended {
            let now = Time(whole(Timestamp::now()));
            copy.status.phase = Some(DataMovePhase::Completed);
            copy.status.path = "/var/lib/x".into();
            copy.status.snapshot_id = "0123".into();
            copy.status.start_timestamp = Some(now.clone());
            copy.status.completion_timestamp = Some(now);
            copy.status.progress.total_bytes = 9;
            copy.status.progress.bytes_done = 9;
            copy.status.incremental_bytes = 4;
        }
        Ok(ended)
    }
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The annotation of what is stored once more, after the operations.
pub(crate) const AGAIN: &str = "example.com/again";

/// Leaves an operation behind at each ConfigMap, and changes and fails some. Marks what it sees after the operations.
pub(crate) struct Operator;

#[async_trait::async_trait]
impl BackupItemAction for Operator {
    fn name(&self) -> &str {
        "example.com/operates"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["configmaps"])
    }

    async fn execute(
        &self,
        mut item: ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        if matches!(
            cx.run.phase(),
            BackupPhase::Finalizing | BackupPhase::FinalizingPartiallyFailed
        ) {
            item.set_annotation(AGAIN, "yes");
            return Ok(BackupOutcome::changed(item));
        }
        if item.name() == "kube-root-ca.crt" {
            return Err(ActionError::new("certificates are <none> of its business"));
        }
        let this = ResourceIdentifier::namespaced(
            GroupResource::core("configmaps"),
            item.namespace(),
            item.name(),
        );
        let operation = BackupOperation::new(format!("op-{}", item.name())).then_read([this]);
        item.set_annotation("example.com/seen", "<yes> & no\u{2028}");
        Ok(BackupOutcome::changed(item).started(operation))
    }

    async fn progress(
        &self,
        _: &str,
        _: &ActionContext<'_, Backup>,
    ) -> Result<OperationProgress, ActionError> {
        Ok(OperationProgress::succeeded())
    }
}
