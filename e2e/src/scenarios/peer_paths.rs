//! Our backups of the world that the peer has backed up hold every path that its archives hold, and files of the same form.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    Context, S3Server, Site,
    archive::Archive,
    peer::{self, placeholders},
    site::SOON,
    state,
};

const BUCKET: &str = "ours";
const BACKUPS: [(&str, &[&str]); 3] = [
    ("demo-full", &[]),
    ("demo-ns", &["--include-namespaces", "demo"]),
    ("demo-sel", &["-l", "app=web"]),
];
/// Artifacts that are JSON, beside the results.
const ARTIFACTS: [&str; 5] = [
    "-itemoperations.json.gz",
    "-podvolumebackups.json.gz",
    "-resource-list.json.gz",
    "-volumeinfo.json.gz",
    "-volumesnapshots.json.gz",
];
/// What only the peer's archives hold, with the reason.
const OF_THE_PEER: &[(&str, &str)] = &[(
    "namespaces/velero/velero-repo-credentials.json",
    "the password of the peer's repositories of files, which its server makes when it starts",
)];

/// Makes the peer's world and backs it up as the peer was told to.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let site = Site::start(cx, "peer-paths", &store, BUCKET).await?;
    world(&site).await?;
    let mut faults = Vec::new();
    for (name, flags) in BACKUPS {
        site.back_up(name, flags).await?;
        let (ours, theirs) = (
            Archive::new(&bucket, name),
            Archive::new(&peer::fixture("bucket"), name),
        );
        faults.extend(paths(&ours, &theirs)?);
        faults.extend(files(&ours, &theirs)?);
        log_lines(&ours, name)?;
    }
    if !faults.is_empty() {
        bail!("{} faults:\n{}", faults.len(), faults.join("\n"));
    }
    site.stop().await
}

async fn world(site: &Site) -> Result<()> {
    let path = peer::fixture("world.yaml").display().to_string();
    // The kind is served a moment after its definition was created.
    let first = site.kubectl.run(&["apply", "-f", &path], "").await?;
    ensure!(
        first.code == Some(0),
        "the world is not accepted: {first:?}"
    );
    let crd = "crd/books.library.example.com";
    let wait = ["wait", "--for=condition=Established", crd, "--timeout=60s"];
    site.kubectl.ok(&wait).await?;
    let book = "apiVersion: library.example.com/v1\nkind: Book\nmetadata: {name: b1, namespace: demo, labels: {app: web}}\n\
                spec: {pages: 321, big: 9007199254740993}\n";
    site.kubectl.ok_with(&["apply", "-f", "-"], book).await?;
    let patch = [
        "patch",
        "book/b1",
        "-n",
        "demo",
        "--subresource=status",
        "--type=merge",
        r#"-p={"status":{"read":true}}"#,
    ];
    site.kubectl.ok(&patch).await?;
    state::at_rest(&site.client, SOON * 2).await.map(drop)
}

/// Paths of the peer's archive that ours has not, or less often.
fn paths(ours: &Archive, theirs: &Archive) -> Result<Vec<String>> {
    let (ours, theirs) = (counted(ours)?, counted(theirs)?);
    Ok(theirs
        .iter()
        .filter(|(path, count)| ours.get(*path).is_none_or(|ours| ours < count))
        .filter(|(path, _)| !OF_THE_PEER.iter().any(|(known, _)| path.contains(known)))
        .map(|(path, count)| {
            format!(
                "{path}: {count} in the peer's archive, {} in ours",
                ours.get(path).unwrap_or(&0)
            )
        })
        .collect())
}

/// The paths with placeholders for random parts, and how many have the same; Events left out.
fn counted(archive: &Archive) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for path in archive.entries()?.into_keys() {
        if !path.starts_with("resources/events") {
            *counts.entry(placeholder(&path)).or_default() += 1;
        }
    }
    Ok(counts)
}

