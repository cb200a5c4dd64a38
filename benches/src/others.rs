//! How others fare: the time of another user's GETs, on an idle API server and beside writers.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use velero_e2e::{ControlPlane, Kubectl, NARROW, administrator};

use crate::{measure::Usage, post, report::Row};

/// Time between two GETs, unless one takes longer.
const PACE: Duration = Duration::from_millis(5);
/// How long an idle API server is looked at.
pub(crate) const IDLE: Duration = Duration::from_secs(8);
/// Name of the part in tables.
pub(crate) const PART: &str = "others";
const READER: &str = "reader";
const OBJECT: &str = "/api/v1/namespaces/kube-system";

/// A user who reads one object again and again.
pub(crate) struct Reader {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Vec<Duration>>>,
    begun: Instant,
}

impl Reader {
    /// Begins to read as a user of the lowest standing: one for whom fair queues apply.
    pub(crate) async fn begin(plane: &ControlPlane) -> Result<Self> {
        let may_read = [administrator(READER)];
        Kubectl::new(plane)?.apply(&may_read, &[]).await?;
        Self::begin_again(plane).await
    }

    /// The same for a user who may read already.
    pub(crate) async fn begin_again(plane: &ControlPlane) -> Result<Self> {
        let client = post::client(&plane.kubeconfig_for(READER, None)?).await?;
        read(&client).await.context("the reader may not read")?;
        let (stop, stopped) = oneshot::channel();
        Ok(Self {
            stop,
            task: tokio::spawn(read_until(client, stopped)),
            begun: Instant::now(),
        })
    }

    /// Ends it; the row holds the time below which 99 of 100 GETs were answered.
    pub(crate) async fn end(self, variant: &str) -> Result<Row> {
        let elapsed = self.begun.elapsed();
        // A reader that failed has ended by itself.
        let _ = self.stop.send(());
        let mut times = self.task.await??;
        times.sort_unstable();
        let at = (times.len() * 99).div_ceil(100);
        let p99 = times
            .get(at.saturating_sub(1))
            .context("no GET was answered")?;
        let unmeasured = Usage::default();
        let mut row = Row::new(
            PART,
            variant.to_owned(),
            times.len(),
            elapsed,
            unmeasured,
            unmeasured,
        );
        row.get_p99_ms = Some((p99.as_secs_f64() * 100_000.0).round() / 100.0);
        Ok(row)
    }
}

async fn read_until(client: Client, mut stopped: oneshot::Receiver<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut stopped => return Ok(times),
            _ = pace.tick() => {}
        }
        let asked = Instant::now();
        read(&client).await?;
        times.push(asked.elapsed());
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
