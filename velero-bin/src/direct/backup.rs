//! `velero direct backup`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use velero_backup::{BackupOptions, KindCoverage, LiveNamespaces};
use velero_cluster::Cluster;
use velero_core::api::{Backup, BackupSpec};
use velero_core::policy::ResourcePolicies;
use velero_core::result::{Record, ResultsFile};

use super::stop_on_interrupt;
use super::store::StoreArgs;
use crate::cli::filters::{BackupFilterArgs, MetadataArgs};
use crate::cli::output::{self, Format};
use crate::cli::{self, Environment, Exit, console, names};
use crate::coverage;
use crate::logfile::{LogOptions, RunLogs};
use crate::report::{self, ProgressLine, Summary};
use crate::runs::{
    BackupDone, BackupFailure, BackupRun, FollowRun, WithoutData, cancelled_by, follow_to_end,
    live_namespaces, prepare_direct_backup, read_policies, run_backup, system_clock,
};

/// How the engine runs, by the features that are switched on.
pub(super) fn options(environment: &Environment) -> BackupOptions {
    BackupOptions::default().all_api_versions(environment.features().all_api_versions())
}

/// What follows a run whose backup waits for operations.
fn follow(run: &BackupRun, logs: RunLogs) -> FollowRun {
    FollowRun {
        cluster: run.cluster.clone(),
        store: run.store.clone(),
        backup: run.backup.clone(),
        actions: Vec::new(),
        options: run.options.clone(),
        logs,
        writer: run.writer.clone(),
        cancel: run.cancel.clone(),
        clock: run.clock.clone(),
    }
}

/// Time between two looks at operations.
pub(super) const OPERATIONS_PERIOD: Duration = Duration::from_secs(10);

/// Flags of `direct backup`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectBackup {
    /// Name of the backup
    pub(super) name: String,
    /// Where backups live: file:///folder, s3://bucket/prefix?region=...&endpoint=..., az://container/prefix?storageAccount=..., gs://bucket/prefix
    #[arg(
        long,
        value_name = "URL",
        env = "VELERO_STORE",
        required_unless_present = "dry_run"
    )]
    pub(super) store: Option<String>,
    /// Only say what would be backed up, from the metadata of objects; nothing is stored
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    filters: BackupFilterArgs,
    /// File that holds resource policies; instead of a ConfigMap in the cluster
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "resource_policies_configmap"
    )]
    resource_policies_file: Option<PathBuf>,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Form of the output; json and yaml hold the backup, with the keys coverage and results beside its own
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,
}

