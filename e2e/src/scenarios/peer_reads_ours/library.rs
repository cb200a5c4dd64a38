//! Backups as a program with the library makes them: snapshots, copies of pod volumes, operations, and errors.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use velero_backup::{
    ArchiveBase, BackupEngine, BackupResult, BackupRun, Cluster, FinalizeResult, OperationCounts,
    PrepareDefaults, artifacts, prepare,
    velero_core::{
        Timestamp,
        api::{Backup, BackupPhase},
        archive::END_MEMBER,
        artifact::BackupItemOperation,
        result::ResultsFile,
    },
};

use crate::{
    Site,
    plugged::{Copier, Disks, Operator},
    site::NAMESPACE,
};

/// A backup that was made, and what goes on with it needs.
struct Made {
    engine: BackupEngine,
    backup: Backup,
    result: BackupResult,
    folder: PathBuf,
}

/// A backup whose operations go on.
pub(super) async fn plugged(site: &Site, bucket: &Path, name: &str) -> Result<()> {
    Made::new(site, bucket, name).await.map(drop)
}

/// A backup whose operations have ended: the items that they name are stored once more, behind the archive as it was.
///
/// Gives how many that are.
pub(super) async fn appended(site: &Site, bucket: &Path, name: &str) -> Result<usize> {
    let mut made = Made::new(site, bucket, name).await?;
    let mut operations = made.result.item_operations.clone();
    let failed = made
        .engine
        .poll_operations(&made.backup, &mut operations, &made.run())
        .await;
    ensure!(failed.is_empty(), "{failed:?}");
    ensure!(OperationCounts::of(&operations).all_ended());
    made.backup.status = artifacts::waiting_status(&made.backup, &operations, &failed);
    ensure!(*made.backup.phase() == BackupPhase::FinalizingPartiallyFailed);
    let again = made.store_again(&operations).await?;
    made.backup.status =
        artifacts::finalized_status(&made.backup, &operations, &again.records, again.completed);
    made.write_again(&operations, &again)?;
    Ok(usize::try_from(again.stored)?)
}

impl Made {
    /// Runs the engine with everything plugged in, and writes all that lies beside an archive.
    async fn new(site: &Site, bucket: &Path, name: &str) -> Result<Self> {
        let mut backup: Backup = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": "0f0e0d0c-0b0a-4908-8706-050403020100",
                "creationTimestamp": "2026-11-22T10:00:00Z"},
            "spec": {"snapshotVolumes": true, "storageLocation": "default"},
        }))?;
        let cluster = Cluster::connect(site.client.clone()).await?;
        let version = cluster.server_version().await?;
        prepare(
            &mut backup,
            &[],
            &version,
            Timestamp::now(),
            &PrepareDefaults::default(),
        );
        let folder = bucket.join("backups").join(name);
        fs::create_dir_all(&folder)?;
        let engine = BackupEngine::new(cluster)
            .volume_snapshotter(Disks)
            .pod_volumes(Copier)
            .action(Operator);
        let request = engine.request(&backup).await?;
        let file = File::create(folder.join(format!("{name}{}", artifacts::ARCHIVE_SUFFIX)))?;
        let result = engine.run(&request, file, BackupRun::default()).await?;
        ensure!(result.errors() > 0, "the action fails at some items");
        backup.status = artifacts::final_status(&backup, &result);
        let made = Self {
            engine,
            backup,
            result,
            folder,
        };
        made.write()?;
        Ok(made)
    }

    fn path(&self, suffix: &str) -> PathBuf {
        let name = self.backup.metadata.name.as_deref().unwrap_or_default();
        self.folder.join(format!("{name}{suffix}"))
    }

    fn run(&self) -> BackupRun {
        BackupRun::starting_at(self.result.started)
    }

    fn write(&self) -> Result<()> {
        for artifact in artifacts::artifacts(&self.result) {
            fs::write(self.path(artifact.suffix), artifact.bytes)?;
        }
        let log = File::create(self.path(artifacts::LOG_SUFFIX))?;
        let mut log = GzEncoder::new(log, Compression::default());
        log.write_all(b"level=info msg=\"by library\"\n")?;
        log.finish()?;
        self.write_metadata()
    }

    fn write_metadata(&self) -> Result<()> {
        let metadata = artifacts::metadata_json(&self.backup);
        Ok(fs::write(
            self.folder.join(artifacts::METADATA_NAME),
            metadata,
        )?)
    }

    /// Adds to the archive: what comes stands in the place of its last member.
    async fn store_again(&self, operations: &[BackupItemOperation]) -> Result<FinalizeResult> {
        let path = self.path(artifacts::ARCHIVE_SUFFIX);
        ensure!(
            fs::read(&path)?.ends_with(&END_MEMBER),
            "the archive has another end"
        );
        let mut file = OpenOptions::new().write(true).open(&path)?;
        let keep = file
            .metadata()?
            .len()
            .checked_sub(END_MEMBER.len() as u64)
            .context("the archive is too short")?;
        file.set_len(keep)?;
        file.seek(SeekFrom::End(0))?;
        let work = self.engine.finalize(
            &self.backup,
            operations,
            ArchiveBase::Tail,
            file,
            self.run(),
        );
        Ok(work.await?)
    }

    fn write_again(
        &self,
        operations: &[BackupItemOperation],
        again: &FinalizeResult,
    ) -> Result<()> {
        let mut list = self.result.resource_list.clone();
        list.merge(&again.resource_list);
        let records = self.result.records.iter().chain(&again.records);
        for artifact in [
            artifacts::item_operations(operations),
            artifacts::resource_list(&list),
            artifacts::results(&ResultsFile::from_records(records)),
        ] {
            fs::write(self.path(artifact.suffix), artifact.bytes)?;
        }
        self.write_metadata()
    }
}

/// Volumes with a snapshot that works and one that fails, and a pod whose files are copied.
pub(super) async fn volumes(site: &Site) -> Result<()> {
    let volume = |name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "z-1"}},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "by-hand", "csi": {"driver": "disks.example.com", "volumeHandle": name}}})
    };
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "files", "namespace": "team-0"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand", "volumeName": "disk-copied",
            "resources": {"requests": {"storage": "1Gi"}}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "writer", "namespace": "team-0", "annotations": {"backup.velero.io/backup-volumes": "files"}},
        "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "files", "mountPath": "/files"}]}],
            "volumes": [{"name": "files", "persistentVolumeClaim": {"claimName": "files"}}]}});
    let objects = [
        volume("disk-good"),
        volume("disk-bad"),
        volume("disk-copied"),
        claim,
        pod,
    ];
    site.kubectl.apply(&objects, &[]).await?;
    let pod = [
        "wait",
        "--for=condition=Ready",
        "pod/writer",
        "-n",
        "team-0",
        "--timeout=60s",
    ];
    site.kubectl.ok(&pod).await.map(drop)
}
