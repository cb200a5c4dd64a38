//! Schedules and locations, whose objects the commands write themselves, and archives that they fetch.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{files, prints};
use crate::{Context, Site};

/// Schedules from their creation to their deletion; paused ones, so that no backups are made.
pub(super) async fn schedules(site: &Site) -> Result<()> {
    let velero = &site.velero;
    let create = [
        "schedule",
        "create",
        "yearly",
        "--schedule",
        "0 1 1 1 *",
        "--include-namespaces",
        "team-0",
        "--ttl",
        "72h",
        "--labels",
        "a=b",
        "--annotations",
        "note=x",
        "--skip-immediately",
        "true",
        "--paused",
    ];
    let said = "Schedule \"yearly\" created successfully.";
    prints(velero, &create, &[said]).await?;
    let made = site.object("schedules", "yearly").await?;
    let spec = &made["spec"];
    ensure!(
        spec["paused"] == true
            && spec["skipImmediately"] == true
            && spec["useOwnerReferencesInBackup"] == false
            && spec["template"]["ttl"] == "72h0m0s"
            && made["metadata"]["annotations"]["note"] == "x",
        "schedule create made {made}"
    );
    velero.ok(&["schedule", "unpause", "yearly"]).await?;
    velero.ok(&["schedule", "pause", "-l", "a=b"]).await?;
    let spec = site.object("schedules", "yearly").await?["spec"].clone();
    ensure!(
        spec["paused"] == true && spec["skipImmediately"] != true,
        "schedule pause left {spec}"
    );
    let columns = [
        "NAME",
        "LAST BACKUP",
        "PAUSED",
        "yearly",
        "0 1 1 1 *",
        "72h0m0s",
    ];
    prints(velero, &["get", "schedules"], &columns).await?;
    let lines = ["Paused:  true", "Backup Template:", "    Included:  team-0"];
    prints(velero, &["schedule", "describe", "yearly"], &lines).await?;
    let delete = ["delete", "schedule", "yearly", "--confirm"];
    prints(velero, &delete, &["Deleted schedule \"yearly\"."]).await?;
    site.gone("schedules", "yearly").await
}

/// Locations beside the one that is used, from their creation to their deletion.
pub(super) async fn locations(site: &Site) -> Result<()> {
    let velero = &site.velero;
    let create = "backup-location create other --provider aws --bucket nowhere --prefix p --config region=eu \
                  --credential cloud=key --backup-sync-period 0s --access-mode ReadOnly";
    let create: Vec<&str> = create.split_whitespace().collect();
    let second = velero
        .refused(&[create.as_slice(), &["--default"]].concat())
        .await?;
    ensure!(
        second.contains("\"default\" is the default one"),
        "{second}"
    );
    prints(velero, &create, &["configured successfully"]).await?;
    let made = site.object("backupstoragelocations", "other").await?;
    ensure!(
        made["spec"]
            == json!({"provider": "aws", "config": {"region": "eu"}, "credential": {"name": "cloud", "key": "key"},
                "objectStorage": {"bucket": "nowhere", "prefix": "p"}, "accessMode": "ReadOnly", "backupSyncPeriod": "0s"}),
        "backup-location create made {made}"
    );
    let set = [
        "backup-location",
        "set",
        "other",
        "--credential",
        "cloud=other",
        "--cacert=",
    ];
    velero.ok(&set).await?;
    let credential =
        site.object("backupstoragelocations", "other").await?["spec"]["credential"].clone();
    ensure!(
        credential == json!({"name": "cloud", "key": "other"}),
        "{credential}"
    );
    let columns = ["BUCKET/PREFIX", "nowhere/p", "ReadOnly", "default"];
    prints(velero, &["get", "backup-locations"], &columns).await?;
    let default = ["backup-location", "get", "--default", "-o", "json"];
    let default: Value = serde_json::from_str(&velero.ok(&default).await?)?;
    ensure!(default["metadata"]["name"] == "default", "{default}");
    let delete = ["backup-location", "delete", "other", "--confirm"];
    prints(
        velero,
        &delete,
        &["Deleted backup storage location \"other\"."],
    )
    .await?;
    site.gone("backupstoragelocations", "other").await?;
    // The backups of the location that is used are still there.
    site.object("backups", "first").await?;

    let create = [
        "snapshot-location",
        "create",
        "snaps",
        "--provider",
        "aws",
        "--config",
        "region=eu",
    ];
    velero.ok(&create).await?;
    velero
        .ok(&[
            "snapshot-location",
            "set",
            "snaps",
            "--credential",
            "cloud=key",
        ])
        .await?;
    prints(
        velero,
        &["get", "snapshot-locations"],
        &["PROVIDER", "snaps"],
    )
    .await?;
    velero
        .ok(&["snapshot-location", "delete", "snaps", "--confirm"])
        .await?;
    site.gone("volumesnapshotlocations", "snaps").await
}

/// The archive of a backup, byte by byte, over an address that the operator has signed.
pub(super) async fn download(cx: &Context, site: &Site, bucket: &Path) -> Result<()> {
    let folder = cx.scratch().join("downloads");
    std::fs::create_dir(&folder)?;
    let target = folder.join("first.tgz");
    let path = target.to_str().context("a path is not utf-8")?;
    let download = ["backup", "download", "first", "-o", path];
    prints(
        &site.velero,
        &download,
        &["has been successfully downloaded to"],
    )
    .await?;
    let stored = std::fs::read(bucket.join("backups/first/first.tar.gz"))?;
    ensure!(
        std::fs::read(&target)? == stored,
        "{path} is not what the bucket has"
    );
    let again = site.velero.refused(&download).await?;
    ensure!(again.contains("--force replaces it"), "{again}");
    ensure!(
        files(&folder)? == 1,
        "other files are left in {}",
        folder.display()
    );
    Ok(())
}
