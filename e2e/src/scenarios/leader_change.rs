//! Several operators: one acts, and another takes over when it stops, is killed, or is held in the middle of a backup.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{AuditFilter, Background, Context, S3Server, Site, eventually};

const BUCKET: &str = "backups";
const SOURCE: &str = "shop";
/// ConfigMaps in the namespace that is backed up: enough for an operator to be held amid them.
const MAPS: usize = 1500;
/// Longest time until another operator leads after one was killed or held.
const TAKEOVER: Duration = Duration::from_secs(20);
/// The same after one has stopped in good order.
const GIVEN_BACK: Duration = Duration::from_secs(4);
/// How long one that has slept may still begin requests.
const AWAKE: Duration = Duration::from_secs(1);
/// Tries to hold an operator amid a backup.
const TRIES: usize = 5;

/// Lets operators take over from each other.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let store = S3Server::start(cx.scratch().join("s3")).await?;
    store.create_bucket(BUCKET)?;
    let mut site = Site::start(cx, "leaders", &store, BUCKET).await?;
    fill(&site).await?;

    let two = site.another_operator(cx, "two").await?;
    let one = std::mem::replace(&mut site.operator, two);
    leads(&site, "velero-0", GIVEN_BACK).await?;
    let began = Instant::now();
    one.stop().await?;
    leads(&site, "two", GIVEN_BACK).await?;
    let stopped = began.elapsed();

    let three = site.another_operator(cx, "three").await?;
    let began = Instant::now();
    site.operator.kill().await?;
    site.operator = three;
    leads(&site, "three", TAKEOVER).await?;
    let killed = began.elapsed();

    let four = site.another_operator(cx, "four").await?;
    let mut three = std::mem::replace(&mut site.operator, four);
    let (name, slept) = hold_amid_a_backup(&site, &three).await?;
    leads(&site, "four", TAKEOVER).await?;
    let held = slept.elapsed();
    let ended = backup_ended(&site, &name).await?;
    ensure!(
        ended["status"]["phase"] == "Completed"
            && ended["metadata"]["annotations"]["x.velero.io/attempt"] == "2",
        "{ended}"
    );
    let woken = jiff::Timestamp::now();
    three.hold(false)?;
    let good = three.ended(Duration::from_secs(15)).await?;
    ensure!(
        !good,
        "one that lost its Lease ends well:\n{}",
        three.tail()
    );
    let late = late_requests(&site, "three", woken)?;
    ensure!(late.is_empty(), "requests after it was woken: {late:?}");
    let again = site.object("backups", &name).await?;
    ensure!(again["status"] == ended["status"], "{again}");
    site.back_up("after", &["--include-namespaces", SOURCE])
        .await?;
    report(stopped, killed, held);
    site.stop().await
}

#[expect(
    clippy::print_stdout,
    reason = "what a scenario has found is shown with its name"
)]
fn report(stopped: Duration, killed: Duration, held: Duration) {
    println!(
        "  another one led {:.1} s after a stop, {:.1} s after a kill, {:.1} s after the leader was held",
        stopped.as_secs_f64(),
        killed.as_secs_f64(),
        held.as_secs_f64()
    );
}

/// Waits until the Lease names an operator.
async fn leads(site: &Site, identity: &str, within: Duration) -> Result<()> {
    let what = format!("{identity} leads");
    let waited = eventually(&what, within, || async {
        let path = "/apis/coordination.k8s.io/v1/namespaces/velero/leases/velero-server";
        let lease: Value = site
            .client
            .request(http::Request::get(path).body(Vec::new())?)
            .await?;
        Ok((lease["spec"]["holderIdentity"] == identity).then_some(()))
    });
    waited.await.with_context(|| site.operator.tail())
}

/// Holds an operator that works on a backup; gives the backup's name and since when.
async fn hold_amid_a_backup(site: &Site, operator: &Background) -> Result<(String, Instant)> {
    for number in 0..TRIES {
        let name = format!("held-{number}");
        let object = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": name, "namespace": crate::site::NAMESPACE},
            "spec": {"includedNamespaces": [SOURCE]}});
        site.kubectl.apply(&[object], &[]).await?;
        let phase = |backup: &Value| {
            backup["status"]["phase"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while phase(&site.object("backups", &name).await?) != "InProgress"
            && Instant::now() < deadline
        {
            if phase(&site.object("backups", &name).await?) == "Completed" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        operator.hold(true)?;
        let since = Instant::now();
        if phase(&site.object("backups", &name).await?) == "InProgress" {
            return Ok((name, since));
        }
        operator.hold(false)?;
        backup_ended(site, &name).await?;
    }
    anyhow::bail!("the operator could not be held amid any of {TRIES} backups")
}

async fn backup_ended(site: &Site, name: &str) -> Result<Value> {
    let what = format!("backup {name} has ended");
    let waited = eventually(&what, Duration::from_secs(60), || async {
        let found = site.object("backups", name).await?;
        let phase = found["status"]["phase"].as_str().unwrap_or_default();
        Ok(["Completed", "PartiallyFailed", "Failed"]
            .contains(&phase)
            .then_some(found))
    });
    waited.await.with_context(|| site.operator.tail())
}

/// Requests of a user that the API server got later than a second after a time.
fn late_requests(site: &Site, user: &str, woken: jiff::Timestamp) -> Result<Vec<String>> {
    let audit = site.plane().audit().context("no audit log")?;
    let limit = woken + AWAKE;
    let mut late = Vec::new();
    for call in audit.events(&AuditFilter::of_user(user))? {
        let received: jiff::Timestamp = call.request_received_timestamp.parse()?;
        if received > limit {
            late.push(format!("{} {} at {received}", call.verb, call.request_uri));
        }
    }
    Ok(late)
}

async fn fill(site: &Site) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}});
    site.kubectl.apply(&[namespace], &[]).await?;
    let objects: Vec<Value> = (0..MAPS)
        .map(|number| {
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("map-{number:04}"), "namespace": SOURCE},
                "data": {"text": "x".repeat(2000)}})
        })
        .collect();
    site.kubectl.apply(&objects, &[]).await?;
    Ok(())
}
