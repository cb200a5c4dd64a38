//! Questions to the server about itself.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use velero_core::api::{ServerStatusRequest, ServerStatusRequestPhase, ServerStatusRequestStatus};

use super::Environment;
use super::objects::Objects;

/// Pause between two looks at a request.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks the server and waits for its answer.
///
/// # Errors
/// When the API server cannot be reached or the Velero server does not answer in time. A request that nobody has answered
/// is taken back then.
pub(super) async fn ask(
    environment: &Environment,
    timeout: Duration,
) -> Result<ServerStatusRequestStatus> {
    let client = environment.client().await?;
    let requests = Objects::new(client, &environment.namespace());
    let mut request = ServerStatusRequest::default();
    request.metadata.generate_name = Some("velero-cli-".to_owned());
    let created = requests.create(&request).await?;
    let name = created.metadata.name.unwrap_or_default();
    let answered = match tokio::time::timeout(timeout, answer(&requests, &name)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anyhow!(
            "timed out waiting for the server to answer; is the velero server running?"
        )),
    };
    if answered.is_err() {
        // The server deletes what it has answered. That nobody can delete this one adds nothing to what is told.
        let _ = tokio::time::timeout(PAUSE * 4, requests.delete(&name)).await;
    }
    answered
}

async fn answer(
    requests: &Objects<ServerStatusRequest>,
    name: &str,
) -> Result<ServerStatusRequestStatus> {
    loop {
        let Some(request) = requests.find(name).await? else {
            bail!("the request was deleted before it was answered")
        };
        if request.status.phase == Some(ServerStatusRequestPhase::Processed) {
            return Ok(request.status);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
