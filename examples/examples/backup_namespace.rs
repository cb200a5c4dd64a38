//! Backs up one namespace into a local file, in the form of Velero's archives.
//!
//! `cargo run -p velero-examples --example backup_namespace -- shop shop.tar.gz`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, File};

use velero_backup::{BackupEngine, BackupRun, Cluster};
use velero_core::{api::Backup, kube::Client};

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        eprintln!("error: {}", velero_core::result::chain(&*error));
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
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
    let file = File::create(&unfinished).map_err(|error| format!("{unfinished}: {error}"))?;
    let result = engine.run(&request, file, BackupRun::default()).await?;
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
    match result.errors() {
        0 => Ok(()),
        _ => Err("the backup is not complete".into()),
    }
}
