//! How others fare: the time of another user's GETs, on an idle API server and beside writers.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http::Request;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use velero_e2e::{ControlPlane, Kubectl, NARROW, administrator};

use crate::{measure::Usage, post, report::Row, writes::Writes};

/// Time between two GETs, unless one takes longer.
const PACE: Duration = Duration::from_millis(5);
/// GETs without which a percentile says nothing.
const LEAST: usize = 100;
/// How long an idle API server is looked at.
pub(crate) const IDLE: Duration = Duration::from_secs(8);
/// Name of the part in tables.
pub(crate) const PART: &str = "others";
/// The cases, by the names that their rows have.
pub(crate) const ALONE: &str = "idle";
pub(crate) const BESIDE_RESTORE: &str = "beside the restore";
pub(crate) const BESIDE_LOOP: &str = "beside the POST loop";
pub(crate) const BESIDE_ONE: &str = "beside the POST loop, one at a time";
pub(crate) const BESIDE_ONE_SEAT: &str = "beside the restore with one seat";
/// Beginning of the names of restores whose user has one seat.
pub(crate) const ONE_SEAT: &str = "others-one-seat";
const READER: &str = "reader";
const OBJECT: &str = "/api/v1/namespaces/kube-system";

/// A user who reads one object again and again.
pub(crate) struct Reader {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Vec<Answered>>>,
}

/// One GET.
struct Answered {
    at: Timestamp,
    took: Duration,
}

impl Reader {
    /// Begins to read as a user of the lowest standing: one for whom fair queues apply.
    pub(crate) async fn begin(plane: &ControlPlane) -> Result<Self> {
        let may_read = [administrator(READER)];
        Kubectl::new(plane)?.apply(&may_read, &[]).await?;
        let client = post::client(&plane.kubeconfig_for(READER, None)?).await?;
        read(&client).await.context("the reader may not read")?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self {
            stop,
            task: tokio::spawn(read_until(client, stopped)),
        })
    }

    /// Ends it; the row holds the time below which 99 of 100 GETs were answered. Beside a writer those count that were asked
    /// between its first write and its last one.
    pub(crate) async fn end(self, variant: &str, writes: Option<&Writes>) -> Result<Row> {
        // A reader that failed has ended by itself.
        let _ = self.stop.send(());
        let all = self.task.await??;
        let counts = |get: &&Answered| writes.is_none_or(|writes| writes.covers(get.at));
        let counted: Vec<&Answered> = all.iter().filter(counts).collect();
        ensure!(
            counted.len() >= LEAST,
            "{} GETs {variant}, at least {LEAST} are needed",
            counted.len()
        );
        let times: Vec<Timestamp> = counted.iter().map(|get| get.at).collect();
        let elapsed = match (times.first(), times.last()) {
            (Some(first), Some(last)) => last.duration_since(*first).unsigned_abs(),
            _ => Duration::ZERO,
        };
        let mut row = Row::new(
            PART,
            variant.to_owned(),
            counted.len(),
            elapsed,
            Usage::default(),
            Usage::default(),
        );
        let p99 = percentile(counted.iter().map(|get| get.took).collect());
        row.get_p99_ms = Some((p99.as_secs_f64() * 100_000.0).round() / 100.0);
        row.writes_per_second = writes.map(|writes| writes.rate().round());
        row.writes_at_once = writes.and_then(|writes| writes.at_once);
        Ok(row)
    }
}

/// The time below which 99 of 100 lie.
fn percentile(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = (times.len() * 99).div_ceil(100);
    times.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

async fn read_until(client: Client, mut stopped: oneshot::Receiver<()>) -> Result<Vec<Answered>> {
    let mut times = Vec::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut stopped => return Ok(times),
            _ = pace.tick() => {}
        }
        let (at, asked) = (Timestamp::now(), Instant::now());
        read(&client).await?;
        let took = asked.elapsed();
        times.push(Answered { at, took });
    }
}

async fn read(client: &Client) -> Result<()> {
    let request = Request::get(OBJECT).body(Vec::new())?;
    let _text = client.request_text(request).await.context("GET failed")?;
    Ok(())
}

/// Lets the API server take the creations of one user one at a time, and refuse what is more; gives its kubeconfig.
pub(crate) async fn narrow(plane: &ControlPlane) -> Result<PathBuf> {
    let objects = velero_e2e::narrow(&["create"]);
    Kubectl::new(plane)?.apply(&objects, &[]).await?;
    let kubeconfig = plane.kubeconfig_for(NARROW, None)?;
    await_refusals(&post::client(&kubeconfig).await?).await?;
    Ok(kubeconfig)
}

/// Waits until the API server has read what was set: until it refuses some of many creations, which are only tried out.
async fn await_refusals(client: &Client) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let tries = (0..16).map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("try-{n}")}});
                let request = Request::post("/api/v1/namespaces?dryRun=All")
                    .header("content-type", "application/json")
                    .body(serde_json::to_vec(&object)?)?;
                let answer = client.request::<Value>(request).await;
                anyhow::Ok(matches!(answer, Err(kube::Error::Api(status)) if status.code == 429))
            })
        });
        let tries: Vec<_> = tries.collect();
        let mut refused = false;
        for one in tries {
            refused |= one.await??;
        }
        if refused {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "the API server does not refuse what is over the limit"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
