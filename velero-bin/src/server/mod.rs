//! The operator: `velero server`.
//!
//! One controller for each kind, over one watch of that kind in the server's namespace. Each has a pure function from
//! the state of an object and the time to the next step (`decide`, `queue`, `check`, `prepare`), with tables of tests,
//! and a thin shell of IO around it. Resources are read anew before each step and written as merge patches of the fields
//! that changed; a step that must be taken once names the version it was decided on.
//!
//! Backups and restores run in tasks of their own, through the functions that direct mode uses ([`crate::runs`]): side by
//! side where they have no namespace in common, as many as the settings allow. A stopping server hands them over: the next one goes on with a restore and begins a backup anew. What
//! a killed server leaves behind is taken up in the same way, three times at most. An annotation of the resource cancels a
//! run: it ends as `Failed`, with the reason.
//!
//! Of several servers in a namespace one acts, by a Lease ([`LeaderElection`]); the others wait for it. Without election a
//! server must be the only one.

mod args;
mod attempts;
mod backup;
mod cancel;
mod context;
mod controller;
mod controllers;
mod deletion;
mod download;
mod election;
mod events;
mod follow;
mod gc;
mod http;
mod location;
mod metrics;
mod metrics_of_backups;
mod objects;
mod pod;
mod progress;
mod restore;
mod schedule;
mod settings;
mod spare;
mod startup;
mod status_request;
mod stores;
mod sync;
mod tracker;
mod turns;
mod unbuilt;
mod versions;
mod waits;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use tokio::task::{JoinError, JoinSet};
use velero_cluster::{Cluster, ClusterOptions, LimiterOptions};
use velero_core::CancellationToken;

pub use args::{LogLevel, ServerArgs};
pub use controllers::Controller;
pub use election::LeaderElection;
pub use http::Readiness;
pub use metrics::{BackupEnd, Count, Metrics};
pub use objects::ApiError;
pub use settings::{Settings, SettingsError};
pub use stores::StoreError;
pub use unbuilt::UnbuiltArgs;

use crate::features::Features;
use crate::logfile::RunLogs;
use context::{Context, Parts};
use election::{Election, Fence};
use objects::Objects;

/// A running operator. Dropping it ends it at once; [`Server::stop`] lets runs end first.
#[derive(Debug)]
pub struct Server {
    /// Each says how it ended.
    tasks: JoinSet<anyhow::Error>,
    metrics: Metrics,
    ready: Readiness,
    address: Option<SocketAddr>,
    stopping: CancellationToken,
    tracker: tracker::Tracker,
    grace: Duration,
    election: Option<Arc<Election>>,
}

impl Server {
    /// Checks the surroundings and begins to reconcile, or to compete for the Lease.
    ///
    /// # Errors
    /// When the API server does not answer, the namespace or a definition is missing, or the address for metrics
    /// cannot be taken.
    pub async fn start(client: Client, settings: Settings, logs: RunLogs) -> anyhow::Result<Self> {
        let open = Fence::open();
        let objects = Objects::new(&client, &open, &settings);
        let cluster = connect(&objects, &settings).await?;
        startup::check(&objects, &cluster).await?;
        let parts = Parts {
            settings: Arc::new(settings),
            metrics: Metrics::default(),
            logs,
            tracker: tracker::Tracker::default(),
            stopping: CancellationToken::new(),
        };
        let settings = &parts.settings;
        let election = settings.leader_election.clone();
        let mut server = Self {
            tasks: JoinSet::new(),
            metrics: parts.metrics.clone(),
            ready: Readiness::default(),
            address: None,
            stopping: parts.stopping.clone(),
            tracker: parts.tracker.clone(),
            grace: settings.shutdown_grace,
            election: election.map(|rules| Arc::new(Election::new(rules, objects.clone()))),
        };
        server.listen(settings.metrics_address).await?;
        tracing::info!(
            namespace = objects.namespace(),
            version = env!("CARGO_PKG_VERSION"),
            "the server has started"
        );
        match &server.election {
            Some(election) => {
                let leading = elected(Arc::clone(election), client, parts);
                server.tasks.spawn(leading);
            }
            None => {
                let context = Context::new(parts, objects, cluster).await;
                let controllers = begin(&context).await;
                server.tasks.spawn(ended(controllers, context.stopping));
            }
        }
        server.ready.set(true);
        Ok(server)
    }

