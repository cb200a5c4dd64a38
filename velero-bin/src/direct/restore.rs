//! `velero direct restore`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Zoned;
use velero_core::api::Restore;
use velero_persistence::{BackupStore, RestoreFile};

use super::backup::OPERATIONS_PERIOD;
use super::engine_args::RestoreEngineArgs;
use super::inputs::RestoreInputArgs;
use super::interrupted::{Between, Which};
use super::plan_file::PlanFile;
use super::stop_on_interrupt;
use super::store::StoreArgs;
use crate::cli::filters::{MetadataArgs, RestoreFilterArgs};
use crate::cli::{self, Environment, Exit, console, names};
use crate::logfile::{LogOptions, RunLogs};
use crate::report::{self, ProgressLine, Summary};
use crate::runs::{
    RestoreDone, RestoreFollowRun, RestoreRun, RunError, follow_restore, read_journal, run_restore,
    system_clock,
};

/// Flags of `direct restore`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectRestore {
    /// Name of the backup; a plan names its own
    #[arg(required_unless_present = "plan_file")]
    name: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Name of the restore; without it the name of the backup and the time
    #[arg(long, value_name = "NAME")]
    restore_name: Option<String>,
    /// Carry out a plan that direct plan -o json has printed, and nothing at all where the world has moved since; with the
    /// same files as the plan was made
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["restore_name", "RestoreFilterArgs", "FilterArgs", "RestoreDataArgs", "MetadataArgs"]
    )]
    plan_file: Option<PathBuf>,
    /// Begin a new restore, although one with the same flags was interrupted and could go on
    #[arg(long)]
    restart: bool,
    /// Go on with an interrupted restore, although its last sign of life is more than an hour old
    #[arg(long, conflicts_with = "restart")]
    resume: bool,
    #[command(flatten)]
    engine: RestoreEngineArgs,
    #[command(flatten)]
    inputs: RestoreInputArgs,
    #[command(flatten)]
    filters: RestoreFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
}

impl DirectRestore {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        let planned = self.plan()?;
        let mut restore = match &planned {
            Some(plan) => plan.head.restore.clone(),
            None => self.restore(environment)?,
        };
        let store = self.store.open_for_reading().await?;
        let cluster = cli::cluster(&environment.global).await?;
        if let Some(plan) = &planned {
            plan.check_cluster(&cluster).await?;
        }
        let inputs = self.inputs.read(&cluster, &restore).await?;
        let options = self.engine.options(environment)?;

        let cancel = stop_on_interrupt();
        let between = Between {
            store: &store,
            cluster: &cluster,
            cancel: &cancel,
        };
        let priorities = self.inputs.priorities();
        let digest = planned.as_ref().map(|plan| plan.digest.as_str());
        let more = format!("{inputs:?} {priorities:?} {options:?} {digest:?}");
        let identity = between.identity(&restore, &more).await;
        let which = self.which();
        let (restore, journal) = match between.find(&restore, &identity, which).await? {
            Some(found) => between.resume(found).await?,
            None => {
                restore.metadata.name = Some(free_name(&store, &restore).await?);
                between.begin(restore, identity)
            }
        };
        let name = restore.metadata.name.clone().unwrap_or_default();
        let life = tokio::spawn(Arc::clone(&journal).beat(system_clock()));

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
            priorities,
            progress: progress.clone(),
            expected: planned.map(|plan| Arc::new(plan.expected)),
            journal: Some(Arc::clone(&journal)),
            spare: None,
            cancel,
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
        journal.forget_after(&outcome).await;
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
        life.abort();
        self.summary(&name, &done, started.elapsed());
        Ok(done.restore.phase().into())
    }

    /// Which interrupted restore it goes on with.
    fn which(&self) -> Which {
        match (self.restart, self.resume) {
            (true, _) => Which::Anew,
            (_, true) => Which::Any,
            _ => Which::Recent,
        }
    }

    /// The plan to carry out, if one is given.
    fn plan(&self) -> Result<Option<PlanFile>> {
        let Some(path) = &self.plan_file else {
            return Ok(None);
        };
        let plan = PlanFile::read(path)?;
        let backup = &plan.head.restore.spec.backup_name;
        if let Some(name) = self.name.as_ref().filter(|name| *name != backup) {
            bail!(
                "the plan {} is of backup {backup:?}, not of {name:?}",
                path.display()
            );
        }
        Ok(Some(plan))
    }

    /// The restore that the flags ask for; without a name where the user has given none.
    fn restore(&self, environment: &Environment) -> Result<Restore> {
        let backup = self.name.clone().unwrap_or_default();
        names::check("backup", &backup)?;
        if let Some(name) = &self.restore_name {
            names::check("restore", name)?;
        }
        self.filters.data.refuse_mirror()?;
        let mut spec = self.filters.spec()?;
        spec.backup_name = backup;
        let name = self.restore_name.as_deref().unwrap_or_default();
        let mut restore = Restore::new(environment.namespace(), name, spec);
        self.metadata.apply(&mut restore.metadata);
        self.filters.data.annotate(&mut restore.metadata);
        Ok(restore)
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
        if counts.deleted > 0 {
            summary.line("Deleted", counts.deleted);
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
            done.restore.spec.backup_name,
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

/// The name that a restore has, or one made up; log and results of another restore would be overwritten.
pub(super) async fn free_name(store: &BackupStore, restore: &Restore) -> Result<String> {
    let given = restore.metadata.name.as_deref().unwrap_or_default();
    let base = match given {
        "" => names::restore_name(&restore.spec.backup_name, &Zoned::now()),
        given => given.to_owned(),
    };
    let mut name = base.clone();
    let mut number = 1;
    // A restore that has failed before its items were done has no list of them: the next one that is given its name
    // takes its place.
    let file = match given {
        "" => RestoreFile::Results,
        _ => RestoreFile::ResourceList,
    };
    loop {
        // One that was killed has a journal alone.
        let is_left = given.is_empty() && read_journal(store, &name).await?.is_some();
        if !is_left && !store.exists(&file.of(&name)).await? {
            break;
        }
        if !given.is_empty() {
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
