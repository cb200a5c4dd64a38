//! The life of a schedule: it is created, makes backups, is paused, and its backups expire and go.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Context, S3Server, Site, eventually, s3server::files_below, site::NAMESPACE};

const BUCKET: &str = "backups";
const SOURCE: &str = "shop";
/// Longest wait for one step.
const SOON: Duration = Duration::from_secs(60);

/// Lets a schedule live.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket(BUCKET)?;
    let site = Site::start(cx, "schedule", &store, BUCKET).await?;
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "menu", "namespace": SOURCE},
            "data": {"pie": "3"}}),
    ];
    site.kubectl.apply(&objects, &[]).await?;
    let create = [
        "schedule",
        "create",
        "often",
        "--schedule",
        "@every 4s",
        "--ttl",
        "12s",
    ];
    let of_shop = [
        "--include-namespaces",
        SOURCE,
        "--use-owner-references-in-backup=false",
    ];
    site.velero.ok(&[&create[..], &of_shop].concat()).await?;

    let waited = eventually("two backups of the schedule have ended", SOON, || async {
        let ended = backups(&site).await?;
        let ended = ended
            .into_iter()
            .filter(|backup| backup["status"]["phase"] == "Completed");
        let ended: Vec<Value> = ended.collect();
        Ok((ended.len() >= 2).then_some(ended))
    });
    let ended = waited.await.with_context(|| site.operator.tail())?;
    let mut due: Vec<&Value> = ended
        .iter()
        .map(|backup| &backup["metadata"]["annotations"]["x.velero.io/due"])
        .collect();
    due.dedup();
    ensure!(
        due.len() == ended.len() && due.iter().all(|due| due.is_string()),
        "{due:?}"
    );
    for backup in &ended {
        let name = backup["metadata"]["name"].as_str().unwrap_or_default();
        ensure!(
            name.starts_with("often-2") && name.len() == "often-20261123154500".len(),
            "{name}"
        );
    }

    site.velero.ok(&["schedule", "pause", "often"]).await?;
    let waited = eventually("all backups of the schedule have expired", SOON, || async {
        Ok(backups(&site).await?.is_empty().then_some(()))
    });
    waited.await.with_context(|| site.operator.tail())?;
    let left = files_below(&store.root().join(BUCKET).join("backups"))?;
    ensure!(left.is_empty(), "left in the bucket: {left:?}");
    // They go after what they ask for.
    let waited = eventually("no request is left", SOON, || async {
        let requests = list(&site, "deletebackuprequests").await?;
        Ok(requests.is_empty().then_some(()))
    });
    waited.await.with_context(|| site.operator.tail())?;
    let schedule = site.object("schedules", "often").await?;
    ensure!(
        schedule["status"]["phase"] == "Enabled" && schedule["status"]["lastBackup"].is_string(),
        "{schedule}"
    );
    site.velero
        .ok(&["schedule", "delete", "often", "--confirm"])
        .await?;
    site.gone("schedules", "often").await?;
    site.stop().await
}

/// The backups of the schedule.
async fn backups(site: &Site) -> Result<Vec<Value>> {
    list(
        site,
        "backups?labelSelector=velero.io%2Fschedule-name%3Doften",
    )
    .await
}

async fn list(site: &Site, what: &str) -> Result<Vec<Value>> {
    let path = format!("/apis/velero.io/v1/namespaces/{NAMESPACE}/{what}");
    let found: Value = site
        .client
        .request(http::Request::get(path).body(Vec::new())?)
        .await?;
    Ok(found["items"].as_array().cloned().unwrap_or_default())
}
