//! Copies a namespace, with one action on the way into the archive and one on the way out of it.
//!
//! `cargo run -p velero-examples --example custom_action -- shop shop-copy`
//!
//! A node port that somebody chose can be in a cluster once only: the copy of its Service is an error, the rest is there.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::Seek as _;

use velero_backup::{BackupEngine, BackupRun};
use velero_core::action::{
    ActionContext, ActionError, BackupItemAction, BackupOutcome, ResourceSelector, RestoreMap,
};
use velero_core::api::{Backup, Restore};
use velero_core::{ItemTree, kube::Client};
use velero_restore::{Cluster, RestoreEngine, RestoreRequest, RestoreRun};

/// Keeps secrets that somebody has marked out of backups.
struct LeaveOutMarkedSecrets;

#[async_trait::async_trait]
impl BackupItemAction for LeaveOutMarkedSecrets {
    fn name(&self) -> &str {
        "example.com/leave-out-marked-secrets"
    }

    fn applies_to(&self) -> ResourceSelector {
        ResourceSelector::resources(["secrets"])
    }

    async fn execute(
        &self,
        item: ItemTree,
        _: &ActionContext<'_, Backup>,
    ) -> Result<BackupOutcome, ActionError> {
        let marked = item.annotation("example.com/secret") == Some("top");
        Ok(if marked {
            BackupOutcome::skip()
        } else {
            BackupOutcome::unchanged()
        })
    }
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        eprintln!("error: {}", velero_core::result::chain(&*error));
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(source), Some(target)) = (args.next(), args.next()) else {
        return Err("usage: custom_action NAMESPACE COPY".into());
    };
    copy(Client::try_default().await?, source, target).await
}

/// Copies a namespace by way of an archive, which has no name and is gone afterwards.
pub(crate) async fn copy(
    client: Client,
    source: String,
    target: String,
) -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::connect(client).await?;
    let mut archive = tempfile::tempfile()?;

    let mut backup = Backup::default();
    backup.metadata.name = Some(source.clone());
    backup.spec.included_namespaces = vec![source.clone()];
    let engine = BackupEngine::new(cluster.clone()).action(LeaveOutMarkedSecrets);
    let request = engine.request(&backup).await?;
    let result = engine
        .run(&request, archive.try_clone()?, BackupRun::default())
        .await?;
    for record in &result.records {
        println!("{}", record.line());
    }
    if result.errors() > 0 {
        return Err(format!("{source} could not be read completely, nothing was copied").into());
    }
    archive.rewind()?;

    // An action that needs no cluster is a closure: the copy begins with one replica of everything.
    let deployments = ResourceSelector::resources(["deployments.apps", "statefulsets.apps"]);
    let one_replica = RestoreMap::new("example.com/one-replica", deployments, |mut item| {
        item.object_mut("spec").insert("replicas".into(), 1.into());
        Ok(item)
    });
    let mut restore = Restore::default();
    restore.metadata.name = Some(target.clone());
    restore.spec.backup_name = source.clone();
    restore.spec.namespace_mapping.insert(source, target);
    let request = RestoreRequest::resolve(restore)?;
    let result = RestoreEngine::new(cluster)
        .action(one_replica)
        .run(&request, archive, RestoreRun::default())
        .await?;
    for record in &result.records {
        println!("{}", record.line());
    }
    println!(
        "{} created, {} errors, {} warnings",
        result.counts.created,
        result.errors(),
        result.warnings()
    );
    match result.errors() {
        0 => Ok(()),
        _ => Err("the copy is not complete".into()),
    }
}
