//! A location with ten thousand backups: they are all found, the next one at once, and nothing is asked meanwhile.
//!
//! It is a folder: the S3 server of these scenarios takes a second for each page of such a list, which no other does.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    AuditFilter, Context, S3Server, Site, eventually,
    site::{NAMESPACE, SOON},
};

const BUCKET: &str = "backups";
const SOURCE: &str = "shop";
/// Backups in the bucket beside the one that is taken.
const MANY: usize = 10_000;
/// Longest time until all of them are there.
const FOUND: Duration = Duration::from_secs(300);
/// Longest time until one more is there: names are looked at every five seconds.
const NEXT: Duration = Duration::from_secs(8);
/// How long the operator is watched while nothing happens.
const QUIET: Duration = Duration::from_secs(30);
/// Most memory of the operator, in MiB, whatever it has found.
const MEMORY: u64 = 300;

/// Without a period for the location, as the operator comes.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket(BUCKET)?;
    let mut site = Site::start(cx, "many-backups", &store, BUCKET).await?;
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "menu", "namespace": SOURCE}, "data": {"pie": "3"}}),
    ];
    site.kubectl.apply(&objects, &[]).await?;
    let root = cx.scratch().join("folder");
    let folder = root.join("x/backups");
    site.add_folder("folder", &root).await?;
    let flags = [
        "--include-namespaces",
        SOURCE,
        "--storage-location",
        "folder",
    ];
    site.back_up("first", &flags).await?;
    site.operator.kill().await?;
    for number in 0..MANY {
        copy(&folder, &format!("old-{number:05}"))?;
    }

    let begun = Instant::now();
    site.restart(cx, "many-backups-2", &[]).await?;
    let found = eventually("all backups are found", FOUND, || async {
        Ok((count(&site).await? == MANY + 1).then_some(()))
    });
    found.await.with_context(|| site.operator.tail())?;
    let found = begun.elapsed();

    tokio::time::sleep(Duration::from_secs(10)).await;
    let audit = site.plane().audit().context("no audit log")?;
    let quiet = audit.from_now()?;
    tokio::time::sleep(QUIET).await;
    let mut asked = quiet.counts(&AuditFilter::all_of("velero/"))?;
    asked.retain(|(verb, what, _), _| verb != "watch" && !what.starts_with("leases"));
    let lists: usize = asked
        .iter()
        .filter(|((verb, ..), _)| verb == "list")
        .map(|(_, calls)| calls)
        .sum();
    ensure!(lists <= 60, "lists while nothing happens: {asked:?}");

    let begun = Instant::now();
    copy(&folder, "next")?;
    site.synchronised("next").await?;
    let next = begun.elapsed();
    ensure!(next <= NEXT, "one more backup was found after {next:?}");

    let begun = Instant::now();
    site.back_up("last", &flags).await?;
    let taken = begun.elapsed();
    ensure!(taken <= SOON, "a backup beside them took {taken:?}");
    let memory = peak(&site)?;
    report(found, next, taken, memory, &asked.values().sum());
    ensure!(memory <= MEMORY, "the operator has taken {memory} MiB");
    site.stop().await
}

#[allow(clippy::print_stdout)]
fn report(found: Duration, next: Duration, taken: Duration, memory: u64, calls: &usize) {
    println!(
        "  {MANY} backups found in {:.1} s, the next one after {:.1} s, a backup beside them in {:.1} s; {calls} calls in {} s in which nothing happens; {memory} MiB at most",
        found.as_secs_f64(),
        next.as_secs_f64(),
        taken.as_secs_f64(),
        QUIET.as_secs()
    );
}

/// Puts a backup into the bucket that is the first one under another name.
fn copy(folder: &Path, name: &str) -> Result<()> {
    let first = folder.join("first");
    let text = std::fs::read(first.join("velero-backup.json"))?;
    let mut metadata: Value = serde_json::from_slice(&text)?;
    metadata["metadata"]["name"] = json!(name);
    metadata["metadata"]["uid"] = json!(format!("uid-{name}"));
    let to = folder.join(name);
    std::fs::create_dir(&to)?;
    std::fs::copy(
        first.join("first-logs.gz"),
        to.join(format!("{name}-logs.gz")),
    )?;
    std::fs::write(to.join("velero-backup.json"), metadata.to_string())?;
    Ok(())
}

/// How many Backups there are.
async fn count(site: &Site) -> Result<usize> {
    let path = format!("/apis/velero.io/v1/namespaces/{NAMESPACE}/backups?limit=1");
    let request = http::Request::get(path).body(Vec::new())?;
    let page: Value = site.client.request(request).await?;
    let here = page["items"].as_array().map_or(0, Vec::len);
    let more = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
    Ok(here + usize::try_from(more)?)
}

/// The most memory that the operator has had, in MiB.
fn peak(site: &Site) -> Result<u64> {
    let id = site.operator.id().context("the operator has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.context(status.clone())?.trim().parse::<u64>()? / 1024)
}
