//! `velero direct restore`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Zoned;
use velero_core::GoDuration;
use velero_core::api::Restore;
use velero_persistence::{BackupStore, RestoreFile};
use velero_restore::RestoreOptions;

use super::backup::OPERATIONS_PERIOD;
use super::inputs::RestoreInputArgs;
use super::stop_on_interrupt;
use super::store::StoreArgs;
use crate::cli::filters::{MetadataArgs, RestoreFilterArgs};
use crate::cli::{self, Environment, Exit, console, names};
use crate::logfile::{LogOptions, RunLogs};
use crate::report::{self, ProgressLine, Summary};
use crate::runs::{
    RestoreDone, RestoreFollowRun, RestoreRun, RunError, follow_restore, prepare_direct_restore,
    run_restore, system_clock,
};

/// Flags of `direct restore`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectRestore {
    /// Name of the backup
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Name of the restore; without it the name of the backup and the time
    #[arg(long, value_name = "NAME")]
    restore_name: Option<String>,
    /// How long to wait for namespaces and volumes that are being deleted to be gone; 10m without it
    #[arg(long, value_name = "DURATION")]
    terminating_resource_timeout: Option<GoDuration>,
    #[command(flatten)]
    inputs: RestoreInputArgs,
    #[command(flatten)]
    filters: RestoreFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
}

impl DirectRestore {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        names::check("backup", &self.name)?;
        if let Some(name) = &self.restore_name {
            names::check("restore", name)?;
        }
        let mut spec = self.filters.spec()?;
        spec.backup_name = self.name.clone();
        let store = self.store.open_for_reading().await?;
        let name = self.free_name(&store).await?;
        let cluster = cli::cluster(&environment.global).await?;
        let mut restore = Restore::new(environment.namespace(), name.as_str(), spec);
        self.metadata.apply(&mut restore.metadata);
        self.filters.data.annotate(&mut restore.metadata);
        prepare_direct_restore(&mut restore, jiff::Timestamp::now());

        let inputs = self.inputs.read(&cluster, &restore).await?;
        let all_versions = environment.features().all_api_versions();
        let mut options = RestoreOptions::default().api_group_versions(all_versions);
        if let Some(timeout) = self.terminating_resource_timeout {
            options = options.terminating_timeout(timeout.to_std());
        }

        let logs = RunLogs::install(&LogOptions::default());
        let progress = Arc::new(ProgressLine::new("restored"));
        let started = Instant::now();
        let run = RestoreRun {
            log: logs.begin("restore", &format!("{}/{name}", environment.namespace())),
            cluster,
            store,
            restore,
            actions: Vec::new(),
            inputs,
            options,
            priorities: self.inputs.priorities(),
            progress: progress.clone(),
            cancel: stop_on_interrupt(),
            clock: system_clock(),
        };
        let follow = RestoreFollowRun {
            cluster: run.cluster.clone(),
            store: run.store.clone(),
            restore: run.restore.clone(),
            actions: run.actions.clone(),
            options: run.options.clone(),
            left: None,
            logs,
            cancel: run.cancel.clone(),
            clock: run.clock.clone(),
        };
        let outcome = run_restore(run).await;
        progress.clear();
        let mut done = outcome.with_context(|| format!("restore {name:?} failed"))?;
        if let Some(left) = done.left.take() {
            let restore = done.restore.clone();
            let follow = RestoreFollowRun {
                restore,
                left: Some(left),
                ..follow
            };
            let tell = |what: &str| {
                console::note(format_args!("the items are restored; waiting for {what}"))
            };
            let followed = follow_restore(follow, OPERATIONS_PERIOD, tell)
                .await
                .with_context(|| format!("restore {name:?} waits for what it has begun"))?;
            done.restore = followed.restore;
            done.result.records.extend(followed.records);
        }
        self.summary(&name, &done, started.elapsed());
        Ok(done.restore.phase().into())
    }

    /// The name that the user has given, or one made up; log and results of another restore would be overwritten.
    async fn free_name(&self, store: &BackupStore) -> Result<String> {
        let base = match &self.restore_name {
            Some(name) => name.clone(),
            None => names::restore_name(&self.name, &Zoned::now()),
        };
        let mut name = base.clone();
        let mut number = 1;
        // A restore that has failed before its items were done has no list of them: the next one that is given its name
        // takes its place.
        let file = match self.restore_name {
            Some(_) => RestoreFile::ResourceList,
            None => RestoreFile::Results,
        };
        while store.exists(&file.of(&name)).await? {
            if self.restore_name.is_some() {
                let store = store.store().describe();
                return Err(RunError::AlreadyExists {
                    what: "restore",
                    name,
                    store,
                }
                .into());
            }
            // Two restores within a second.
            number += 1;
            name = format!("{base}-{number}");
        }
        names::check("restore", &name)?;
        Ok(name)
    }

    fn summary(&self, name: &str, done: &RestoreDone, took: Duration) {
        let counts = &done.result.counts;
        let mut summary = Summary::default();
        summary.line(
            "Items",
            format_args!("{} of {}", counts.restored(), counts.total),
        );
        summary.line("Created", counts.created);
        summary.line("Updated", counts.updated);
        summary.line("Skipped", counts.skipped);
        if counts.left > 0 {
            summary.line(
                "Differ",
                format_args!("{} (left as they were)", counts.left),
            );
        }
        summary.line("Failed", counts.failed.saturating_sub(counts.left));
        if let Some(hooks) = &done.restore.status.hook_status
            && hooks.hooks_attempted > 0
        {
            let (all, failed) = (hooks.hooks_attempted, hooks.hooks_failed);
            summary.line("Hooks", format_args!("{all} ({failed} failed)"));
        }
        summary.line("Warnings", done.restore.status.warnings);
        summary.line("Errors", done.restore.status.errors);
        summary.line("Took", report::seconds(took));
        summary.line("Store", self.store.url());
        console::line(format_args!(
            "Restore {name:?} of backup {:?} {}.",
            self.name,
            done.restore.phase()
        ));
        console::out(summary.render());
        for line in report::without_data(&done.without_data) {
            console::line(line);
        }
        console::out(report::faults(&done.result.records));
        let what = format!("restore {name:?}");
        report::note_cause(&what, done.restore.phase(), &done.result.records);
    }
}