impl DirectBackup {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        environment.warn_about_features();
        names::check("backup", &self.name)?;
        let spec = self.filters.spec()?;
        let url = self.store.clone().filter(|_| !self.dry_run);
        let target = url.map(StoreArgs::new);
        target.as_ref().map_or(Ok(()), StoreArgs::check)?;
        let cluster = cli::cluster(&environment.global).await?;
        let Some(target) = target else {
            return self.dry_run(environment, spec, cluster).await;
        };
        let store = target.open_for_writing().await?;
        let (backup, namespaces) = self.backup(environment, spec, &cluster).await?;
        let policies = self.policies(&backup, &cluster).await?;

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
            policies,
            namespaces: Some(namespaces),
            actions: Vec::new(),
            options: options(environment),
            progress: progress.clone(),
            cancel: stop_on_interrupt(),
            cancelled_by: cancelled_by("the user"),
            writer: uuid::Uuid::new_v4().to_string(),
            clock: system_clock(),
        };
        let follow = follow(&run, logs);
        let outcome = run_backup(run).await;
        progress.clear();
        let mut done = outcome.map_err(|failure| self.failed(&failure))?;
        self.tell_of_earlier(&done);
        if !done.backup.phase().is_terminal() {
            console::note("the items are stored; waiting for operations of actions");
            let backup = done.backup.clone();
            let follow = FollowRun { backup, ..follow };
            done.backup = follow_to_end(follow, OPERATIONS_PERIOD)
                .await
                .with_context(|| format!("backup {:?} waits for operations", self.name))?;
        }
        self.print(&done, &target, started.elapsed())?;
        Ok(done.backup.phase().into())
    }

    /// Says what of an earlier run has made room for this one.
    fn tell_of_earlier(&self, done: &BackupDone) {
        let name = &self.name;
        if done.replaced_failed {
            console::note(format_args!(
                "a failed backup {name:?} was there; this one has taken the place of its log and results"
            ));
        }
        if let Some(from) = &done.taken_over {
            console::note(format_args!(
                "the name {name:?} was left behind and is taken over from {from}"
            ));
        }
    }

    /// Why the run failed, and where to read on.
    fn failed(&self, failure: &BackupFailure) -> anyhow::Error {
        let (name, cause) = (&self.name, failure.chain());
        match failure.backup {
            Some(_) => anyhow!(
                "backup {name:?} failed: {cause}; `velero direct logs {name}` shows its log, which is in the store"
            ),
            None => anyhow!("backup {name:?} failed: {cause}"),
        }
    }

    /// The backup with its spec filled in, and the namespaces that this took.
    pub(super) async fn backup(
        &self,
        environment: &Environment,
        spec: BackupSpec,
        cluster: &Cluster,
    ) -> Result<(Backup, LiveNamespaces)> {
        let mut backup = Backup::new(environment.namespace(), self.name.as_str(), spec);
        self.metadata.apply(&mut backup.metadata);
        let version = cluster
            .server_version()
            .await
            .context("cannot use the cluster")?;
        let live = live_namespaces(cluster, &backup.spec.included_namespaces).await?;
        prepare_direct_backup(&mut backup, live.heads(), &version, jiff::Timestamp::now());
        Ok((backup, live))
    }

    pub(super) async fn policies(
        &self,
        backup: &Backup,
        cluster: &Cluster,
    ) -> Result<Option<ResourcePolicies>> {
        let Some(file) = &self.resource_policies_file else {
            return Ok(read_policies(cluster, backup).await?);
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read policy file {}", file.display()))?;
        match ResourcePolicies::parse(&text) {
            Ok(policies) => Ok(Some(policies)),
            Err(faults) => bail!("policy file {}: {}", file.display(), faults.join("; ")),
        }
    }

    fn print(&self, done: &BackupDone, store: &StoreArgs, took: Duration) -> Result<()> {
        match self.output {
            Format::Table => self.summary(done, store, took),
            format => {
                let (kinds, records) = (&done.result.coverage.kinds, &done.result.records);
                let document = document(&done.backup, kinds, records)?;
                console::out(output::encode(&document, format)?);
            }
        }
        let what = format!("backup {:?}", self.name);
        report::note_cause(&what, done.backup.phase(), &done.result.records);
        Ok(())
    }

    fn summary(&self, done: &BackupDone, store: &StoreArgs, took: Duration) {
        let mut summary = Summary::default();
        summary.line(
            "Items",
            format_args!("{} of {}", done.result.backed_up, done.result.total),
        );
        summary.line("Archive", report::bytes(done.result.archive_bytes));
        summary.line("Warnings", done.backup.status.warnings);
        summary.line("Errors", done.backup.status.errors);
        summary.line("Took", report::seconds(took));
        summary.line("Store", store.url());
        console::line(format_args!(
            "Backup {:?} {}.",
            self.name,
            done.backup.phase()
        ));
        console::out(summary.render());
        let found = WithoutData::of(&done.result.volume_infos, &done.result.resource_list);
        for line in report::without_data(&found) {
            console::line(line);
        }
        console::out(report::faults(&done.result.records));
    }
}

/// A backup with what became of the objects of each kind, and its warnings and errors.
pub(super) fn document(
    backup: &Backup,
    kinds: &[KindCoverage],
    records: &[Record],
) -> Result<Value> {
    let mut document = serde_json::to_value(backup)?;
    document["coverage"] = coverage::json(kinds);
    document["results"] = serde_json::to_value(ResultsFile::from_records(records))?;
    Ok(document)
}
