//! Backs up one namespace into a local file, in the form of Velero's archives.
//!
//! `cargo run -p velero-examples --example backup_namespace -- shop shop.tar.gz`
//!
//! A file that is there is replaced by a complete backup alone; Ctrl-C leaves nothing behind.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, File};
use std::sync::Arc;

use velero_backup::{BackupEngine, BackupRun, Cluster};
use velero_core::{CancellationToken, ProgressUpdate, api::Backup, kube::Client};

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

    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    back_up(Client::try_default().await?, namespace, &path, cancel).await
}

/// Backs a namespace up; the file has its name only when the backup is complete.
pub(crate) async fn back_up(
    client: Client,
    namespace: String,
    path: &str,
    cancel: CancellationToken,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut backup = Backup::default();
    backup.metadata.name = Some(format!("{namespace}-by-hand"));
    backup.spec.included_namespaces = vec![namespace];

    let engine = BackupEngine::new(Cluster::connect(client).await?);
    let request = engine.request(&backup).await?;
    let unfinished = format!("{path}.part");
    let file = File::create(&unfinished).map_err(|error| format!("{unfinished}: {error}"))?;
    let stored = file.try_clone()?;
    // Called for each item; a program with more to show would show less often.
    let progress = |seen: ProgressUpdate| eprint!("\r{} of {} items", seen.done, seen.total);
    let run = BackupRun::default()
        .progress(Arc::new(progress))
        .cancel(cancel);
    let ended = engine.run(&request, file, run).await;
    eprintln!();
    let result = match ended {
        Ok(result) => result,
        Err(error) => {
            fs::remove_file(&unfinished)?;
            return Err(error.into());
        }
    };

    for record in &result.records {
        println!("{}", record.line());
    }
    println!(
        "{} of {} items, {} bytes, {} errors, {} warnings",
        result.backed_up,
        result.total,
        result.archive_bytes,
        result.errors(),
        result.warnings()
    );
    if result.errors() > 0 {
        return Err(format!(
            "the backup is not complete: what could be read is in {unfinished}, {path} is not touched"
        )
        .into());
    }
    // What it replaces may be the last good backup: the new one must be on the disk before it has the name.
    stored.sync_all()?;
    fs::rename(&unfinished, path).map_err(|error| format!("{path}: {error}"))?;
    println!("{path}: complete");
    Ok(())
}
