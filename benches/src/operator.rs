//! The engines under test: `velero server` as a process of its own, told by custom resources what to do.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use velero_e2e::{Background, ControlPlane, Velero};

use crate::measure::{Usage, Watch};

/// User agent of the server in the audit log.
pub(crate) const USER_AGENT: &str = "velero/";
const NAMESPACE: &str = "velero";
const RESOURCES: &str = "/apis/velero.io/v1/namespaces/velero";
const BUCKET: &str = "bucket";
/// How often the resource is looked at: what a run seems to take longer at most.
const POLL: Duration = Duration::from_millis(20);
/// How long a run may take, and how long the server may take to be ready for it.
const DEADLINES: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(60)];
/// A restore needs the backup, which the server has to find in the store first.
const FLAGS: [&str; 4] = [
    "--backup-sync-period",
    "1s",
    "--store-validation-frequency",
    "1s",
];

/// A running server, fresh for one measurement, over a folder that holds its bucket.
pub(crate) struct Operator {
    server: Background,
    client: Client,
    store: PathBuf,
}

impl Operator {
    /// Installs what is missing and starts the server; returns when its location is available.
    pub(crate) async fn start(program: &Path, plane: &ControlPlane, store: &Path) -> Result<Self> {
        Self::start_as(program, plane, store, plane.kubeconfig()).await
    }

    /// The same with a server that is another user.
    pub(crate) async fn start_as(
        program: &Path,
        plane: &ControlPlane,
        store: &Path,
        kubeconfig: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(store.join(BUCKET))
            .with_context(|| format!("cannot create {}", store.display()))?;
        let velero = Velero::new(program, plane.kubeconfig(), store);
        velero.ok(&["install", "--crds-only"]).await?;
        let client = plane.client().await?;
        let space =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        create(&client, "/api/v1/namespaces", &space).await?;
        let location = json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
            "metadata": {"name": "default", "namespace": NAMESPACE},
            "spec": {"provider": "filesystem", "default": true, "objectStorage": {"bucket": BUCKET},
                "config": {"fspath": store.display().to_string()}}});
        let locations = format!("{RESOURCES}/backupstoragelocations");
        create(&client, &locations, &location).await?;
        let log = store.join("server.log");
        let operator = Self {
            server: Background::operator(&velero.kubeconfig(kubeconfig), log, &FLAGS).await?,
            client,
            store: store.to_owned(),
        };
        operator
            .wait("backupstoragelocations/default", DEADLINES[1], |phase| {
                phase == "Available"
            })
            .await?;
        Ok(operator)
    }

    /// Backs up the whole cluster; returns what the server used and how many objects the archive holds.
    pub(crate) async fn backup(&self, name: &str) -> Result<(Usage, usize)> {
        let usage = self.measure("backups", "Backup", name, json!({})).await?;
        Ok((usage, self.objects(name)?))
    }

    /// Restores a backup as `name`; returns what the server used and how many objects it has written.
    pub(crate) async fn restore(&self, backup: &str, name: &str) -> Result<(Usage, usize)> {
        let found = format!("backups/{backup}");
        self.wait(&found, DEADLINES[1], |phase| !phase.is_empty())
            .await?;
        let spec = json!({"backupName": backup});
        let usage = self.measure("restores", "Restore", name, spec).await?;
        Ok((usage, self.written(name)?))
    }

    /// Stops the server.
    pub(crate) async fn stop(self) -> Result<()> {
        self.server.stop().await
    }

    /// Creates a resource and watches the server until the resource has a last phase.
    async fn measure(&self, plural: &str, kind: &str, name: &str, spec: Value) -> Result<Usage> {
        let pid = self.server.id().context("the server has ended")?;
        let object = json!({"apiVersion": "velero.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
        let watch = Watch::begin(pid)?;
        create(&self.client, &format!("{RESOURCES}/{plural}"), &object).await?;
        let phase = self
            .wait(&format!("{plural}/{name}"), DEADLINES[0], |phase| {
                phase == "Completed" || phase.contains("Failed")
            })
            .await?;
        let usage = watch.end()?;
        ensure!(
            phase == "Completed",
            "{kind} {name} ended as {phase}:\n{}",
            self.server.tail()
        );
        Ok(usage)
    }

    async fn wait(
        &self,
        path: &str,
        deadline: Duration,
        is_reached: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let uri = format!("{RESOURCES}/{path}");
        let reached = async {
            loop {
                // What is not there yet has no phase; so has a server that is too busy to answer.
                let request = Request::get(&uri).body(Vec::new())?;
                let object: Value = self.client.request(request).await.unwrap_or_default();
                let phase = object["status"]["phase"].as_str().unwrap_or_default();
                if is_reached(phase) {
                    return Ok(phase.to_owned());
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match tokio::time::timeout(deadline, reached).await {
            Ok(reached) => reached,
            Err(_) => bail!(
                "{path} is not where it should be within {deadline:?}:\n{}",
                self.server.tail()
            ),
        }
    }

    /// Objects that a restore has created or updated, by its list of resources.
    fn written(&self, restore: &str) -> Result<usize> {
        let path = resource_list(&self.store, restore);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let list: BTreeMap<String, Vec<String>> =
            serde_json::from_reader(MultiGzDecoder::new(file))?;
        let is_written =
            |entry: &&String| entry.ends_with("(created)") || entry.ends_with("(updated)");
        let written = list.values().flatten().filter(is_written).count();
        ensure!(written > 0, "{} names no object", path.display());
        Ok(written)
    }

    /// Objects in the archive; each lies there twice and counts once.
    fn objects(&self, backup: &str) -> Result<usize> {
        let path = archive(&self.store, backup);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
        let mut seen = HashSet::new();
        for entry in archive.entries()? {
            let path = entry?.path()?.to_string_lossy().into_owned();
            let mut parts = path.split('/');
            if parts.next() != Some("resources") {
                continue;
            }
            let (kind, rest) = (
                parts.next().unwrap_or_default().to_owned(),
                parts.collect::<Vec<_>>(),
            );
            if path.ends_with(".json") && matches!(rest.first(), Some(&"cluster" | &"namespaces")) {
                seen.insert((kind, rest.join("/")));
            }
        }
        if seen.is_empty() {
            bail!("{} holds no object", path.display());
        }
        Ok(seen.len())
    }
}

/// Where the archive of a backup lies.
pub(crate) fn archive(store: &Path, backup: &str) -> PathBuf {
    let folder = store.join(BUCKET).join("backups").join(backup);
    folder.join(format!("{backup}.tar.gz"))
}

/// Where the list of what a restore has done with each object lies.
pub(crate) fn resource_list(store: &Path, restore: &str) -> PathBuf {
    let folder = store.join(BUCKET).join("restores").join(restore);
    folder.join(format!("restore-{restore}-resource-list.json.gz"))
}

/// Creates an object, unless it is there.
async fn create(client: &Client, path: &str, object: &Value) -> Result<()> {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object)?)?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot create {object}")),
    }
}
