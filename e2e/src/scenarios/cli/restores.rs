//! `velero restore ...`

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{logs, prints};
use crate::Site;

pub(super) async fn create(site: &Site) -> Result<()> {
    let velero = &site.velero;
    let first = [
        "restore",
        "create",
        "one",
        "--from-backup",
        "first",
        "--namespace-mappings",
        "team-0:copy",
        // A node port that the user has chosen can be there once only.
        "--exclude-resources",
        "services",
        "--wait",
    ];
    prints(
        velero,
        &first,
        &[
            "Restore request \"one\" submitted successfully.",
            "Restore completed with status: Completed.",
        ],
    )
    .await?;
    let maps = site
        .kubectl
        .ok(&["get", "configmap", "-n", "copy", "-o", "name"])
        .await?;
    ensure!(maps.contains("configmap/plain"), "the copy has {maps}");
    let second = [
        "create",
        "restore",
        "--from-backup",
        "second",
        "--namespace-mappings",
        "team-0:web",
        "--include-resources",
        "configmaps",
        "--wait",
    ];
    prints(velero, &second, &["Restore request \"second-"]).await?;
    let kinds = site
        .kubectl
        .ok(&["get", "deployments,configmaps", "-n", "web", "-o", "name"])
        .await?;
    ensure!(
        kinds.contains("configmap/plain") && !kinds.contains("deployment"),
        "the second copy has {kinds}"
    );
    Ok(())
}

pub(super) async fn look_at(site: &Site) -> Result<()> {
    let velero = &site.velero;
    for get in [["restore", "get"], ["get", "restores"]] {
        let table = prints(velero, &get, &["one", "second-"]).await?;
        let header = table.lines().next().unwrap_or_default();
        for column in [
            "NAME",
            "BACKUP",
            "STATUS",
            "STARTED",
            "COMPLETED",
            "ERRORS",
            "WARNINGS",
            "CREATED",
            "SELECTOR",
        ] {
            ensure!(header.contains(column), "no column {column}: {header}");
        }
    }
    let one: Value =
        serde_json::from_str(&velero.ok(&["get", "restore", "one", "-o", "json"]).await?)?;
    ensure!(
        one["kind"] == "Restore" && one["spec"]["namespaceMapping"]["team-0"] == "copy",
        "restore get -o json gave {one}"
    );
    prints(
        velero,
        &["restore", "get", "one", "-o", "yaml"],
        &["kind: Restore"],
    )
    .await?;
    prints(
        velero,
        &["restore", "describe", "one"],
        &["Phase:", "Completed", "Backup:", "first"],
    )
    .await?;
    let details = ["describe", "restore", "one", "--details"];
    prints(velero, &details, &["Resource List:", "- copy/web(created)"]).await?;
    logs(velero, "restore", "one").await
}

pub(super) async fn delete(site: &Site) -> Result<()> {
    let velero = &site.velero;
    // Without --confirm it asks; nobody answers, so nothing goes.
    velero.ok(&["restore", "delete", "one"]).await?;
    site.object("restores", "one").await?;
    velero
        .ok(&["delete", "restore", "one", "--confirm"])
        .await?;
    site.gone("restores", "one").await?;
    let refused = velero
        .refused(&["restore", "delete", "one", "--confirm"])
        .await?;
    ensure!(refused.contains("one"), "{refused}");
    Ok(())
}
