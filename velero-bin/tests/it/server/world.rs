//! A cluster with the definitions installed, a folder as its bucket, and an operator.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use velero_bin::logfile::{LogOptions, RunLogs};
use velero_bin::runs::Clock;
use velero_bin::server::{Server, Settings};
use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, Restore, VeleroKind, crd};
use velero_testkit::ApiServer;

/// Longest wait for anything in these tests.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) const NAMESPACE: &str = "velero";

/// A cluster with the definitions installed, and an operator once it is started.
pub(super) struct World {
    pub(super) api: ApiServer,
    pub(super) server: Option<Server>,
}

/// Settings under which nothing takes long.
pub(super) fn settings() -> Settings {
    Settings {
        tick: Duration::from_millis(50),
        progress_period: Duration::from_millis(10),
        shutdown_grace: Duration::from_secs(10),
        metrics_address: Some("127.0.0.1:0".parse().unwrap()),
        ..Settings::default()
    }
}

/// A clock that is ahead of the system's by as many seconds as it is set to.
#[derive(Debug, Clone, Default)]
pub(super) struct Ahead(Arc<AtomicI64>);

impl Ahead {
    pub(super) fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub(super) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || {
            let ahead = jiff::SignedDuration::from_secs(seconds.load(Ordering::Relaxed));
            jiff::Timestamp::now() + ahead
        })
    }
}

impl World {
    /// A cluster without an operator.
    pub(super) fn empty() -> Self {
        Self::without("")
    }

    /// A cluster without an operator, and without one of the definitions.
    pub(super) fn without(missing: &str) -> Self {
        Self::on(ApiServer::new(), missing)
    }

    /// A cluster of the caller's, without an operator, and without one of the definitions.
    pub(super) fn on(api: ApiServer, missing: &str) -> Self {
        let named = |definition: &CustomResourceDefinition| {
            definition.metadata.name.as_deref() != Some(missing)
        };
        for definition in crd::all().into_iter().filter(named) {
            api.store()
                .seed_value(serde_json::to_value(definition).unwrap())
                .unwrap();
        }
        api.store()
            .seed_value(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            )
            .unwrap();
        Self { api, server: None }
    }

    /// A cluster with an operator.
    pub(super) async fn started() -> Self {
        let mut world = Self::empty();
        world.start(settings()).await;
        world
    }

    /// A cluster with an operator, and a location `default` in a folder, once it is available.
    pub(super) async fn with_folder(folder: &Path) -> Self {
        Self::with_settings(folder, settings()).await
    }

    /// The same under other settings.
    pub(super) async fn with_settings(folder: &Path, settings: Settings) -> Self {
        let mut world = Self::empty();
        world.start(settings).await;
        world.add_folder("default", folder).await;
        world
            .wait::<BackupStorageLocation>(
                "default",
                "is available",
                BackupStorageLocation::is_available,
            )
            .await;
        world
    }

    pub(super) async fn start(&mut self, settings: Settings) {
        let logs = RunLogs::install(&LogOptions::default());
        self.server = Some(
            Server::start(self.api.client(), settings, logs)
                .await
                .unwrap(),
        );
    }

    pub(super) async fn stop(&mut self) -> bool {
        self.server.take().unwrap().stop().await
    }

    pub(super) fn kind<K: VeleroKind>(&self) -> Api<K> {
        Api::namespaced(self.api.client(), NAMESPACE)
    }