fn placeholder(path: &str) -> String {
    let path = placeholders(path);
    let generated = [
        "resources/pods/",
        "resources/endpointslices.",
        "resources/leases.",
    ];
    let random = generated.iter().any(|start| path.starts_with(start));
    match path.rsplit_once('-') {
        Some((stem, _)) if random => format!("{stem}-<random>"),
        _ => path,
    }
}

/// Files that are missing, and files of another form.
fn files(ours: &Archive, theirs: &Archive) -> Result<Vec<String>> {
    let (have, wanted) = (ours.files()?, theirs.files()?);
    let mut faults: Vec<String> = wanted
        .iter()
        .filter(|file| !have.contains(*file))
        .map(|file| format!("no file {file}"))
        .collect();
    let (mut metadata, mut results) = (ours.metadata()?, ours.json("-results.gz")?);
    leave_hooks_out(&mut metadata, &mut results)?;
    faults.extend(forms("velero-backup.json", &metadata, &theirs.metadata()?));
    faults.extend(forms("-results.gz", &results, &theirs.json("-results.gz")?));
    for artifact in ARTIFACTS {
        let (ours, theirs) = (ours.json(artifact)?, theirs.json(artifact)?);
        faults.extend(forms(artifact, &ours, &theirs));
    }
    Ok(faults)
}

/// The pods ask for a command, which is not run yet: a warning for each says so. Any other warning stays, and is a fault.
fn leave_hooks_out(metadata: &mut Value, results: &mut Value) -> Result<()> {
    let Some(warnings) = results["warnings"]["namespaces"]["demo"].as_array() else {
        return Ok(());
    };
    let about_hooks = |text: &Value| {
        text.as_str()
            .is_some_and(|text| text.contains("asks for a command in the pod"))
    };
    ensure!(
        warnings.iter().all(about_hooks),
        "unexpected warnings: {warnings:?}"
    );
    ensure!(
        metadata["status"]["warnings"] == warnings.len(),
        "{} warnings in the results, but the status is {}",
        warnings.len(),
        metadata["status"]
    );
    results["warnings"] = serde_json::json!({});
    if let Some(status) = metadata["status"].as_object_mut() {
        status.remove("warnings");
    }
    Ok(())
}

/// Fields and types that one document has and the other has not.
fn forms(file: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    let (ours, theirs) = (form(file, ours), form(file, theirs));
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>, who: &str| -> Vec<String> {
        a.difference(b)
            .map(|field| format!("{file}: only {who} has {field}"))
            .collect()
    };
    let mut faults = only(&theirs, &ours, "the peer");
    // More kinds of objects are in our list of a whole cluster.
    if file != "-resource-list.json.gz" {
        faults.extend(only(&ours, &theirs, "we have: it"));
    }
    faults
}

/// `path: type` of each field.
fn form(file: &str, document: &Value) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    collect(document, String::new(), &mut fields);
    fields.retain(|field| {
        // Hooks run when the whole backup engine is there; who owns which field of the custom resource is the server's affair.
        !(file == "velero-backup.json"
            && (field.contains("hookStatus") || field.contains(".managedFields")))
    });
    fields
}

fn collect(value: &Value, path: String, fields: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(all) => {
            for one in all {
                collect(one, format!("{path}[]"), fields);
            }
            "array"
        }
        Value::Object(all) => {
            for (key, one) in all {
                collect(one, format!("{path}.{key}"), fields);
            }
            "object"
        }
    };
    fields.insert(format!("{path}: {kind}"));
}

fn log_lines(ours: &Archive, name: &str) -> Result<()> {
    let log = ours.text("-logs.gz")?;
    let first = log.lines().next().context("the log is empty")?;
    let run = format!("backup=velero/{name}");
    let odd = log.lines().find(|line| {
        !(line.starts_with("time=\"")
            && line.contains(" level=")
            && line.contains(" msg=")
            && line.contains(&run))
    });
    ensure!(
        odd.is_none(),
        "a line of the log of {name}: {odd:?}, the first is {first}"
    );
    Ok(())
}
