//! `velero direct restore`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Zoned;
use velero_core::api::Restore;
use velero_persistence::RestoreFile;

use super::stop_on_interrupt;
use super::store::StoreArgs;
use crate::cli::filters::{MetadataArgs, RestoreFilterArgs};
use crate::cli::{self, Environment, Exit, console, names};
use crate::logfile::{LogOptions, RunLogs};
use crate::report::{self, ProgressLine, Summary};
use crate::runs::{
    RestoreDone, RestoreRun, RunError, prepare_direct_restore, run_restore, system_clock,
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
    #[command(flatten)]
    filters: RestoreFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
}

impl DirectRestore {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        names::check("backup", &self.name)?;
        let name = self
            .restore_name
            .clone()
            .unwrap_or_else(|| names::restore_name(&self.name, &Zoned::now()));
        names::check("restore", &name)?;
        let mut spec = self.filters.spec()?;
        spec.backup_name = self.name.clone();
        let store = self.store.open_for_reading().await?;
        if store.exists(&RestoreFile::Results.of(&name)).await? {
            // Its log and results would be overwritten.
            let store = store.store().describe();
            return Err(RunError::AlreadyExists {
                what: "restore",
                name,
                store,
            }
            .into());
        }
        let cluster = cli::cluster(&environment.global).await?;
        let mut restore = Restore::new(environment.namespace(), name.as_str(), spec);
        self.metadata.apply(&mut restore.metadata);
        prepare_direct_restore(&mut restore, jiff::Timestamp::now());

        let logs = RunLogs::install(&LogOptions::default());
        let progress = Arc::new(ProgressLine::new("restored"));
        let started = Instant::now();
        let run = RestoreRun {
            log: logs.begin("restore", &format!("{}/{name}", environment.namespace())),
            cluster,
            store,
            restore,
            actions: Vec::new(),
            options: Default::default(),
            priorities: Default::default(),
            progress: progress.clone(),
            cancel: stop_on_interrupt(),
            clock: system_clock(),
        };
        let outcome = run_restore(run).await;
        progress.clear();
        let done = outcome.with_context(|| format!("restore {name:?} failed"))?;
        self.summary(&name, &done, started.elapsed());
        Ok(done.restore.phase().into())
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
        summary.line("Failed", counts.failed);
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
        console::out(report::faults(&done.result.records));
        let what = format!("restore {name:?}");
        report::note_cause(&what, done.restore.phase(), &done.result.records);
    }
}
