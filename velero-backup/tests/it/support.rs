//! A small cluster, and a backup of it in one line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use velero_backup::{BackupEngine, BackupResult, BackupRun, Cluster, Error};
use velero_cluster::ClusterOptions;
use velero_core::Timestamp;
use velero_core::api::Backup;
use velero_core::archive::{ArchiveReader, EntryKind, VersionDir};
use velero_testkit::ApiServer;

/// A sink that keeps what it gets.
#[derive(Clone, Default)]
pub(crate) struct Kept(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

/// A finished backup, its archive taken apart.
pub(crate) struct Done {
    pub(crate) result: BackupResult,
    pub(crate) archive: Vec<u8>,
    /// Paths of the unversioned entries, in archive order, without `resources/` and `.json`.
    pub(crate) order: Vec<String>,
    pub(crate) items: BTreeMap<String, Value>,
    /// How many entries the archive has in all.
    pub(crate) entries: usize,
}

impl Done {
    /// The stored items of some resources, as `resource/ns/name`.
    pub(crate) fn of(&self, resources: &[&str]) -> BTreeSet<String> {
        self.order
            .iter()
            .filter(|p| resources.iter().any(|r| p.split('/').next() == Some(r)))
            .map(|p| p.replace("/namespaces/", "/").replace("/cluster/", "/"))
            .collect()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.items.contains_key(path)
    }

    pub(crate) fn at(&self, path: &str) -> usize {
        self.order
            .iter()
            .position(|p| p == path)
            .unwrap_or_else(|| panic!("{path} is not among {:?}", self.order))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.result
            .records
            .iter()
            .map(velero_core::result::Record::line)
            .collect()
    }
}

pub(crate) fn backup(spec: Value) -> Backup {
    serde_json::from_value(json!({"metadata": {"name": "b1", "namespace": "velero"}, "spec": spec}))
        .unwrap()
}

/// The spec of a backup of the namespace `shop`.
pub(crate) fn shop() -> Value {
    json!({"includedNamespaces": ["shop"]})
}

pub(crate) fn start() -> Timestamp {
    "2026-11-22T05:49:12Z".parse().unwrap()
}

pub(crate) fn run() -> BackupRun {
    BackupRun::starting_at(start()).clock(start)
}

/// Deadlines short enough for tests of what never passes.
pub(crate) async fn connect(server: &ApiServer) -> Cluster {
    let options =
        ClusterOptions::default().timeouts(Duration::from_secs(10), Duration::from_millis(1500));
    Cluster::connect_with(server.client(), options)
        .await
        .unwrap()
}

pub(crate) async fn engine(server: &ApiServer) -> BackupEngine {
    BackupEngine::new(connect(server).await)
}

pub(crate) async fn run_with(engine: &BackupEngine, spec: Value) -> Done {
    try_run(engine, spec).await.unwrap()
}

pub(crate) async fn try_run(engine: &BackupEngine, spec: Value) -> Result<Done, Error> {
    let kept = Kept::default();
    let request = engine.request(&backup(spec)).await?;
    let result = engine.run(&request, kept.clone(), run()).await?;
    Ok(open(result, kept.bytes()))
}

pub(crate) async fn back_up(server: &ApiServer, spec: Value) -> Done {
    run_with(&engine(server).await, spec).await
}

pub(crate) fn open(result: BackupResult, archive: Vec<u8>) -> Done {
    let (mut order, mut items, mut entries, mut versioned) =
        (Vec::new(), BTreeMap::new(), 0, BTreeMap::new());
    ArchiveReader::new(archive.as_slice())
        .for_each(|kind, data| {
            entries += 1;
            if let EntryKind::Item(path) = kind {
                let plain = path.with_version(VersionDir::Unversioned).to_string();
                let short = plain
                    .trim_start_matches("resources/")
                    .trim_end_matches(".json")
                    .to_owned();
                let value: Value = serde_json::from_slice(&data).unwrap();
                assert!(
                    value["apiVersion"].is_string() && value["kind"].is_string(),
                    "{short}"
                );
                match path.version {
                    VersionDir::Unversioned => {
                        order.push(short.clone());
                        assert!(items.insert(short, value).is_none(), "stored twice");
                    }
                    _ => assert!(versioned.insert(short, value).is_none(), "stored twice"),
                }
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(items, versioned);
    assert_eq!(result.backed_up, order.len() as u64);
    assert_eq!(result.resource_list.len(), order.len());
    assert_eq!(result.archive_bytes, archive.len() as u64);
    for kind in &result.coverage.kinds {
        let folder = format!("{}/", kind.resource);
        let stored = order.iter().filter(|p| p.starts_with(&folder)).count() as u64;
        assert_eq!(kind.stored, stored, "{kind:?}");
        let told = !result.records.is_empty() || kind.failed + kind.incomplete_lists == 0;
        assert!(told, "{kind:?}");
    }
    let stored: u64 = result.coverage.kinds.iter().map(|kind| kind.stored).sum();
    assert_eq!(stored, result.backed_up);
    Done {
        result,
        archive,
        order,
        items,
        entries,
    }
}

pub(crate) fn seed(server: &ApiServer, value: Value) {
    server
        .store()
        .seed_value(value)
        .unwrap_or_else(|e| panic!("{e}"));
}

pub(crate) fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}, "status": {"phase": "Active"}})
}

