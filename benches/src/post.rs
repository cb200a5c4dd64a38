//! The bare POST loop: what a restore cannot beat.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use http::Request;
use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use tokio::task::JoinSet;

use crate::{load::Size, report::Counted};

/// Arguments of the loop.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    size: Size,
    /// Requests under way at a time.
    #[arg(long)]
    in_flight: usize,
    /// Objects a second, at most; as many as there can be without it.
    #[arg(long)]
    rate: Option<f64>,
}

/// Creates the objects and prints how many in which time.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let client = client(&args.kubeconfig).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let total = args.size.objects();
    let start = Instant::now();
    let mut workers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..args.in_flight {
        let (client, next, size, rate) = (client.clone(), next.clone(), args.size, args.rate);
        workers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= total {
                    return Ok(());
                }
                if let Some(turn) = turn(rate, n) {
                    tokio::time::sleep_until((start + turn).into()).await;
                }
                create(&client, size, n).await?;
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Counted {
        objects: total,
        seconds: start.elapsed().as_secs_f64(),
    }
    .print()
}

/// How long after the beginning an object is due.
fn turn(rate: Option<f64>, n: usize) -> Option<Duration> {
    let rate = rate.filter(|rate| *rate > 0.0)?;
    Duration::try_from_secs_f64(n as f64 / rate).ok()
}

async fn create(client: &Client, size: Size, n: usize) -> Result<()> {
    let body = size.body(n);
    let request = Request::post(&body.path)
        .header("Content-Type", "application/json")
        .body(body.json)?;
    client
        .request_text(request)
        .await
        .with_context(|| format!("POST {}", body.path))?;
    Ok(())
}

/// User agent of the loop in the audit log.
pub(crate) const USER_AGENT: &str = "velero-benches";

/// A client as plain as it gets: no retries, so that every request counts once.
pub(crate) async fn client(kubeconfig: &PathBuf) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_static(USER_AGENT),
    ));
    Ok(Client::try_from(config)?)
}
