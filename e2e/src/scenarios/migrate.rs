//! A mixed world moves from one cluster to another through a bucket, and nothing is lost.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use velero_testkit::compare::{ALLOWED, Difference, compare, needed};

use crate::{
    Context, S3Server, Site,
    site::SOON,
    state::{self, identity, name, text},
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
    if restore["status"]["errors"].as_u64().unwrap_or(0) != 0
        || restore["status"]["warnings"].as_u64().unwrap_or(0) != 0
    {
        let describe = ["restore", "describe", RESTORE, "--details"];
        bail!(
            "a whole cluster was restored into a new one with warnings or errors:\n{}",
            target.velero.ok(&describe).await?
        );
    }
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
    let absent = compare(&before, &after, ALLOWED).len();
    ensure!(
        absent == ended(&before).len(),
        "{absent} objects of what had ended are not there, of {:?}",
        ended(&before)
    );
    chosen_ports_stay(&before, &after)?;
    losses_show(&before, &after)?;
    report(made, &before, &after, &backup, &restore);
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

/// What differs although it may not, but for the absence of what had ended.
fn differences(before: &[Value], after: &[Value]) -> Vec<String> {
    let ended = ended(before);
    compare(before, after, ALLOWED)
        .iter()
        .filter(|difference| match difference {
            Difference::Missing { object } => !ended.contains(object),
            _ => true,
        })
        .map(ToString::to_string)
        .collect()
}

/// What has run to its end is in the backup, but is not restored, as with the peer.
fn ended(before: &[Value]) -> BTreeSet<String> {
    before
        .iter()
        .filter(|object| {
            text(object, "/status/phase") == "Succeeded"
                || !text(object, "/status/completionTime").is_empty()
        })
        .map(|object| {
            let namespace = text(object, "/metadata/namespace");
            let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
            format!("{version}/{kind} {namespace}/{}", name(object))
        })
        .collect()
}

/// What the list of differences cannot tell, as most ports are given at random: a port that a user chose stays.
fn chosen_ports_stay(before: &[Value], after: &[Value]) -> Result<()> {
    let ports = |objects: &[Value]| -> Vec<(String, Value)> {
        let mut ports: Vec<_> = objects
            .iter()
            .filter(|object| text(object, "/kind") == "Service" && name(object) == "fixed")
            .map(|service| (identity(service), service["spec"]["ports"].clone()))
            .collect();
        ports.sort_by(|one, other| one.0.cmp(&other.0));
        ports
    };
    let (before, after) = (ports(before), ports(after));
    ensure!(
        before == after && !before.is_empty(),
        "node ports that were chosen have changed: {before:?} became {after:?}"
    );
    Ok(())
}

/// The comparison sees an object that is lost, whichever it is; a sample shows that.
fn losses_show(before: &[Value], after: &[Value]) -> Result<()> {
    const SAMPLES: usize = 12;
    for lost in (0..after.len()).step_by(after.len().div_ceil(SAMPLES)) {
        let mut fewer = after.to_vec();
        let lost = fewer.remove(lost);
        ensure!(
            !differences(before, &fewer).is_empty(),
            "the loss of {} does not show",
            identity(&lost)
        );
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn report(made: usize, before: &[Value], after: &[Value], backup: &Value, restore: &Value) {
    let needed = needed(before, after, ALLOWED);
    let unneeded = ALLOWED.iter().filter(|entry| !needed.contains(entry));
    println!(
        "  {made} objects created, {} compared with those of controllers, {} items backed up, {} restored, no warnings; not restored because they have ended: {:?}; \
         {} of the {} allowed differences occur; not this time: {:?}",
        before.len(),
        backup["status"]["progress"]["itemsBackedUp"],
        restore["status"]["progress"]["itemsRestored"],
        ended(before),
        needed.len(),
        ALLOWED.len(),
        unneeded
            .map(|entry| format!("{} {}", entry.kind, entry.path.join(".")))
            .collect::<Vec<_>>(),
    );
}
