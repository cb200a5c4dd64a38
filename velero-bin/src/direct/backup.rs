//! `velero direct backup`.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use velero_cluster::Cluster;
use velero_core::api::{Backup, BackupSpec};

use super::stop_on_interrupt;
use super::store::StoreArgs;
use crate::cli::filters::{BackupFilterArgs, MetadataArgs};
use crate::cli::{self, Environment, Exit, console, names};
use crate::logfile::{LogOptions, RunLogs};
use crate::report::{self, ProgressLine, Summary};
use crate::runs::{
    BackupDone, BackupRun, live_namespaces, prepare_direct_backup, run_backup, system_clock,
};

/// Flags of `direct backup`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectBackup {
    /// Name of the backup
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filters: BackupFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
}

impl DirectBackup {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        names::check("backup", &self.name)?;
        let spec = self.filters.spec()?;
        self.store.check()?;
        let cluster = cli::cluster(&environment.global).await?;
        let store = self.store.open_for_writing().await?;
        let backup = self.backup(environment, spec, &cluster).await?;

        let logs = RunLogs::install(&LogOptions::default());
        let progress = Arc::new(ProgressLine::new("backed up"));
        let started = Instant::now();
        let run = BackupRun {
            log: logs.begin(
                "backup",
                &format!("{}/{}", environment.namespace(), self.name),
            ),
            cluster,
            store,
            backup,
            actions: Vec::new(),
            options: Default::default(),
            progress: progress.clone(),
            cancel: stop_on_interrupt(),
            clock: system_clock(),
        };
        let outcome = run_backup(run).await;
        progress.clear();
        let done = outcome.with_context(|| format!("backup {:?} failed", self.name))?;
        if let Some(from) = &done.taken_over {
            console::note(format_args!(
                "the name {:?} was left behind and is taken over from {from}",
                self.name
            ));
        }
        self.summary(&done, started.elapsed());
        Ok(done.backup.phase().into())
    }

    async fn backup(
        &self,
        environment: &Environment,
        spec: BackupSpec,
        cluster: &Cluster,
    ) -> Result<Backup> {
        let mut backup = Backup::new(environment.namespace(), self.name.as_str(), spec);
        self.metadata.apply(&mut backup.metadata);
        let version = cluster
            .server_version()
            .await
            .context("cannot use the cluster")?;
        let live = live_namespaces(cluster).await?;
        prepare_direct_backup(&mut backup, &live, &version, jiff::Timestamp::now());
        Ok(backup)
    }

    fn summary(&self, done: &BackupDone, took: std::time::Duration) {
        let mut summary = Summary::default();
        summary.line(
            "Items",
            format_args!("{} of {}", done.result.backed_up, done.result.total),
        );
        summary.line("Archive", report::bytes(done.result.archive_bytes));
        summary.line("Warnings", done.backup.status.warnings);
        summary.line("Errors", done.backup.status.errors);
        summary.line("Took", report::seconds(took));
        summary.line("Store", self.store.url());
        console::line(format_args!(
            "Backup {:?} {}.",
            self.name,
            done.backup.phase()
        ));
        console::out(summary.render());
        console::out(report::faults(&done.result.records));
        let what = format!("backup {:?}", self.name);
        report::note_cause(&what, done.backup.phase(), &done.result.records);
    }
}
