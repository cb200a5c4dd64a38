//! `velero sandbox demo`: backup, disaster, restore, comparison.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;
use velero_cluster::Cluster;
use velero_core::NoProgress;
use velero_core::api::{Backup, BackupSpec, Restore, RestoreSpec};
use velero_persistence::{BackupStore, Location};
use velero_testkit::ApiServer;
use velero_testkit::compare::{ALLOWED, compare};

use super::breakage::Breakage;
use super::{Folder, NAMESPACE, PATIENCE, settled, start, user_agent};
use crate::cli::{Environment, Exit, console, explain};
use crate::direct::stop_on_interrupt;
use crate::logfile::{LogOptions, RunLogs};
use crate::report;
use crate::runs::{
    BackupDone, BackupRun, RestoreDone, RestoreRun, cancelled_by, live_namespaces,
    prepare_direct_backup, prepare_direct_restore, run_backup, run_restore, system_clock,
};

/// Name of the backup and of the restore.
const NAME: &str = "demo";

/// Flags of `sandbox demo`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Demo {
    /// Keep the backup in this folder; without it a temporary one is used
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Break an object before the comparison, to see that it is found
    #[arg(long, value_name = "HOW", hide = true)]
    break_object: Option<Breakage>,
}

impl Demo {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        let began = Instant::now();
        let folder = Folder::make(self.folder.clone())?;
        let mut steps = Steps::default();

        let step = Instant::now();
        let (server, seeded) = start().await?;
        let before = state_of(&server);
        steps.done(
            step,
            format_args!(
                "Started an API server in this process, with a sample application of {seeded} objects; its controllers have made {} of them.",
                before.len()
            ),
        );
        let world = World::connect(&server, &folder, &environment.namespace()).await?;

        let step = Instant::now();
        let backup = world.back_up().await?;
        steps.done(
            step,
            format_args!(
                "Backed up namespace {NAMESPACE:?} into {}: {}.",
                folder.path.display(),
                counts_of(&backup)
            ),
        );
        console::out(report::faults(&backup.result.records));

        let step = Instant::now();
        let deleted = world.destroy().await?;
        steps.done(
            step,
            format_args!("Deleted {deleted}, and waited until they were gone."),
        );

        let step = Instant::now();
        let restore = world.restore().await?;
        settled(&server).await?;
        let restored = counts_of_restore(&restore);
        steps.done(step, format_args!("Restored the backup: {restored}."));
        console::out(report::faults(&restore.result.records));

        if let Some(breakage) = self.break_object {
            breakage.apply(&server)?;
        }
        Ok(steps.verdict(
            &before,
            &server,
            restore.result.errors() + backup.result.errors(),
            began,
        ))
    }
}

fn counts_of(backup: &BackupDone) -> String {
    let result = &backup.result;
    format!(
        "{} items, {}, {} warnings, {} errors",
        result.backed_up,
        report::bytes(result.archive_bytes),
        result.warnings(),
        result.errors()
    )
}

fn counts_of_restore(restore: &RestoreDone) -> String {
    let (result, counts) = (&restore.result, &restore.result.counts);
    format!(
        "{} created, {} there already, {} failed, {} warnings, {} errors",
        counts.created,
        counts.updated + counts.skipped,
        counts.failed,
        result.warnings(),
        result.errors()
    )
}

/// All objects of the cluster.
fn state_of(server: &ApiServer) -> Vec<Value> {
    server.store().all()
}

/// Numbered lines with the time that each took.
#[derive(Debug, Default)]
struct Steps {
    number: usize,
}

impl Steps {
    fn done(&mut self, began: Instant, what: std::fmt::Arguments<'_>) {
        self.number += 1;
        console::line(format_args!(
            "{}. {what} ({})",
            self.number,
            report::seconds(began.elapsed())
        ));
    }

    fn verdict(
        &mut self,
        before: &[Value],
        server: &ApiServer,
        errors: usize,
        began: Instant,
    ) -> Exit {
        let step = Instant::now();
        let after = state_of(server);
        let differences = compare(before, &after, ALLOWED);
        self.done(
            step,
            format_args!(
                "Compared all {} objects of the cluster with their state before; {} kinds of fields that servers set may differ.",
                after.len(),
                ALLOWED.len()
            ),
        );
        if differences.is_empty() && errors == 0 {
            console::line(format_args!(
                "nothing missing, nothing changed (all in {})",
                report::seconds(began.elapsed())
            ));
            return Exit::Success;
        }
        let word = match differences.len() {
            1 => "difference",
            _ => "differences",
        };
        console::line(format_args!("{} {word}:", differences.len()));
        for difference in &differences {
            console::line(format_args!("  {difference}"));
        }
        Exit::Failure
    }
}

