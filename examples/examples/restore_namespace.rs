//! Restores a local archive, or one of its namespaces, into the cluster of the current kubeconfig context.
//!
//! `cargo run -p velero-examples --example restore_namespace -- shop.tar.gz [NAMESPACE [NEW-NAME]]`
//!
//! A node port that somebody chose can be in a cluster once only: beside the original, its Service is an error.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{fs::File, path::Path};

use velero_core::{api::Restore, kube::Client};
use velero_restore::{Cluster, RestoreEngine, RestoreRequest, RestoreRun};

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        eprintln!("error: {}", velero_core::result::chain(&*error));
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        return Err("usage: restore_namespace FILE [NAMESPACE [NEW-NAME]]".into());
    };

    let client = Client::try_default().await?;
    restore(client, &path, args.next(), args.next()).await
}

/// Restores an archive, or one namespace of it, under another name if one is given.
pub(crate) async fn restore(
    client: Client,
    path: &str,
    namespace: Option<String>,
    new_name: Option<String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let archive = File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let mut restore = Restore::default();
    restore.metadata.name = Some("by-hand".into());
    let file = Path::new(path).file_name().and_then(|name| name.to_str());
    restore.spec.backup_name = file
        .unwrap_or("archive")
        .trim_end_matches(".tar.gz")
        .to_owned();
    if let Some(namespace) = namespace.clone() {
        if let Some(new_name) = new_name {
            restore
                .spec
                .namespace_mapping
                .insert(namespace.clone(), new_name);
        }
        restore.spec.included_namespaces = vec![namespace];
    }

    let request = RestoreRequest::resolve(restore)?;
    let engine = RestoreEngine::new(Cluster::connect(client).await?);
    let result = engine.run(&request, archive, RestoreRun::default()).await?;

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
    match (result.errors(), result.counts.total, namespace) {
        // No items and no errors: a name that is misspelt, most often.
        (0, 0, Some(namespace)) => Err(format!("{path} holds no namespace {namespace:?}").into()),
        (0, 0, None) => Err(format!("{path} holds nothing that can be restored").into()),
        (0, ..) => Ok(()),
        _ => Err("not everything was restored".into()),
    }
}
