//! A node whose commands run as on a real one.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{ControlPlane, go};

const START: Duration = Duration::from_secs(30);

/// Runs the commands of `exec` for one node in the place of kwok; kwok still plays the rest of it.
///
/// What differs is the last word about a command that fails: kwok has the exit code in the text of an error, this one, like
/// container runtimes, as a cause of its own. Commands find `POD` and `CONTAINER` in their environment.
#[derive(Debug)]
pub(crate) struct Kubelet {
    // It ends with its standard input, even when this process is killed.
    _child: Child,
}

impl Kubelet {
    /// Takes over the commands of a node.
    pub(crate) async fn start(plane: &ControlPlane, client: &Client, node: &str) -> Result<Self> {
        let program = go::program(go::KUBELET).await?;
        let mut child = Command::new(&program)
            .args(["server.crt", "server.key"].map(|file| plane.dir().join(file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let port: u16 = tokio::time::timeout(START, lines.next_line())
            .await
            .map_err(|_| anyhow!("the kubelet does not say its port within {START:?}"))??
            .context("the kubelet ended")?
            .trim()
            .parse()?;
        let patch = json!({"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
        let request = Request::patch(format!("/api/v1/nodes/{node}/status"))
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&patch)?)?;
        let _node: Value = client
            .request(request)
            .await
            .context("cannot take over the node")?;
        Ok(Self { _child: child })
    }
}
