//! `velero direct backup --dry-run`.

use anyhow::{Context as _, Result};
use velero_backup::BackupEngine;
use velero_cluster::Cluster;
use velero_core::api::BackupSpec;
use velero_core::result::Severity;
use velero_persistence::BackupStore;

use super::backup::{DirectBackup, document, options};
use super::stop_on_interrupt;
use super::store::StoreArgs;
use crate::cli::output::{self, Format};
use crate::cli::{Environment, Exit, console};
use crate::coverage;
use crate::report;
use crate::runs::{RunError, is_failed_record};

impl DirectBackup {
    /// Says what a backup would hold, by the metadata of objects.
    ///
    /// Exits as the backup would: 2 when it would be partially failed by what is known now.
    pub(super) async fn dry_run(
        &self,
        environment: &Environment,
        spec: BackupSpec,
        cluster: Cluster,
    ) -> Result<Exit> {
        let cancel = stop_on_interrupt();
        self.warn_about_the_name().await;
        let (backup, namespaces) = self.backup(environment, spec, &cluster).await?;
        let policies = self.policies(&backup, &cluster).await?;
        let engine = BackupEngine::new(cluster).options(options(environment));
        let outcome = async {
            let request = engine.request_in(&backup, policies, &namespaces)?;
            engine.dry_run(&request, &cancel).await
        };
        let done = outcome
            .await
            .map_err(RunError::from)
            .with_context(|| format!("backup {:?} cannot be foreseen", self.name))?;
        let kinds = &done.coverage.kinds;
        if self.output == Format::Table {
            let objects: u64 = kinds.iter().map(|kind| kind.stored).sum();
            console::line(format_args!(
                "Backup {:?} would hold {objects} objects, and those outside of its filters that they need.",
                self.name
            ));
            for line in coverage::lines(kinds) {
                console::line(format_args!("  {line}"));
            }
            for line in report::will_lack_data(&done.claims, &done.volumes) {
                console::line(line);
            }
            console::out(report::faults(&done.records));
        } else {
            let document = document(&backup, kinds, &done.records)?;
            console::out(output::encode(&document, self.output)?);
        }
        let mut errors = done.records.iter();
        let partial = errors.any(|record| record.severity == Severity::Error);
        Ok(if partial {
            Exit::Partial
        } else {
            Exit::Success
        })
    }

    /// Says what the store has under the name of the backup, if a store is named.
    async fn warn_about_the_name(&self) {
        let Some(url) = self.store.clone() else {
            return;
        };
        let name = &self.name;
        let found = match StoreArgs::new(url).open_if_there().await {
            Ok(None) => return,
            Ok(Some(store)) => holds(&store, name).await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        match found {
            Ok(None) => {}
            Ok(Some(found)) => console::note(format_args!("warning: {found}")),
            Err(error) => {
                let error = velero_core::result::chain(error.as_ref());
                console::note(format_args!(
                    "warning: whether the store holds a backup {name:?} is not known: {}",
                    console::one_line(&error)
                ));
            }
        }
    }
}

/// What a backup would come upon in the store.
async fn holds(store: &BackupStore, name: &str) -> Result<Option<String>, RunError> {
    if is_failed_record(store, name).await? {
        return Ok(Some(format!(
            "a failed backup {name:?} is in the store; its log and results would make room"
        )));
    }
    let exists = store.backup_exists(name).await;
    let exists = exists.map_err(|source| RunError::Store {
        operation: "look for the backup",
        source,
    })?;
    Ok(exists.then(|| {
        let store = store.store().describe();
        format!("backup {name:?} exists already in {store}; one of that name would be refused")
    }))
}