    async fn listen(&mut self, address: Option<SocketAddr>) -> anyhow::Result<()> {
        let Some(address) = address else {
            return Ok(());
        };
        let listener = http::bind(address)
            .await
            .with_context(|| format!("cannot listen on --metrics-address {address}"))?;
        self.address = listener.local_addr().ok();
        let serving = http::serve_health(
            listener,
            self.metrics.clone(),
            self.ready.clone(),
            self.stopping.clone(),
        );
        self.tasks.spawn(async move {
            serving.await;
            ended_by_itself("metrics")
        });
        Ok(())
    }

    /// The numbers, for tests and for programs that embed the operator.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where metrics and health are served.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until a part of the server ends although nobody has stopped it, or until another server leads, and says so.
    pub async fn broken(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(error)) => broke(&error),
            None => anyhow::anyhow!("no controller is left"),
        }
    }

    /// Stops the server: nothing new is begun, runs are cancelled, and their ends are written. The Lease is given back.
    ///
    /// Gives `false` when that took longer than the grace; what is left behind then is taken up by the next server.
    pub async fn stop(mut self) -> bool {
        self.ready.set(false);
        self.stopping.cancel();
        let lost = self.election.as_ref().is_some_and(|e| e.fence().is_shut());
        // A server that does not lead any more can write nothing.
        let grace = if lost { LOST_GRACE } else { self.grace };
        let deadline = tokio::time::Instant::now() + grace;
        let drained = self.tracker.drained(grace).await;
        if let Some(election) = &self.election {
            let idle = election.idle().cancelled();
            drop(tokio::time::timeout_at(deadline, idle).await);
            election.give_back().await;
        }
        let joined = tokio::time::timeout_at(deadline, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        let clean = drained && joined.is_ok();
        if clean {
            tracing::info!("the server has stopped");
        } else {
            tracing::warn!("the server stops with work under way; its next start takes it up");
        }
        self.tasks.abort_all();
        clean
    }
}

/// How long a server that does not lead any more has for its end.
const LOST_GRACE: Duration = Duration::from_secs(1);

async fn connect(objects: &Objects, settings: &Settings) -> anyhow::Result<Cluster> {
    Cluster::connect_with(objects.client().clone(), cluster_options(settings))
        .await
        .context("cannot reach the API server")
}

/// Competes for the Lease, acts, and keeps the Lease until it is given back or lost.
async fn elected(election: Arc<Election>, client: Client, parts: Parts) -> anyhow::Error {
    let _idle = election.idle().clone().drop_guard();
    let stopping = parts.stopping.clone();
    let won = tokio::select! {
        won = election.win() => won,
        () = stopping.cancelled() => return stopped(),
    };
    if let Err(error) = won {
        return error;
    }
    let mut acting = JoinSet::new();
    let leader = Arc::clone(&election);
    acting.spawn(async move { act(&leader, client, parts).await });
    let ended = tokio::select! {
        lost = election.keep() => {
            stopping.cancel();
            return lost;
        }
        ended = acting.join_next() => ended,
    };
    if !stopping.is_cancelled() {
        return match ended {
            Some(Ok(error)) => error,
            Some(Err(error)) => broke(&error),
            None => stopped(),
        };
    }
    election.idle().cancel();
    // Runs may still write their ends.
    election.keep().await
}

async fn act(election: &Election, client: Client, parts: Parts) -> anyhow::Error {
    let stopping = parts.stopping.clone();
    let objects = Objects::new(&client, election.fence(), &parts.settings);
    // What the cluster serves may have changed while this server waited.
    let cluster = match connect(&objects, &parts.settings).await {
        Ok(cluster) => cluster,
        Err(error) => return error,
    };
    let context = Context::new(parts, objects, cluster).await;
    let controllers = begin(&context).await;
    ended(controllers, stopping).await
}

