//! Restores a local archive, or one of its namespaces, into the cluster of the current kubeconfig context.
//!
//! `cargo run -p velero-examples --example restore_namespace -- shop.tar.gz [NAMESPACE [NEW-NAME]]`
#![allow(clippy::print_stdout)]

use std::{fs::File, path::Path};

use velero_core::{api::Restore, kube::Client};
use velero_restore::{Cluster, RestoreEngine, RestoreRequest, RestoreRun};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        return Err("usage: restore_namespace FILE [NAMESPACE [NEW-NAME]]".into());
    };

    let mut restore = Restore::default();
    restore.metadata.name = Some("by-hand".into());
    let file = Path::new(&path).file_name().and_then(|name| name.to_str());
    restore.spec.backup_name = file
        .unwrap_or("archive")
        .trim_end_matches(".tar.gz")
        .to_owned();
    if let Some(namespace) = args.next() {
        if let Some(new_name) = args.next() {
            restore
                .spec
                .namespace_mapping
                .insert(namespace.clone(), new_name);
        }
        restore.spec.included_namespaces = vec![namespace];
    }

    let request = RestoreRequest::resolve(restore)?;
    let engine = RestoreEngine::new(Cluster::connect(Client::try_default().await?).await?);
    let result = engine
        .run(&request, File::open(&path)?, RestoreRun::default())
        .await?;

    for record in &result.records {
        println!("{}", record.line());
    }
    println!(
        "{path}: {} created, {} there already, {} errors, {} warnings",
        result.counts.created,
        result.counts.skipped,
        result.errors(),
        result.warnings()
    );
    Ok(())
}
