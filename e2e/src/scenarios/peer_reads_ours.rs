//! The peer's own code reads our backups: its store, extractor, parser and types, in a Go program of ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;
use velero_backup::{
    BackupEngine, BackupRun, Cluster, PrepareDefaults, artifacts, prepare,
    velero_core::{Timestamp, api::Backup},
};

use crate::{
    Context, S3Server, Site,
    archive::Archive,
    go,
    plugged::{Copier, Disks, Operator},
    site::{NAMESPACE, SOON},
    state, world,
};

const BUCKET: &str = "ours";
/// A kind in two versions; the first is the preferred one.
const VERSIONS: [&str; 2] = ["v2", "v1"];
const KIND: &str = "tools.example.com";

/// What the Go program prints.
#[derive(Debug, Deserialize)]
struct Report {
    backups: Vec<String>,
    version: String,
    items: BTreeSet<String>,
    versions: BTreeMap<String, Vec<String>>,
    documents: BTreeMap<String, usize>,
    problems: Vec<String>,
}

/// Backups of the operator, of direct mode in all versions, and of the library with everything plugged in.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let reader = go::program("peer-reads").await?;
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let site = Site::start(cx, "peer-reads", &store, BUCKET).await?;
    world::create(&site.kubectl, 2).await?;
    tools(&site).await?;
    state::at_rest(&site.client, SOON).await?;

    site.back_up("whole", &[]).await?;
    site.back_up(
        "some",
        &["--include-namespaces", "team-0", "--labels", "a=b"],
    )
    .await?;
    let nothing = ["--include-resources", "configmaps", "-l", "no=such"];
    site.back_up("nothing", &nothing).await?;
    let url = format!("file://{}", bucket.display());
    let versions = ["direct", "backup", "versions", "--store", &url];
    let features = ["--features", "EnableAPIGroupVersions"];
    site.velero.ok(&[&versions[..], &features].concat()).await?;
    by_library(&site, &bucket, "plugged").await?;

    let names = ["nothing", "plugged", "some", "versions", "whole"];
    for name in names {
        let report = read(&reader, &bucket, name).await?;
        ensure!(
            report.problems.is_empty(),
            "{name}: {} problems:\n{}",
            report.problems.len(),
            report.problems.join("\n")
        );
        ensure!(report.backups == names, "it finds {:?}", report.backups);
        ensure!(report.version == "1.1.0\n", "{:?}", report.version);
        all_found(&Archive::new(&bucket, name), &report).with_context(|| name.to_owned())?;
        kind_of_backup(name, &report).with_context(|| name.to_owned())?;
    }
    site.stop().await
}

async fn tools(site: &Site) -> Result<()> {
    let version = |name: &str| {
        json!({"name": name, "served": true, "storage": name == VERSIONS[0],
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": KIND},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "tools", "singular": "tool", "kind": "Tool", "listKind": "ToolList"},
            "versions": VERSIONS.map(version),
        },
    });
    site.kubectl.apply(&[definition], &[]).await?;
    let crd = format!("crd/{KIND}");
    let wait = ["wait", "--for=condition=Established", &crd, "--timeout=60s"];
    site.kubectl.ok(&wait).await?;
    let tool = |name: &str| {
        json!({"apiVersion": "example.com/v2", "kind": "Tool", "metadata": {"name": name, "namespace": "team-0"},
            "spec": {"big": 9_007_199_254_740_993_u64, "text": "<a> & b"}})
    };
    // A name that fits no field of an old tar header.
    let long = "long.".repeat(40) + "name";
    site.kubectl
        .apply(&[tool("hammer"), tool(&long)], &[])
        .await
}

