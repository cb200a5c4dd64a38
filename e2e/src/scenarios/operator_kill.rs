//! Operators that are killed (SIGKILL) at random points of a backup and of a restore: the next one brings each to
//! `Completed`, with all that belongs to it and nothing twice.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Context, S3Server, Site, eventually, random::Random};

const BUCKET: &str = "backups";
const SOURCE: &str = "shop";
/// Runs of each kind that are disturbed, in the short form and in the long one.
const POINTS: (usize, usize) = (5, 50);
/// ConfigMaps in the namespace that is backed up.
const MAPS: usize = 300;
/// Longest time for a run, its restarts included. A server that was killed before its claim is waited for 60 s.
const DEADLINE: Duration = Duration::from_secs(150);

/// Kills operators, and looks at what the next ones make of their runs.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket(BUCKET)?;
    let mut site = Site::start(cx, "killed", &store, BUCKET).await?;
    fill(&site).await?;
    let mut random = Random(cx.seed());
    let points = if cx.is_smoke() { POINTS.0 } else { POINTS.1 };

    let backup = json!({"includedNamespaces": [SOURCE]});
    let whole = disturbed(cx, &mut site, "Backup", "whole", &backup, None).await?;
    let items = whole.object["status"]["progress"]["itemsBackedUp"].clone();
    let restore = |name: &str| {
        let mapping = json!({SOURCE: name});
        json!({"backupName": "whole", "namespaceMapping": mapping})
    };
    let plain = disturbed(cx, &mut site, "Restore", "plain", &restore("plain"), None).await?;
    ensure!(
        maps(&site, "plain").await? == MAPS,
        "the restore that nobody disturbed is not whole"
    );
    let mut again = (0, 0);
    for number in 0..points {
        let delay = whole.took.mul_f64(random.fraction());
        let name = format!("backup-{number}");
        let what = format!("seed {}, {name}, killed after {delay:?}", cx.seed());
        let ended = disturbed(cx, &mut site, "Backup", &name, &backup, Some(delay));
        let ended = ended.await.with_context(|| what.clone())?;
        again.0 += usize::from(ended.is_again());
        let found = &ended.object["status"]["progress"]["itemsBackedUp"];
        ensure!(*found == items, "{what}: {found} items for {items}");
        is_whole(&site, &store, &name).await.context(what)?;

        let delay = plain.took.mul_f64(random.fraction());
        let name = format!("restore-{number}");
        let spec = restore(&name);
        let what = format!("seed {}, {name}, killed after {delay:?}", cx.seed());
        let ended = disturbed(cx, &mut site, "Restore", &name, &spec, Some(delay));
        let ended = ended.await.with_context(|| what.clone())?;
        again.1 += usize::from(ended.is_again());
        let found = maps(&site, &name).await?;
        ensure!(found == MAPS, "{what}: {found} ConfigMaps for {MAPS}");
        // Between the end and its journal's a kill leaves the journal, which goes with the restore.
        if ended.is_again() {
            no_journal(&site, &store, &name).await.context(what)?;
        }
        site.kubectl
            .ok(&["delete", "namespace", &name, "--wait=false"])
            .await?;
    }
    report(points, again);
    ensure!(
        cx.is_smoke() || (again.0 > 0 && again.1 > 0),
        "seed {}: no kill came amid a run",
        cx.seed()
    );
    site.stop().await
}

#[expect(
    clippy::print_stdout,
    reason = "what a scenario has found is shown with its name"
)]
fn report(points: usize, (backups, restores): (usize, usize)) {
    println!("  {backups} of {points} backups began anew, {restores} of {points} restores went on");
}

/// A run that has ended as `Completed`.
struct Ended {
    object: Value,
    took: Duration,
}

impl Ended {
    /// Whether its work has begun more than once.
    fn is_again(&self) -> bool {
        self.object["metadata"]["annotations"]["x.velero.io/attempt"].is_string()
    }
}

/// Makes a resource and kills the operator after a delay; the next one starts at once. Waits for the end of the run.
async fn disturbed(
    cx: &Context,
    site: &mut Site,
    kind: &str,
    name: &str,
    spec: &Value,
    delay: Option<Duration>,
) -> Result<Ended> {
    let object = json!({"apiVersion": "velero.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": crate::site::NAMESPACE}, "spec": spec});
    site.kubectl.apply(&[object], &[]).await?;
    let began = Instant::now();
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
        site.kill_operator(cx, name).await?;
    }
    let plural = format!("{}s", kind.to_lowercase());
    let what = format!("{kind} {name} has ended");
    let waited = eventually(&what, DEADLINE, || async {
        let found = site.object(&plural, name).await?;
        let phase = found["status"]["phase"].as_str().unwrap_or_default();
        let open = [
            "",
            "New",
            "Queued",
            "ReadyToStart",
            "InProgress",
            "Finalizing",
        ];
        Ok((!open.contains(&phase)).then_some(found))
    });
    let object = waited.await.with_context(|| site.operator.tail())?;
    let status = &object["status"];
    let faults = |field: &str| status[field].as_u64().unwrap_or(0);
    ensure!(
        status["phase"] == "Completed" && faults("errors") == 0 && faults("warnings") == 0,
        "{kind} {name}: {status}\n{}",
        site.operator.tail()
    );
    Ok(Ended {
        took: began.elapsed(),
        object,
    })
}

/// Whether a backup lies in the bucket with all its files, and nothing of a run beside them.
async fn is_whole(site: &Site, store: &S3Server, name: &str) -> Result<()> {
    let whole = files(store, "backups/whole")?.len();
    let what = format!("the files of {name} are whole");
    let waited = eventually(&what, Duration::from_secs(30), || async {
        let files = files(store, &format!("backups/{name}"))?;
        Ok((files.len() == whole && !has_marks(&files)).then_some(()))
    });
    waited.await.with_context(|| site.operator.tail())
}

/// Whether the journal of a restore has gone with it.
async fn no_journal(site: &Site, store: &S3Server, name: &str) -> Result<()> {
    let waited = eventually("the journal is gone", Duration::from_secs(30), || async {
        let files = files(store, &format!("restores/{name}"))?;
        Ok((!has_marks(&files)).then_some(()))
    });
    waited.await.with_context(|| site.operator.tail())
}

/// Names of the files in a folder of the bucket.
fn files(store: &S3Server, dir: &str) -> Result<Vec<String>> {
    let path = store.root().join(BUCKET).join(dir);
    let entries = std::fs::read_dir(&path).with_context(|| format!("{}", path.display()))?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn has_marks(files: &[String]) -> bool {
    files.iter().any(|file| file.starts_with("x-velero-"))
}

async fn maps(site: &Site, namespace: &str) -> Result<usize> {
    let args = [
        "get",
        "configmaps",
        "-n",
        namespace,
        "-l",
        "scenario=kill",
        "-o",
        "name",
    ];
    Ok(site.kubectl.ok(&args).await?.lines().count())
}

async fn fill(site: &Site) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}});
    site.kubectl.apply(&[namespace], &[]).await?;
    let objects: Vec<Value> = (0..MAPS)
        .map(|number| {
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("map-{number:03}"), "namespace": SOURCE, "labels": {"scenario": "kill"}},
                "data": {"text": "x".repeat(2000)}})
        })
        .collect();
    site.kubectl.apply(&objects, &[]).await
}
