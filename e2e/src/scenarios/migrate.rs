//! A mixed world moves from one cluster to another through a bucket, and nothing is lost.

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use velero_testkit::compare::{ALLOWED, compare};

use crate::{
    Context, S3Server, Site,
    normalise::normalise,
    site::SOON,
    state::{self, identity, text},
    world,
};

const BUCKET: &str = "backups";
const BACKUP: &str = "world";
const RESTORE: &str = "moved";

/// Backs the world up, finds the backup in a second cluster by synchronisation, restores it, and compares.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket(BUCKET)?;
    let source = Site::start(cx, "source", &store, BUCKET).await?;
    let teams = if cx.is_smoke() { 2 } else { world::TEAMS };
    let made = world::create(&source.kubectl, teams).await?;
    run_a_job(&source).await?;
    let before = state::at_rest(&source.client, SOON * 2).await?;
    ensure!(
        cx.is_smoke() || made >= 200,
        "the world has {made} objects only"
    );
    let backup = source.back_up(BACKUP, &[]).await?;
    ensure!(
        backup["status"]["errors"].as_u64().unwrap_or(0) == 0
            && backup["status"]["warnings"].as_u64().unwrap_or(0) == 0,
        "the backup has warnings or errors: {}",
        backup["status"]
    );
    source.stop().await?;

    let target = Site::start(cx, "target", &store, BUCKET).await?;
    target.synchronised(BACKUP).await?;
    let restore = target.restore(RESTORE, BACKUP, &[]).await?;
    ensure!(
        restore["status"]["errors"].as_u64().unwrap_or(0) == 0,
        "the restore has errors: {}",
        restore["status"]
    );
    let after = state::at_rest(&target.client, SOON * 2).await?;
    let differences = differences(&before, &after);
    if !differences.is_empty() {
        bail!(
            "{} differences among {} objects:\n{}",
            differences.len(),
            before.len(),
            differences.join("\n")
        );
    }
    losses_show(&before, &after)?;
    report(made, &before, &backup, &restore);
    target.stop().await
}

/// A Job that has ended before the backup; its restore would run it again.
async fn run_a_job(site: &Site) -> Result<()> {
    let namespace = &["-n", "team-0"];
    let create = [
        "create",
        "job",
        "done",
        "--image=registry.example.com/job:1",
    ];
    site.kubectl.ok(&[&create[..], namespace].concat()).await?;
    let wait = [
        "wait",
        "--for=condition=Complete",
        "job/done",
        "--timeout=60s",
    ];
    site.kubectl
        .ok(&[&wait[..], namespace].concat())
        .await
        .map(drop)
}

/// What differs although it may not.
fn differences(before: &[Value], after: &[Value]) -> Vec<String> {
    let (before, after) = (comparable(before), comparable(after));
    compare(&before, &after, ALLOWED)
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The comparison sees an object that is lost, whichever it is; a sample shows that.
fn losses_show(before: &[Value], after: &[Value]) -> Result<()> {
    const SAMPLES: usize = 12;
    for lost in comparable(after)
        .iter()
        .step_by(after.len().div_ceil(SAMPLES))
    {
        let fewer: Vec<Value> = after
            .iter()
            .filter(|object| identity(object) != identity(lost))
            .cloned()
            .collect();
        // Provisioned volumes are named after uids, so none of this name was left out.
        ensure!(
            fewer.len() == after.len() || !differences(before, &fewer).is_empty(),
            "the loss of {} does not show",
            identity(lost)
        );
    }
    Ok(())
}

/// The objects that a restore has to bring back, with names for identities.
fn comparable(objects: &[Value]) -> Vec<Value> {
    let mut objects = state::by_name(objects);
    normalise(&mut objects);
    objects
        .into_iter()
        .filter(|object| !is_made_anew(object) && !has_ended(object))
        .collect()
}

/// EndpointSlices get a new random name from their controller.
fn is_made_anew(object: &Value) -> bool {
    text(object, "/kind") == "EndpointSlice"
}

/// What has run to its end is in the backup, but is not restored, as with the peer.
fn has_ended(object: &Value) -> bool {
    text(object, "/status/phase") == "Succeeded"
        || (text(object, "/kind") == "Job" && !text(object, "/status/completionTime").is_empty())
}

#[allow(clippy::print_stdout)]
fn report(made: usize, before: &[Value], backup: &Value, restore: &Value) {
    let ended = before.iter().filter(|object| has_ended(object));
    println!(
        "  {made} objects created, {} compared with those of controllers, {} items backed up, {} restored, {} warnings; not restored because they have ended: {}",
        comparable(before).len(),
        backup["status"]["progress"]["itemsBackedUp"],
        restore["status"]["progress"]["itemsRestored"],
        restore["status"]["warnings"].as_u64().unwrap_or(0),
        ended.map(identity).collect::<Vec<_>>().join(", "),
    );
}
