//! Backs up one namespace into a local file that `velero restore` and the other examples read.
//!
//! `cargo run -p velero-examples --example backup_namespace -- shop shop.tar.gz`
#![allow(clippy::print_stdout)]

use std::fs::{self, File};

use velero_backup::{BackupEngine, BackupRun, Cluster};
use velero_core::{api::Backup, kube::Client};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(namespace), Some(path)) = (args.next(), args.next()) else {
        return Err("usage: backup_namespace NAMESPACE FILE".into());
    };

    let mut backup = Backup::default();
    backup.metadata.name = Some(format!("{namespace}-by-hand"));
    backup.spec.included_namespaces = vec![namespace];

    let engine = BackupEngine::new(Cluster::connect(Client::try_default().await?).await?);
    let request = engine.request(&backup).await?;

    // The file gets its name when the archive in it is complete.
    let unfinished = format!("{path}.part");
    let result = engine
        .run(&request, File::create(&unfinished)?, BackupRun::default())
        .await?;
    fs::rename(unfinished, &path)?;

    for record in &result.records {
        println!("{}", record.line());
    }
    println!(
        "{path}: {} of {} items, {} bytes, {} errors, {} warnings",
        result.backed_up,
        result.total,
        result.archive_bytes,
        result.errors(),
        result.warnings()
    );
    Ok(())
}
