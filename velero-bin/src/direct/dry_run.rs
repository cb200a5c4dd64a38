//! `velero direct backup --dry-run`.

use anyhow::{Context as _, Result};
use velero_backup::BackupEngine;
use velero_cluster::Cluster;
use velero_core::api::BackupSpec;
use velero_core::result::Severity;

use super::backup::{DirectBackup, document, options};
use super::stop_on_interrupt;
use crate::cli::output::{self, Format};
use crate::cli::{Environment, Exit, console};
use crate::coverage;
use crate::report;
use crate::runs::RunError;

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
}
