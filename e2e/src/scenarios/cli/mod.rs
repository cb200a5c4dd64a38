//! The command line as users of the peer know it, against an operator on S3.

mod objects;
mod restores;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    Context, Kubectl, Options, S3Server, Site, Velero, eventually, site::SOON, state, world,
};

const BUCKET: &str = "cli";

/// Installation, backups and restores from their creation to their deletion.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = store.create_bucket(BUCKET)?;
    let plane = cx.control_plane(Options::default()).await?;
    definitions(&cx.cli(&plane)?, &Kubectl::new(&plane)?).await?;
    let site = Site::install(cx, "cli", plane, &store, BUCKET).await?;
    world::create(&site.kubectl, 1).await?;
    state::at_rest(&site.client, SOON).await?;

    create_backups(&site).await?;
    look_at_backups(&site).await?;
    objects::download(cx, &site, &bucket).await?;
    objects::schedules(&site).await?;
    objects::locations(&site).await?;
    restores::create(&site).await?;
    restores::look_at(&site).await?;
    restores::delete(&site).await?;
    delete_backups(&site, &bucket).await?;
    version(&site).await?;
    site.stop().await
}

/// What `install` prints is accepted by the real API server.
async fn definitions(velero: &Velero, kubectl: &Kubectl) -> Result<()> {
    let print = ["install", "--crds-only", "--dry-run", "-o", "yaml"];
    let yaml = velero.ok(&print).await?;
    let applied = kubectl.ok_with(&["apply", "-f", "-"], &yaml).await?;
    let created = applied
        .lines()
        .filter(|line| line.starts_with("customresourcedefinition.") && line.ends_with(" created"));
    let created = created.count();
    ensure!(created == 13, "{created} definitions created:\n{applied}");
    let wait = [
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=60s",
    ];
    kubectl.ok(&wait).await.map(drop)
}

/// Runs a command and checks that it prints some texts.
async fn prints(velero: &Velero, args: &[&str], texts: &[&str]) -> Result<String> {
    let printed = velero.ok(args).await?;
    let absent: Vec<&&str> = texts
        .iter()
        .filter(|text| !printed.contains(**text))
        .collect();
    ensure!(
        absent.is_empty(),
        "velero {} does not print {absent:?}:\n{printed}",
        args.join(" ")
    );
    Ok(printed)
}

async fn create_backups(site: &Site) -> Result<()> {
    let velero = &site.velero;
    let first = [
        "backup",
        "create",
        "first",
        "--include-namespaces",
        "team-0",
        "--ttl",
        "24h",
        "--labels",
        "a=b",
        "--wait",
    ];
    prints(
        velero,
        &first,
        &[
            "Backup request \"first\" submitted successfully.",
            "Backup completed with status: Completed.",
        ],
    )
    .await?;
    let second = [
        "create",
        "backup",
        "second",
        "-l",
        "app=web",
        "--include-resources",
        "deployments,configmaps",
    ];
    prints(velero, &second, &["Run `velero backup describe second`"]).await?;
    completed(site, "backups", "second").await?;
    let dry = [
        "backup",
        "create",
        "third",
        "--include-cluster-resources=false",
        "-o",
        "yaml",
    ];
    prints(velero, &dry, &["kind: Backup", "name: third"]).await?;
    let again = velero.refused(&["backup", "create", "first"]).await?;
    ensure!(again.contains("first"), "{again}");
    Ok(())
}

async fn completed(site: &Site, plural: &str, name: &str) -> Result<()> {
    eventually(&format!("{plural} {name} is completed"), SOON, || async {
        let phase = site.object(plural, name).await?["status"]["phase"].clone();
        Ok((phase == "Completed").then_some(()))
    })
    .await
}

