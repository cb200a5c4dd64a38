//! Running commands in containers: answered by a closure, over the WebSocket protocol of Kubernetes.

use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::status::ApiError;
use crate::verbs::Request;

/// A command that a client wants to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExecRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Container; the first of the pod when the client names none.
    pub container: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Whether the client sends input; it is not read.
    pub stdin: bool,
    /// Whether the client wants a terminal.
    pub tty: bool,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecResult {
    /// What it wrote to its output.
    pub stdout: Vec<u8>,
    /// What it wrote to its error output.
    pub stderr: Vec<u8>,
    /// How it ended; 0 is success.
    pub exit_code: i32,
    /// How long it runs before it ends. Default: no time.
    pub takes: std::time::Duration,
    /// How the client hears of the end.
    pub ending: ExecEnding,
}

/// How a client hears that a command has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExecEnding {
    /// As from a kubelet: a cause of type `ExitCode`.
    #[default]
    Cause,
    /// As from kwok: an internal error whose text ends in `exit status N`.
    Text,
    /// A failure to start the command, with this text and without an exit code.
    NotStarted(String),
    /// Not at all: the connection closes without a word.
    Silence,
    /// Never: the command writes its output and runs until the client leaves.
    Never,
}

impl ExecResult {
    /// Success, with this output.
    #[must_use]
    pub fn output(text: impl Into<Vec<u8>>) -> Self {
        Self {
            stdout: text.into(),
            ..Self::default()
        }
    }

    /// An end with this exit code, and this error output.
    #[must_use]
    pub fn failure(exit_code: i32, stderr: impl Into<Vec<u8>>) -> Self {
        Self {
            exit_code,
            stderr: stderr.into(),
            ..Self::default()
        }
    }

    /// Sets how the client hears of the end.
    #[must_use]
    pub fn ending(mut self, ending: ExecEnding) -> Self {
        self.ending = ending;
        self
    }

    /// Sets how long it runs before it ends.
    #[must_use]
    pub fn takes(mut self, time: std::time::Duration) -> Self {
        self.takes = time;
        self
    }

    /// The `Status` that is sent at the end.
    fn status(&self) -> Value {
        let internal = |text: &str| {
            json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("Internal error occurred: {text}"), "details": {"causes": [{"message": text}]},
            })
        };
        match &self.ending {
            ExecEnding::NotStarted(text) => return internal(text),
            _ if self.exit_code == 0 => return json!({"metadata": {}, "status": "Success"}),
            ExecEnding::Text => {
                return internal(&format!("exit status {}", self.exit_code));
            }
            ExecEnding::Cause | ExecEnding::Silence | ExecEnding::Never => {}
        }
        json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {}", self.exit_code),
            "details": {"causes": [{"reason": "ExitCode", "message": self.exit_code.to_string()}]},
        })
    }
}

/// Answers commands.
pub(crate) type ExecHandler = Arc<dyn Fn(ExecRequest) -> ExecResult + Send + Sync>;

/// Subprotocols that are spoken, the best first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Reads the command out of a request.
pub(crate) fn describe(request: &Request, pod: &Value) -> Result<ExecRequest, ApiError> {
    let mut exec = ExecRequest {
        namespace: request.namespace().unwrap_or_default().to_owned(),
        pod: request.name().to_owned(),
        ..ExecRequest::default()
    };
    let on = |v: &str| matches!(v, "true" | "1");
    for (key, value) in &request.query.raw {
        match key.as_str() {
            "container" => exec.container.clone_from(value),
            "command" => exec.command.push(value.clone()),
            "stdin" => exec.stdin = on(value),
            "tty" => exec.tty = on(value),
            _ => {}
        }
    }
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(ApiError::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    if exec.command.is_empty() {
        return Err(ApiError::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    let containers = pod["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if exec.container.is_empty() {
        exec.container = containers
            .first()
            .and_then(|c| c["name"].as_str())
            .unwrap_or_default()
            .to_owned();
    }
    if !containers
        .iter()
        .any(|c| c["name"] == exec.container.as_str())
    {
        let text = format!(
            "container {} is not valid for pod {}",
            exec.container, exec.pod
        );
        return Err(ApiError::bad_request(text));
    }
    Ok(exec)
}

/// Answers the upgrade, and runs the command once the connection is there.
pub(crate) fn upgrade(
    headers: &http::HeaderMap,
    on_upgrade: OnUpgrade,
    exec: ExecRequest,
    handler: ExecHandler,
) -> Result<http::response::Builder, ApiError> {
    let text = |name: http::header::HeaderName| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    let offered: Vec<&str> = text(http::header::SEC_WEBSOCKET_PROTOCOL)
        .split(',')
        .map(str::trim)
        .collect();
    let Some(protocol) = PROTOCOLS.iter().find(|p| offered.contains(p)) else {
        return Err(ApiError::bad_request(format!(
            "no known subprotocol among {offered:?}: want {PROTOCOLS:?}"
        )));
    };
    let accept = derive_accept_key(text(http::header::SEC_WEBSOCKET_KEY).as_bytes());
    tokio::spawn(async move {
        match on_upgrade.await {
            Ok(upgraded) => {
                run(
                    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None)
                        .await,
                    exec,
                    handler,
                )
                .await
            }
            Err(error) => tracing::debug!(%error, "exec: connection not upgraded"),
        }
    });
    Ok(http::Response::builder()
        .status(http::StatusCode::SWITCHING_PROTOCOLS)
        .header(http::header::CONNECTION, "Upgrade")
        .header(http::header::UPGRADE, "websocket")
        .header(http::header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(http::header::SEC_WEBSOCKET_PROTOCOL, *protocol))
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn run(socket: Socket, exec: ExecRequest, handler: ExecHandler) {
    let (mut sink, mut source) = socket.split();
    // What the client sends has no reader, but must not block it.
    let mut drain = tokio::spawn(async move { while let Some(Ok(_)) = source.next().await {} });
    let result = handler(exec);
    if !result.takes.is_zero() {
        tokio::time::sleep(result.takes).await;
    }
    let status = match result.ending {
        ExecEnding::Silence | ExecEnding::Never => Vec::new(),
        _ => result.status().to_string().into_bytes(),
    };
    for (channel, bytes) in [(1_u8, &result.stdout), (2, &result.stderr), (3, &status)] {
        for chunk in bytes.chunks(32 * 1024) {
            let mut frame = Vec::with_capacity(chunk.len() + 1);
            frame.push(channel);
            frame.extend_from_slice(chunk);
            if sink.send(Message::Binary(frame.into())).await.is_err() {
                drain.abort();
                return;
            }
        }
    }
    if result.ending == ExecEnding::Never {
        // Ends with the connection; a task that was cut off has nothing more to tell.
        let _left = (&mut drain).await;
        return;
    }
    if let Err(error) = sink.send(Message::Close(None)).await {
        tracing::debug!(%error, "exec: client left before the end");
    }
    // The client answers the close; give it a moment, then let go.
    let _ended = tokio::time::timeout(std::time::Duration::from_secs(5), drain).await;
}