/// Waits for the first controller that ends although nobody has stopped it, or for all of them.
async fn ended(
    mut controllers: JoinSet<&'static str>,
    stopping: CancellationToken,
) -> anyhow::Error {
    while let Some(ended) = controllers.join_next().await {
        match ended {
            Ok(_) if stopping.is_cancelled() => {}
            Ok(name) => return ended_by_itself(name),
            Err(error) => return broke(&error),
        }
    }
    stopped()
}

fn ended_by_itself(name: &str) -> anyhow::Error {
    anyhow::anyhow!("{name} ended by themselves")
}

fn broke(error: &JoinError) -> anyhow::Error {
    anyhow::anyhow!("a controller broke: {error}")
}

fn stopped() -> anyhow::Error {
    anyhow::anyhow!("the server has stopped")
}

/// Begins the controllers that are on.
async fn begin(context: &Context) -> JoinSet<&'static str> {
    use Controller::*;
    let locations = location::LocationReconciler::default();
    locations.first_look(context).await;
    let mut tasks = Tasks::default();
    let all = || context.clone();
    tasks.add("locations", controller::run(locations, all()));
    if context.runs_any([BackupQueue, Backup, BackupOperations]) {
        let backups = backup::BackupReconciler::default();
        tasks.add("backups", controller::run(backups, all()));
    }
    if context.runs(Backup) {
        tasks.add("leftovers", backup::tidy_up(all()));
    }
    if context.runs_any([Restore, RestoreOperations]) {
        let restores = restore::RestoreReconciler::default();
        tasks.add("restores", controller::run(restores, all()));
    }
    if context.runs(DownloadRequest) {
        let downloads = download::DownloadReconciler;
        tasks.add("downloads", controller::run(downloads, all()));
    }
    if context.runs(BackupDeletion) {
        let deletions = deletion::DeletionReconciler;
        tasks.add("deletions", controller::run(deletions, all()));
    }
    if context.runs(Schedule) {
        let schedules = schedule::ScheduleReconciler;
        tasks.add("schedules", controller::run(schedules, all()));
    }
    if context.runs(ServerStatusRequest) {
        let requests = status_request::StatusReconciler;
        tasks.add("status requests", controller::run(requests, all()));
    }
    if context.runs(Gc) {
        tasks.add("garbage collection", gc::run(all()));
    }
    if context.runs(BackupSync) {
        tasks.add("synchronisation", sync::run(all()));
    }
    tasks.0
}

#[derive(Default)]
struct Tasks(JoinSet<&'static str>);

impl Tasks {
    fn add(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            work.await;
            name
        });
    }
}

fn cluster_options(settings: &Settings) -> ClusterOptions {
    let Some(calls) = settings.max_calls else {
        return ClusterOptions::default();
    };
    let limiter = LimiterOptions::default();
    let start = limiter.start.min(calls.max(1));
    ClusterOptions::default().limiter(limiter.start(start).max(calls))
}

/// Runs `velero server` until SIGTERM or SIGINT.
///
/// Installs the process's logging, as the flags say: the caller has not done so yet.
///
/// # Errors
/// When a flag has a value that cannot work, as [`Server::start`], and when a part of the server breaks.
pub async fn run(
    args: ServerArgs,
    client: Client,
    namespace: &str,
    features: Features,
) -> anyhow::Result<()> {
    let logs = RunLogs::install(&args.log_options());
    for warning in features.warnings() {
        tracing::warn!("{warning}");
    }
    let settings = Settings {
        features,
        ..args.settings(namespace)?
    };
    let signal = stop_signal()?;
    let mut server = Server::start(client, settings, logs).await?;
    let outcome = tokio::select! {
        name = signal => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
        error = server.broken() => Err(error),
    };
    server.stop().await;
    outcome
}

/// Waits for the signals that end a server. They are taken over at once, before anything is begun.
fn stop_signal() -> anyhow::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