/// A backup as a program with the library makes it: snapshots, copies of pod volumes, operations, and errors.
async fn by_library(site: &Site, bucket: &Path, name: &str) -> Result<()> {
    volumes(site).await?;
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
    let path = |suffix: &str| folder.join(format!("{name}{suffix}"));

    let engine = BackupEngine::new(cluster)
        .volume_snapshotter(Disks)
        .pod_volumes(Copier)
        .action(Operator);
    let request = engine.request(&backup).await?;
    let file = File::create(path(artifacts::ARCHIVE_SUFFIX))?;
    let result = engine.run(&request, file, BackupRun::default()).await?;
    ensure!(result.errors() > 0, "the action fails at some items");
    for artifact in artifacts::artifacts(&result) {
        fs::write(path(artifact.suffix), artifact.bytes)?;
    }
    let mut log = GzEncoder::new(
        File::create(path(artifacts::LOG_SUFFIX))?,
        Compression::default(),
    );
    log.write_all(b"level=info msg=\"by library\"\n")?;
    log.finish()?;
    backup.status = artifacts::final_status(&backup, &result);
    let metadata = artifacts::metadata_json(&backup);
    fs::write(folder.join(artifacts::METADATA_NAME), metadata)?;
    Ok(())
}

/// Volumes with a snapshot that works and one that fails, and a pod whose files are copied.
async fn volumes(site: &Site) -> Result<()> {
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

async fn read(reader: &Path, bucket: &Path, name: &str) -> Result<Report> {
    let output = Command::new(reader)
        .arg(bucket)
        .arg(name)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON, output).await??;
    ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        reader.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The peer finds exactly what the archive holds, and what the resource list names.
fn all_found(archive: &Archive, report: &Report) -> Result<()> {
    let entries = archive.entries()?;
    let mut plain = BTreeSet::new();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in entries.keys() {
        let parts: Vec<&str> = path.trim_end_matches(".json").split('/').collect();
        match parts.as_slice() {
            ["metadata", "version"] => {}
            ["resources", resource, "namespaces", namespace, name] => {
                plain.insert(format!("{resource}/{namespace}/{name}"));
            }
            ["resources", resource, "cluster", name] => {
                plain.insert(format!("{resource}//{name}"));
            }
            ["resources", resource, version, ..] => {
                let version = version.replace("-preferredversion", "*");
                versions
                    .entry((*resource).to_owned())
                    .or_default()
                    .insert(version);
            }
            _ => anyhow::bail!("unexpected: {path}"),
        }
    }
    ensure!(report.items == plain, "the peer finds other items");
    let found: BTreeMap<String, BTreeSet<String>> = report
        .versions
        .iter()
        .map(|(resource, versions)| (resource.clone(), versions.iter().cloned().collect()))
        .collect();
    ensure!(found == versions, "{found:?}, not {versions:?}");
    let list = archive.json("-resource-list.json.gz")?;
    let listed: BTreeSet<&str> = list
        .as_object()
        .context("the resource list is no object")?
        .values()
        .flat_map(|names| names.as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let found: BTreeSet<&str> = report
        .items
        .iter()
        .filter_map(|item| item.split_once('/'))
        .map(|(_, name)| name.trim_start_matches('/'))
        .collect();
    ensure!(
        found == listed,
        "the resource list names {listed:?}, the peer finds {found:?}"
    );
    Ok(())
}

/// Each backup has what it is there for.
fn kind_of_backup(name: &str, report: &Report) -> Result<()> {
    let records = |suffix: &str| {
        let file = format!("{name}{suffix}");
        report.documents.get(&file).copied().unwrap_or_default()
    };
    let preferred = format!("{}*", VERSIONS[0]);
    match name {
        "nothing" => ensure!(report.items.is_empty(), "{:?}", report.items),
        "versions" => ensure!(
            report.versions.get(KIND) == Some(&vec![preferred, VERSIONS[1].to_owned()]),
            "{:?}",
            report.versions
        ),
        "plugged" => {
            let counts = [
                "-volumesnapshots.json.gz",
                "-podvolumebackups.json.gz",
                "-itemoperations.json.gz",
                "-volumeinfo.json.gz",
                "-results.gz",
            ]
            .map(records);
            ensure!(
                counts[0] >= 2
                    && counts[1] == 1
                    && counts[2] >= 2
                    && counts[3] >= 3
                    && counts[4] > 0,
                "{counts:?}"
            );
        }
        _ => ensure!(report.items.len() > 10, "{:?}", report.items),
    }
    Ok(())
}
