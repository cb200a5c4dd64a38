//! What a hook freezes stays so until the pod's actions have run and its files are copied: seen with parts plugged in.

use std::{fs::OpenOptions, io::Write as _, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use velero_backup::{
    BackupEngine, BackupRun, Cluster,
    velero_core::{
        action::{ActionError, BackupMap, BackupOutcome, ResourceSelector},
        api::{Backup, PodVolumeBackup},
        volume::{PodVolume, PodVolumeBackups},
    },
};

use super::pods::{self, Journal, REAL, SPACE};
use crate::{Site, plugged::Copier, site::SOON};

/// Time that a copy takes.
const COPY: Duration = Duration::from_millis(300);

impl Journal {
    fn write(&self, text: &str) -> Result<(), ActionError> {
        let written = OpenOptions::new()
            .append(true)
            .open(&self.0)
            .and_then(|mut file| {
                writeln!(
                    file,
                    "{} {text}",
                    velero_backup::velero_core::Timestamp::now().as_nanosecond()
                )
            });
        written.map_err(|error| ActionError::new(error.to_string()))
    }
}

/// Copies nothing, and notes when.
struct NotedCopies(Journal);

#[async_trait::async_trait]
impl PodVolumeBackups for NotedCopies {
    async fn create(
        &self,
        backup: &Backup,
        volume: PodVolume<'_>,
    ) -> Result<PodVolumeBackup, ActionError> {
        self.0.write("copy begins")?;
        Copier.create(backup, volume).await
    }

    async fn wait(
        &self,
        created: &[PodVolumeBackup],
        timeout: Duration,
    ) -> Result<Vec<PodVolumeBackup>, ActionError> {
        tokio::time::sleep(COPY).await;
        self.0.write("copy ends")?;
        Copier.wait(created, timeout).await
    }
}

/// One pod with hooks and a volume to copy.
pub(super) async fn run(site: &Site, journal: &Journal) -> Result<()> {
    let hooks = json!({"pre.command": journal.note("pre copied"), "post.command": journal.note("post copied")});
    let mut pod = pods::pod("copied", REAL, hooks);
    pod["spec"]["volumes"] = json!([{"name": "files", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "files", "mountPath": "/files"}]);
    pod["metadata"]["annotations"]["backup.velero.io/backup-volumes"] = json!("files");
    site.kubectl.apply(&[pod], &[]).await?;
    let wait = [
        "wait",
        "--for=condition=Ready",
        "pod/copied",
        "-n",
        SPACE,
        "--timeout=60s",
    ];
    site.kubectl.ok(&wait).await?;

    let before = journal.lines()?.len();
    let noted = journal.clone();
    let action = BackupMap::new(
        "example.com/notes",
        ResourceSelector::resources(["pods"]),
        move |_| {
            noted.write("action")?;
            Ok(BackupOutcome::unchanged())
        },
    );
    let engine = BackupEngine::new(Cluster::connect(site.client.clone()).await?)
        .action(action)
        .pod_volumes(NotedCopies(journal.clone()));
    let backup: Backup = serde_json::from_value(json!({"metadata": {"name": "copied"},
        "spec": {"includedNamespaces": [SPACE], "labelSelector": {"matchLabels": {"name": "copied"}}}}))?;
    let request = engine.request(&backup).await?;
    let run = engine.run(&request, Vec::<u8>::new(), BackupRun::default());
    let result = tokio::time::timeout(SOON, run).await??;
    ensure!(result.records.is_empty(), "{:?}", result.records);
    ensure!(
        (
            result.hook_status.hooks_attempted,
            result.hook_status.hooks_failed
        ) == (2, 0),
        "{:?}",
        result.hook_status
    );
    let lines = journal.lines()?.split_off(before);
    ensure!(lines.is_sorted(), "the clock goes back: {lines:?}");
    let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
    let expected = [
        "pre copied main",
        "action",
        "copy begins",
        "copy ends",
        "post copied main",
    ];
    ensure!(texts == expected, "{texts:?}");
    Ok(())
}
