//! `velero version`.

use std::time::Duration;

use anyhow::{Result, bail};
use velero_core::GoDuration;
use velero_core::api::{ServerStatusRequest, ServerStatusRequestPhase};

use super::exit::Exit;
use super::objects::Objects;
use super::{Environment, console};

/// Flags of `version`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Version {
    /// How long to wait for the server's answer
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: GoDuration,
    /// Tell the client's version alone
    #[arg(long)]
    client_only: bool,
}

impl Version {
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        console::out(format_args!(
            "Client:\n\tVersion: v{}\n\tGit commit: -\n",
            env!("CARGO_PKG_VERSION")
        ));
        if self.client_only {
            return Ok(Exit::Success);
        }
        let client = environment.client().await?;
        let requests = Objects::new(client, &environment.namespace());
        match tokio::time::timeout(self.timeout.to_std(), ask(&requests)).await {
            Ok(Ok(version)) => console::out(format_args!("Server:\n\tVersion: {version}\n")),
            Ok(Err(error)) => {
                console::line(format_args!("<error getting server version: {error}>"))
            }
            Err(_) => console::line(
                "<error getting server version: timed out waiting for the server to answer>",
            ),
        }
        Ok(Exit::Success)
    }
}

async fn ask(requests: &Objects<ServerStatusRequest>) -> Result<String> {
    let mut request = ServerStatusRequest::default();
    request.metadata.generate_name = Some("velero-cli-".to_owned());
    let name = requests
        .create(&request)
        .await?
        .metadata
        .name
        .unwrap_or_default();
    loop {
        let Some(request) = requests.find(&name).await? else {
            bail!("the request was deleted")
        };
        if request.status.phase == Some(ServerStatusRequestPhase::Processed) {
            return Ok(request.status.server_version);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