/// The cluster, the store, and what is done to them.
struct World {
    server: ApiServer,
    client: Client,
    cluster: Cluster,
    store: BackupStore,
    logs: RunLogs,
    namespace: String,
}

impl World {
    async fn connect(server: &ApiServer, folder: &Folder, namespace: &str) -> Result<Self> {
        let client = server.client_with_user_agent(&user_agent());
        Ok(Self {
            server: server.clone(),
            cluster: Cluster::connect(client.clone()).await?,
            store: BackupStore::open(&Location::from_url(&folder.store_url("")?)?).await?,
            logs: RunLogs::install(&LogOptions::default()),
            namespace: namespace.to_owned(),
            client,
        })
    }

    async fn back_up(&self) -> Result<BackupDone> {
        let spec = BackupSpec {
            included_namespaces: vec![NAMESPACE.to_owned()],
            ..BackupSpec::default()
        };
        let mut backup = Backup::new(self.namespace.as_str(), NAME, spec);
        let version = self.cluster.server_version().await?;
        let live = live_namespaces(&self.cluster, &backup.spec.included_namespaces).await?;
        prepare_direct_backup(&mut backup, live.heads(), &version, jiff::Timestamp::now());
        let run = BackupRun {
            cluster: self.cluster.clone(),
            store: self.store.clone(),
            backup,
            policies: None,
            namespaces: Some(live),
            actions: Vec::new(),
            options: Default::default(),
            log: self
                .logs
                .begin("backup", &format!("{}/{NAME}", self.namespace)),
            progress: Arc::new(NoProgress),
            cancel: stop_on_interrupt(),
            cancelled_by: cancelled_by("the user"),
            writer: "demo".to_owned(),
            clock: system_clock(),
        };
        run_backup(run).await.context("the backup failed")
    }

    async fn restore(&self) -> Result<RestoreDone> {
        let spec = RestoreSpec {
            backup_name: NAME.to_owned(),
            ..RestoreSpec::default()
        };
        let mut restore = Restore::new(self.namespace.as_str(), NAME, spec);
        prepare_direct_restore(&mut restore, jiff::Timestamp::now());
        let run = RestoreRun {
            // A cluster that was emptied serves other kinds than before.
            cluster: Cluster::connect(self.client.clone()).await?,
            store: self.store.clone(),
            restore,
            actions: Vec::new(),
            inputs: Default::default(),
            options: Default::default(),
            priorities: Default::default(),
            log: self
                .logs
                .begin("restore", &format!("{}/{NAME}", self.namespace)),
            expected: None,
            journal: None,
            progress: Arc::new(NoProgress),
            spare: None,
            cancel: stop_on_interrupt(),
            clock: system_clock(),
        };
        run_restore(run).await.context("the restore failed")
    }

    /// Deletes the namespace, and the volumes and the definition that belong to the application.
    async fn destroy(&self) -> Result<String> {
        let kinds = [
            ("", "v1", "Namespace", format!("metadata.name={NAMESPACE}")),
            ("", "v1", "PersistentVolume", String::new()),
            (
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
                "metadata.name=offers.shop.example.io".to_owned(),
            ),
        ];
        let mut deleted = Vec::new();
        for (group, version, kind, fields) in kinds {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let params = ListParams::default().fields(&fields);
            for object in api.list(&params).await.map_err(explain)?.items {
                let name = object.metadata.name.unwrap_or_default();
                match api.delete(&name, &DeleteParams::default()).await {
                    Ok(_) => deleted.push(format!("{kind} {name:?}")),
                    // A provisioned volume goes with its claim.
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => return Err(explain(error)),
                }
                gone(&api, &name).await?;
            }
        }
        settled(&self.server).await?;
        Ok(deleted.join(", "))
    }
}

async fn gone(api: &Api<DynamicObject>, name: &str) -> Result<()> {
    let wait = async {
        while api.get_opt(name).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, kube::Error>(())
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(outcome) => outcome.map_err(explain),
        Err(_) => bail!("{name:?} is still there after {}s", PATIENCE.as_secs()),
    }
}