    /// Creates an object from its JSON, without the apiVersion, kind and namespace.
    pub(super) async fn create<K: VeleroKind>(&self, object: Value) -> K {
        let object: K = serde_json::from_value(object).unwrap();
        self.kind::<K>()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    pub(super) async fn delete<K: VeleroKind>(&self, name: &str) {
        self.kind::<K>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    pub(super) async fn get<K: VeleroKind>(&self, name: &str) -> Option<K> {
        self.kind::<K>().get_opt(name).await.unwrap()
    }

    /// Waits until an object is as it should be.
    pub(super) async fn wait<K: VeleroKind>(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&K) -> bool,
    ) -> K {
        let mut seen = None;
        let found = eventually(async || {
            seen = self.get::<K>(name).await;
            seen.clone().filter(&is)
        });
        let found = found.await;
        found.unwrap_or_else(|| panic!("{} {name} never {what}: {seen:#?}", K::KIND))
    }

    pub(super) async fn wait_gone<K: VeleroKind + Debug>(&self, name: &str) {
        let gone = eventually(async || self.get::<K>(name).await.is_none().then_some(())).await;
        assert!(
            gone.is_some(),
            "{} {name} is still there: {:#?}",
            K::KIND,
            self.get::<K>(name).await
        );
    }

    /// Waits until a backup has ended, and says how.
    pub(super) async fn backup_ended(&self, name: &str) -> Backup {
        self.wait::<Backup>(name, "ended", |backup| backup.phase().is_terminal())
            .await
    }

    /// Runs a backup of some namespaces to its end, which must be a good one.
    pub(super) async fn back_up(&self, name: &str, namespaces: &[&str]) -> Backup {
        self.create::<Backup>(
            json!({"metadata": {"name": name}, "spec": {"includedNamespaces": namespaces}}),
        )
        .await;
        let backup = self.backup_ended(name).await;
        assert_eq!(
            *backup.phase(),
            BackupPhase::Completed,
            "{:#?}",
            backup.status
        );
        backup
    }

    /// Waits until a restore has ended, and says how.
    pub(super) async fn restore_ended(&self, name: &str) -> Restore {
        self.wait::<Restore>(name, "ended", |restore| restore.phase().is_terminal())
            .await
    }

    pub(super) async fn add_folder(&self, name: &str, folder: &Path) {
        std::fs::create_dir_all(folder.join("bucket")).unwrap();
        self.create::<BackupStorageLocation>(folder_location(name, folder))
            .await;
    }

    /// A namespace with a few objects.
    pub(super) fn seed_shop(&self, namespace: &str) {
        let seed = |value: Value| {
            self.api.store().seed_value(value).unwrap();
        };
        seed(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        for number in 0..5 {
            seed(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("config-{number}"), "namespace": namespace, "labels": {"app": "shop"}},
                "data": {"number": number.to_string()},
            }));
        }
        seed(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "password", "namespace": namespace}, "data": {"password": "c2VjcmV0"},
        }));
    }

    /// Changes an object.
    pub(super) async fn patch<K: VeleroKind>(&self, name: &str, patch: Value) -> K {
        let patch = Patch::Merge(&patch);
        let api = self.kind::<K>();
        api.patch(name, &Default::default(), &patch).await.unwrap()
    }

    /// Waits until the metrics have a line.
    pub(super) async fn wait_metric(&self, line: &str) {
        let found =
            eventually(async || self.metrics().lines().any(|l| l == line).then_some(())).await;
        assert!(found.is_some(), "{line} is not in\n{}", self.metrics());
    }

    /// What the metrics endpoint says.
    pub(super) fn metrics(&self) -> String {
        self.server.as_ref().unwrap().metrics().render()
    }
}

pub(super) fn folder_location(name: &str, folder: &Path) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "provider": "filesystem",
            "objectStorage": {"bucket": "bucket"},
            "config": {"fspath": folder.to_str().unwrap()},
        },
    })
}

/// A folder that is a bucket's parent.
pub(super) fn folder() -> TempDir {
    TempDir::new().unwrap()
}

/// The files below a folder, sorted, relative to it, without the marks of clusters, which are there at any time.
///
/// A server renews its claims at any time, and a file that is being written has another name until it is whole: that is
/// over in a moment. One that stays is listed, as it is a fault.
pub(super) fn files(root: &Path) -> Vec<String> {
    for _ in 0..200 {
        let found = files_now(root);
        if !found.iter().any(|name| name.ends_with(".partial")) {
            return found;
        }
        // What writes it is on a thread of its own.
        std::thread::sleep(Duration::from_millis(10));
    }
    files_now(root)
}

fn files_now(root: &Path) -> Vec<String> {
    fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return;
        };
        for entry in entries {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, out);
            } else {
                out.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    let mut out = Vec::new();
    walk(root, root, &mut out);
    out.retain(|name| !name.contains("metadata/x-velero-cluster-"));
    out.sort();
    out
}

/// Reads a gzip file as text.
pub(crate) fn gunzip(path: &Path) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// Looks again and again until there is something, or the deadline has passed.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if tokio::time::Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
