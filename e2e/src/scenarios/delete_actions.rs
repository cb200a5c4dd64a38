//! Deletion of a backup by a program that has the operator in it, with delete actions of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use velero_bin::logfile::RunLogs;
use velero_bin::server::{Controller, Server, Settings};
use velero_core::ItemTree;
use velero_core::action::{ActionContext, ActionError, DeleteItemAction, ResourceSelector};
use velero_core::api::Backup;

use crate::{Context, S3Server, Site, s3server::files_below, site::NAMESPACE};

const BUCKET: &str = "backups";
const SOURCE: &str = "shop";
/// All that the program leaves to the operator.
const OTHERS: [&str; 13] = [
    "backup-queue",
    "backup",
    "backup-operations",
    "backup-finalizer",
    "backup-sync",
    "backup-repo",
    "download-request",
    "gc",
    "restore",
    "restore-operations",
    "restore-finalizer",
    "schedule",
    "server-status-request",
];

/// Notes the ConfigMaps that it sees while the archive is there, and reads each from the cluster. One is too much for it.
struct Notes {
    archive: PathBuf,
    seen: Arc<Mutex<Vec<String>>>,
}

#[async_trait::async_trait]
impl DeleteItemAction for Notes {
    fn name(&self) -> &str {
        "example.com/notes"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["cm"])
    }

    async fn execute(
        &self,
        item: &ItemTree,
        cx: &ActionContext<'_, Backup>,
    ) -> Result<(), ActionError> {
        if !self.archive.is_file() {
            return Err(ActionError::new("the files are gone"));
        }
        let map = velero_core::GroupResource::core("configmaps");
        let id = velero_core::ResourceIdentifier::namespaced(map, SOURCE, item.name());
        let live = cx.cluster.get(&id).await?;
        let line = format!("{} {}", item.name(), live.is_some());
        if let Ok(mut seen) = self.seen.lock() {
            seen.push(line);
        }
        match item.name() {
            "bad" => Err(ActionError::new("on purpose")),
            _ => Ok(()),
        }
    }
}

/// Deletes a backup with an action, a restore and a file of somebody else.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let mut site = Site::start(cx, "first", &store, BUCKET).await?;
    site.without_controllers(cx, "second", "backup-deletion")
        .await?;
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": SOURCE}, "data": {}});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}),
        map("good"),
        map("bad"),
    ];
    site.kubectl.apply(&objects, &[]).await?;
    site.back_up("b", &["--include-namespaces", SOURCE]).await?;
    site.restore("r", "b", &["--namespace-mappings", "shop:copy"])
        .await?;
    let remove = ["delete", "configmap", "good", "-n", SOURCE];
    site.kubectl.ok(&remove).await?;
    let dir = bucket.join("backups/b");
    std::fs::write(dir.join("notes.txt"), "mine")?;

    let seen = Arc::new(Mutex::new(Vec::new()));
    let action = Notes {
        archive: dir.join("b.tar.gz"),
        seen: Arc::clone(&seen),
    };
    let disabled: Result<_, _> = OTHERS
        .iter()
        .map(|name| name.parse::<Controller>())
        .collect();
    let settings = Settings {
        namespace: NAMESPACE.to_owned(),
        disabled: disabled?,
        delete_actions: vec![Arc::new(action)],
        metrics_address: None,
        ..Settings::default()
    };
    let logs = RunLogs::install(&Default::default());
    let server = Server::start(site.client.clone(), settings, logs).await?;
    site.velero
        .ok(&["backup", "delete", "b", "--confirm"])
        .await?;
    site.gone("backups", "b").await?;
    site.gone("restores", "r").await?;
    ensure!(
        server.stop().await,
        "the server in this program did not stop"
    );

    let mut seen = seen.lock().ok().context("an action has panicked")?.clone();
    seen.sort();
    // Each namespace has one that the cluster makes.
    let expected = ["bad true", "good false", "kube-root-ca.crt true"];
    ensure!(seen == expected, "{seen:?}");
    let left: Vec<String> = [bucket.join("backups"), bucket.join("restores")]
        .iter()
        .filter(|dir| dir.is_dir())
        .map(|dir| files_below(dir))
        .collect::<Result<Vec<_>>>()?
        .concat()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    ensure!(
        matches!(&left[..], [one] if one.ends_with("backups/b/notes.txt")),
        "left in the bucket: {left:?}"
    );
    site.stop().await
}