pub(crate) fn object(
    api_version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    labels: Value,
) -> Value {
    let mut metadata = json!({"name": name, "labels": labels});
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})
}

pub(crate) fn map(namespace: &str, name: &str, labels: Value) -> Value {
    object("v1", "ConfigMap", namespace, name, labels)
}

pub(crate) fn pod(namespace: &str, name: &str, claim: Option<&str>, labels: Value) -> Value {
    let mut pod = object("v1", "Pod", namespace, name, labels);
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
    if let Some(claim) = claim {
        pod["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    }
    pod
}

pub(crate) fn claim(namespace: &str, name: &str, volume: &str, labels: Value) -> Value {
    let mut claim = object("v1", "PersistentVolumeClaim", namespace, name, labels);
    claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "volumeName": volume, "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}}});
    claim["status"] = json!({"phase": "Bound"});
    claim
}

pub(crate) fn volume(name: &str, namespace: &str, claim: &str, labels: Value) -> Value {
    let mut volume = object("v1", "PersistentVolume", "", name, labels);
    volume["spec"] = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": namespace, "name": claim}, "hostPath": {"path": "/x"}});
    volume["status"] = json!({"phase": "Bound"});
    volume
}

pub(crate) fn definition(plural: &str, kind: &str, group: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

/// Two namespaces, `shop` and `bank`: each with two maps (one labelled `app=x`), a pod with a claim and its volume, a
/// service account bound to a cluster role, and a custom resource in `shop`.
pub(crate) fn world() -> ApiServer {
    let server = ApiServer::new();
    seed(&server, definition("books", "Book", "example.com"));
    seed(&server, definition("films", "Film", "example.com"));
    for ns in ["bank", "shop"] {
        seed(&server, namespace(ns, json!({"team": ns})));
        seed(&server, map(ns, "plain", json!({})));
        seed(&server, map(ns, "chosen", json!({"app": "x"})));
        seed(&server, pod(ns, "web", Some("data"), json!({"app": "x"})));
        seed(&server, claim(ns, "data", &format!("pv-{ns}"), json!({})));
        seed(&server, volume(&format!("pv-{ns}"), ns, "data", json!({})));
        seed(
            &server,
            object("v1", "ServiceAccount", ns, "runner", json!({})),
        );
    }
    seed(&server, volume("pv-free", "", "", json!({"app": "x"})));
    seed(
        &server,
        object("example.com/v1", "Book", "shop", "b1", json!({})),
    );
    let mut role = object(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "",
        "reader",
        json!({}),
    );
    role["rules"] = json!([]);
    seed(&server, role);
    seed(
        &server,
        object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "",
            "unused",
            json!({}),
        ),
    );
    let mut binding = object(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "",
        "reads",
        json!({}),
    );
    binding["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"});
    binding["subjects"] =
        json!([{"kind": "ServiceAccount", "namespace": "shop", "name": "runner"}]);
    seed(&server, binding);
    server.calls().reset();
    server
}

/// As many bindings of a cluster role in all, each for one service account of the namespace `shop`.
pub(crate) fn bind_accounts(server: &ApiServer, count: usize) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let version = format!("{GROUP}/v1");
    let there = server.store().list(&version, "ClusterRoleBinding", None);
    for at in there.len()..count {
        let name = format!("bound-{at:05}");
        let mut binding = object(&version, "ClusterRoleBinding", "", &name, json!({}));
        binding["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": "bound"});
        binding["subjects"] =
            json!([{"kind": "ServiceAccount", "namespace": "shop", "name": format!("sa-{at:05}")}]);
        seed(server, binding);
    }
}