async fn look_at_backups(site: &Site) -> Result<()> {
    let velero = &site.velero;
    for get in [["backup", "get"], ["get", "backups"], ["get", "backup"]] {
        let table = prints(velero, &get, &["first", "second"]).await?;
        let header = table.lines().next().unwrap_or_default();
        for column in [
            "NAME",
            "STATUS",
            "ERRORS",
            "WARNINGS",
            "CREATED",
            "EXPIRES",
            "STORAGE LOCATION",
            "SELECTOR",
        ] {
            ensure!(header.contains(column), "no column {column}: {header}");
        }
    }
    let one: Value =
        serde_json::from_str(&velero.ok(&["backup", "get", "first", "-o", "json"]).await?)?;
    ensure!(
        one["kind"] == "Backup"
            && one["metadata"]["labels"]["a"] == "b"
            && one["spec"]["ttl"] == "24h0m0s",
        "backup get -o json gave {one}"
    );
    let both: Value = serde_json::from_str(&velero.ok(&["get", "backups", "-o", "json"]).await?)?;
    ensure!(
        both["kind"] == "BackupList"
            && both["items"]
                .as_array()
                .is_some_and(|items| items.len() == 2),
        "get backups -o json gave {both}"
    );
    prints(
        velero,
        &["backup", "get", "first", "-o", "yaml"],
        &["kind: Backup", "storageLocation: default"],
    )
    .await?;
    prints(velero, &["backup", "get", "-l", "a=b"], &["first"]).await?;
    describe(velero).await?;
    logs(velero, "backup", "first").await
}

/// `describe` in its three forms.
async fn describe(velero: &Velero) -> Result<()> {
    let describe = ["backup", "describe", "first"];
    prints(
        velero,
        &describe,
        &[
            "Name:",
            "first",
            "Phase:",
            "Completed",
            "Included:",
            "team-0",
            "TTL:",
            "24h0m0s",
        ],
    )
    .await?;
    let details = ["describe", "backup", "first", "--details"];
    prints(
        velero,
        &details,
        &["Resource List:", "apps/v1/Deployment:", "- team-0/web"],
    )
    .await?;
    let json = velero
        .ok(&["backup", "describe", "first", "-o", "json"])
        .await?;
    let json: Value = serde_json::from_str(&json).context("describe -o json")?;
    ensure!(json["phase"] == "Completed", "describe -o json gave {json}");
    Ok(())
}

/// Each line of a log has the peer's form.
async fn logs(velero: &Velero, kind: &str, name: &str) -> Result<()> {
    let log = velero.ok(&[kind, "logs", name]).await?;
    ensure!(
        log.lines().count() >= 2,
        "{kind} logs {name} is short:\n{log}"
    );
    let run = format!("{kind}=velero/{name}");
    for line in log.lines() {
        let good = line.starts_with("time=\"")
            && line.contains(" level=")
            && line.contains(" msg=")
            && line.contains(&run);
        ensure!(good, "a line of {kind} logs {name}: {line}");
    }
    Ok(())
}

/// Backups go with what they have in the bucket, and with their restores.
async fn delete_backups(site: &Site, bucket: &Path) -> Result<()> {
    let velero = &site.velero;
    velero.ok(&["backup", "delete", "first"]).await?;
    site.object("backups", "first").await?;
    let folder = bucket.join("backups/first");
    ensure!(folder.is_dir(), "{} is not there", folder.display());
    let submitted = "Request to delete backup \"first\" submitted successfully.";
    prints(
        velero,
        &["backup", "delete", "first", "--confirm"],
        &[submitted],
    )
    .await?;
    site.gone("backups", "first").await?;
    ensure!(
        files(&folder)? == 0,
        "{} still holds files",
        folder.display()
    );
    velero
        .ok(&["delete", "backup", "--all", "--confirm"])
        .await?;
    site.gone("backups", "second").await?;
    ensure!(
        files(bucket)? == 0,
        "{} still holds files",
        bucket.display()
    );
    let left = velero.ok(&["restore", "get"]).await?;
    ensure!(!left.contains("second-"), "restores are left: {left}");
    Ok(())
}

fn files(folder: &Path) -> Result<usize> {
    if !folder.is_dir() {
        return Ok(0);
    }
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        count += if path.is_dir() { files(&path)? } else { 1 };
    }
    Ok(count)
}

async fn version(site: &Site) -> Result<()> {
    prints(
        &site.velero,
        &["version", "--client-only"],
        &["Client:", "Version:"],
    )
    .await
    .map(drop)
}
