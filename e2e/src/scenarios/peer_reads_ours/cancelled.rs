//! A backup that its user ends while a hook runs, and what stays of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{Context, Site, archive::Archive, eventually, site::SOON};

/// Longest time from the signal to the end: the hook would take longer.
const STOP: Duration = Duration::from_secs(30);

/// Starts a backup in direct mode, and ends it with Ctrl-C when its first hook is at work.
pub(super) async fn back_up(cx: &Context, site: &Site, url: &str, name: &str) -> Result<()> {
    let marker = cx.scratch().join("hook-at-work");
    let command = json!([
        "sh",
        "-c",
        format!("touch {} && sleep 60", marker.display())
    ]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "sleeper", "namespace": "team-1", "annotations": {
            "pre.hook.backup.velero.io/command": command.to_string(), "pre.hook.backup.velero.io/timeout": "2m"}},
        "spec": {"containers": [{"name": "c", "image": "example.com/sleeper"}]}});
    site.kubectl.apply(&[pod], &[]).await?;
    let ready = "wait --for=condition=Ready pod/sleeper -n team-1 --timeout=60s";
    site.kubectl
        .ok(&ready.split(' ').collect::<Vec<_>>())
        .await?;
    let log = cx.scratch().join("cancelled.log");
    let mut child = site
        .velero
        .spawn(&["direct", "backup", name, "--store", url], &log)?;
    eventually("the hook is at work", SOON, || async {
        Ok(marker.exists().then_some(()))
    })
    .await?;
    if let Some(id) = child.id() {
        kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGINT)?;
    }
    let status = tokio::time::timeout(STOP, child.wait()).await??;
    ensure!(!status.success(), "a cancelled backup ended with {status}");
    Ok(())
}

/// The documents that the peer has read say what has happened.
pub(super) fn check(archive: &Archive) -> Result<()> {
    let status = archive.metadata()?["status"].take();
    ensure!(
        status["phase"] == "Failed"
            && status["completionTimestamp"].is_string()
            && status["expiration"].is_string(),
        "{status}"
    );
    let results = archive.json("-results.gz")?.to_string();
    let log = archive.text("-logs.gz")?;
    for text in [results, log] {
        ensure!(text.contains("cancelled"), "{text}");
    }
    ensure!(!archive.file(".tar.gz").exists(), "there is an archive");
    Ok(())
}
