//! `velero sandbox`: the server stays up until Ctrl-C.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kube::Client;
use serde_json::json;
use velero_core::api::{BackupStorageLocation, BackupStorageLocationSpec, ObjectStorageLocation};
use velero_testkit::ApiServer;

use super::{Folder, NAMESPACE, start, user_agent};
use crate::cli::{Environment, Exit, console};
use crate::direct::stop_on_interrupt;
use crate::install;
use crate::logfile::{LogOptions, RunLogs};
use crate::server::{Server, Settings};

/// The folder that stands for a bucket.
const BUCKET: &str = "backups";

/// Flags of `sandbox`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Keep {
    /// Port on the loopback address; a free one without it
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    port: u16,
    /// Keep the kubeconfig and the backups in this folder; without it a temporary one is used
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Whether the operator runs as well, so that `velero backup create` and the like work
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    with_operator: bool,
}

impl Keep {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        let cancel = stop_on_interrupt();
        let folder = Folder::make(self.folder.clone())?;
        let (server, count) = start().await?;
        prepare(&server, &folder, &environment.namespace()).await?;
        let listening = server
            .serve(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
            .await?;
        let kubeconfig = folder.path.join("kubeconfig");
        std::fs::write(&kubeconfig, listening.kubeconfig_yaml())
            .with_context(|| format!("cannot write {}", kubeconfig.display()))?;
        let operator = if self.with_operator {
            Some(operate(&server, &environment.namespace()).await?)
        } else {
            None
        };

        let path = kubeconfig.display();
        console::line(format_args!(
            "A sandbox with {count} objects serves {}; its kubeconfig is {path}",
            listening.url()
        ));
        console::line(format_args!("  export KUBECONFIG={path}"));
        console::line(format_args!("  kubectl get all -n {NAMESPACE}"));
        if operator.is_some() {
            console::line(format_args!(
                "  velero backup create first --include-namespaces {NAMESPACE} --wait"
            ));
        } else {
            console::line(format_args!(
                "  velero direct backup first --include-namespaces {NAMESPACE} --store {}",
                folder.store_url("direct")?
            ));
        }
        console::line("Ctrl-C ends it.");
        cancel.cancelled().await;
        if let Some(operator) = operator {
            operator.stop().await;
        }
        listening.shutdown().await;
        Ok(Exit::Success)
    }
}

/// Installs what the operator and the command line need.
async fn prepare(server: &ApiServer, folder: &Folder, namespace: &str) -> Result<()> {
    let client: Client = server.client_with_user_agent(&user_agent());
    install::install_definitions(client).await?;
    let bucket = folder.path.join(BUCKET);
    std::fs::create_dir_all(&bucket)
        .with_context(|| format!("cannot make the folder {}", bucket.display()))?;
    let mut spec = BackupStorageLocationSpec {
        provider: "filesystem".to_owned(),
        default: true,
        ..Default::default()
    };
    spec.object_storage = ObjectStorageLocation {
        bucket: BUCKET.to_owned(),
        ..Default::default()
    };
    spec.config
        .insert("fspath".to_owned(), folder.path.display().to_string());
    let location = BackupStorageLocation::new(namespace, "default", spec);
    let store = server.store();
    let exists = store.get("v1", "Namespace", None, namespace).is_some();
    if !exists {
        store.seed_value(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        )?;
    }
    store.seed_value(serde_json::to_value(location)?)?;
    Ok(())
}

async fn operate(server: &ApiServer, namespace: &str) -> Result<Server> {
    let settings = Settings {
        namespace: namespace.to_owned(),
        ..Settings::default()
    };
    let logs = RunLogs::install(&LogOptions::default());
    let client = server.client_with_user_agent(&user_agent());
    Server::start(client, settings, logs)
        .await
        .context("the operator cannot be started")
}
