//! The peer's own code reads our backups: its store, extractor, parser and types, in a Go program of ours.

mod cancelled;
mod library;
mod tools;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{Context, S3Server, Site, archive::Archive, go, plugged, site::SOON, state, world};

const BUCKET: &str = "ours";
/// A kind in two versions; the first is the preferred one.
const VERSIONS: [&str; 2] = ["v2", "v1"];
const KIND: &str = "tools.example.com";

/// What the Go program prints.
#[derive(Debug, Deserialize)]
struct Report {
    backups: Vec<String>,
    failed: bool,
    version: String,
    items: BTreeSet<String>,
    versions: BTreeMap<String, Vec<String>>,
    /// Paths of what was stored once more, by an annotation.
    again: BTreeSet<String>,
    documents: BTreeMap<String, usize>,
    problems: Vec<String>,
}

/// All backups, in the order of their names.
const NAMES: [&str; 7] = [
    "appended",
    "cancelled",
    "nothing",
    "plugged",
    "some",
    "versions",
    "whole",
];

/// Backups of the operator, of direct mode in all versions, one that was cancelled, and of the library with everything
/// plugged in.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let reader = go::program(go::PEER_READS).await?;
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let site = Site::start(cx, "peer-reads", &store, BUCKET).await?;
    world::create(&site.kubectl, 2).await?;
    two_versions(&site).await?;
    state::at_rest(&site.client, SOON).await?;

    let some = ["--include-namespaces", "team-0", "--labels", "a=b"];
    let nothing = ["--include-resources", "configmaps", "-l", "no=such"];
    site.back_up("whole", &[]).await?;
    site.back_up("some", &some).await?;
    site.back_up("nothing", &nothing).await?;
    let url = format!("file://{}", bucket.display());
    let versions = ["direct", "backup", "versions", "--store", &url];
    let features = ["--features", "EnableAPIGroupVersions"];
    site.velero.ok(&[&versions[..], &features].concat()).await?;
    library::volumes(&site).await?;
    library::plugged(&site, &bucket, "plugged").await?;
    let again = library::appended(&site, &bucket, "appended").await?;
    cancelled::back_up(cx, &site, &url, "cancelled").await?;

    for name in NAMES {
        let report = read(&reader, &bucket, name).await?;
        let archive = Archive::new(&bucket, name);
        let again = if name == "appended" { again } else { 0 };
        check(name, &archive, &report, again)
            .await
            .with_context(|| name.to_owned())?;
    }
    site.stop().await
}

/// The peer finds nothing wrong with a backup, and everything that is in it.
async fn check(name: &str, archive: &Archive, report: &Report, again: usize) -> Result<()> {
    let problems = &report.problems;
    ensure!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
    ensure!(report.backups == NAMES, "it finds {:?}", report.backups);
    tools::unpack(archive).await?;
    ensure!(report.failed == (name == "cancelled"), "{}", report.failed);
    if report.failed {
        return cancelled::check(archive);
    }
    ensure!(report.version == "1.1.0\n", "{:?}", report.version);
    all_found(archive, report)?;
    kind_of_backup(name, report)?;
    later_wins(archive, report, again)?;
    tools::list(archive).await
}

async fn two_versions(site: &Site) -> Result<()> {
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

/// What was stored once more lies in the archive twice, under both of its paths, and the peer has the later one.
fn later_wins(archive: &Archive, report: &Report, again: usize) -> Result<()> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for path in archive.paths()? {
        *times.entry(path).or_default() += 1;
    }
    let twice: BTreeSet<String> = times
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(path, _)| path.clone())
        .collect();
    ensure!(
        times.values().all(|times| *times <= 2) && twice.len() == 2 * again,
        "{again} items were stored once more; these are in the archive more than once: {twice:?}"
    );
    ensure!(
        report.again == twice,
        "the peer has the later one of {:?}, not of {twice:?}",
        report.again
    );
    // The annotation that it tells them by is in the later ones only.
    let last = archive.entries()?;
    let marked = |path: &&String| {
        let content = last.get(*path).map(|bytes| String::from_utf8_lossy(bytes));
        content.is_some_and(|text| text.contains(plugged::AGAIN))
    };
    ensure!(twice.iter().all(|path| marked(&path)), "not all are marked");
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
        "plugged" | "appended" => {
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
