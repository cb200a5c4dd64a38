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
//! There is no leader election yet: run one server for each namespace.

mod args;
mod attempts;
mod backup;
mod cancel;
mod context;
mod controller;
mod controllers;
mod deletion;
mod download;
mod follow;
mod gc;
mod http;
mod location;
mod metrics;
mod metrics_of_backups;
mod objects;
mod progress;
mod restore;
mod schedule;
mod settings;
mod startup;
mod status_request;
mod stores;
mod sync;
mod tracker;
mod turns;
mod unbuilt;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use tokio::task::JoinSet;
use velero_cluster::{Cluster, ClusterOptions, LimiterOptions};
use velero_core::CancellationToken;

pub use args::{LogLevel, ServerArgs};
pub use controllers::Controller;
pub use http::Readiness;
pub use metrics::{BackupEnd, Count, Metrics};
pub use objects::ApiError;
pub use settings::{Settings, SettingsError};
pub use stores::StoreError;
pub use unbuilt::UnbuiltArgs;

use crate::features::Features;
use crate::logfile::RunLogs;
use context::Context;

/// A running operator. Dropping it ends it at once; [`Server::stop`] lets runs end first.
#[derive(Debug)]
pub struct Server {
    tasks: JoinSet<&'static str>,
    metrics: Metrics,
    ready: Readiness,
    address: Option<SocketAddr>,
    stopping: CancellationToken,
    tracker: tracker::Tracker,
    grace: Duration,
}

impl Server {
    /// Checks the surroundings and begins to reconcile.
    ///
    /// # Errors
    /// When the API server does not answer, the namespace or a definition is missing, or the address for metrics
    /// cannot be taken.
    pub async fn start(client: Client, settings: Settings, logs: RunLogs) -> anyhow::Result<Self> {
        let cluster = Cluster::connect_with(client.clone(), cluster_options(&settings))
            .await
            .context("cannot reach the API server")?;
        let (metrics, ready, stopping) = (
            Metrics::default(),
            Readiness::default(),
            CancellationToken::new(),
        );
        let context = Context::new(
            client,
            cluster,
            settings,
            metrics.clone(),
            logs,
            stopping.clone(),
        );
        startup::check(&context).await?;
        let mut server = Self {
            tasks: JoinSet::new(),
            metrics,
            ready,
            address: None,
            stopping,
            tracker: context.tracker.clone(),
            grace: context.settings.shutdown_grace,
        };
        server.listen(context.settings.metrics_address).await?;
        let locations = location::LocationReconciler::default();
        locations.first_look(&context).await;
        server.begin(&context, locations);
        server.ready.set(true);
        tracing::info!(
            namespace = context.objects.namespace(),
            version = env!("CARGO_PKG_VERSION"),
            "the server has started"
        );
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
        let serving = http::serve(
            listener,
            self.metrics.clone(),
            self.ready.clone(),
            self.stopping.clone(),
        );
        self.task("metrics", serving);
        Ok(())
    }

    fn begin(&mut self, context: &Context, locations: location::LocationReconciler) {
        use Controller::*;
        let all = || context.clone();
        self.task("locations", controller::run(locations, all()));
        if context.runs_any([BackupQueue, Backup, BackupOperations]) {
            let backups = backup::BackupReconciler::default();
            self.task("backups", controller::run(backups, all()));
        }
        if context.runs(Backup) {
            self.task("leftovers", backup::tidy_up(all()));
        }
        if context.runs_any([Restore, RestoreOperations]) {
            let restores = restore::RestoreReconciler::default();
            self.task("restores", controller::run(restores, all()));
        }
        if context.runs(DownloadRequest) {
            let downloads = download::DownloadReconciler;
            self.task("downloads", controller::run(downloads, all()));
        }
        if context.runs(BackupDeletion) {
            let deletions = deletion::DeletionReconciler;
            self.task("deletions", controller::run(deletions, all()));
        }
        if context.runs(Schedule) {
            let schedules = schedule::ScheduleReconciler;
            self.task("schedules", controller::run(schedules, all()));
        }
        if context.runs(ServerStatusRequest) {
            let requests = status_request::StatusReconciler;
            self.task("status requests", controller::run(requests, all()));
        }
        if context.runs(Gc) {
            self.task("garbage collection", gc::run(all()));
        }
        if context.runs(BackupSync) {
            self.task("synchronisation", sync::run(all()));
        }
    }

    fn task(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            work.await;
            name
        });
    }

    /// The numbers, for tests and for programs that embed the operator.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where metrics and health are served.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until a part of the server ends although nobody has stopped it, and says which.
    pub async fn broken(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(name)) => anyhow::anyhow!("{name} ended by themselves"),
            Some(Err(error)) => anyhow::anyhow!("a controller broke: {error}"),
            None => anyhow::anyhow!("no controller is left"),
        }
    }

    /// Stops the server: nothing new is begun, runs are cancelled, and their ends are written.
    ///
    /// Gives `false` when that took longer than the grace; what is left behind then is ended by the next server.
    pub async fn stop(mut self) -> bool {
        self.ready.set(false);
        self.stopping.cancel();
        let deadline = tokio::time::Instant::now() + self.grace;
        let drained = self.tracker.drained(self.grace).await;
        let joined = tokio::time::timeout_at(deadline, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        let clean = drained && joined.is_ok();
        if clean {
            tracing::info!("the server has stopped");
        } else {
            tracing::warn!("the server stops with work under way; its next start ends it");
        }
        self.tasks.abort_all();
        clean
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
