//! Running a command in a container, over a WebSocket.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use futures::future::{Either, select};
use http::{HeaderMap, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;
use velero_core::result::printable;

use crate::status;
use crate::{CallFailure, Cluster, Error, ErrorKind, Target};

/// How long output that is still on its way is waited for, once the command has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// Wait before a refused command is tried again, when the API server names none.
const PAUSE: Duration = Duration::from_secs(1);

/// Which command to run, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOptions {
    /// Container; empty stands for the only one, or the one that the pod names as its default.
    pub container: String,
    /// The command and its arguments; no shell splits them.
    pub command: Vec<String>,
    /// Longest time from the request to the command's end; 30 s. The command itself is not stopped by it.
    pub timeout: Duration,
    /// Bytes kept of each output; 64 KiB. The rest is read and counted.
    pub output_limit: usize,
}

impl ExecOptions {
    /// A command in the pod's only container.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(command: I) -> Self {
        Self {
            container: String::new(),
            command: command.into_iter().map(Into::into).collect(),
            timeout: Duration::from_secs(30),
            output_limit: 64 << 10,
        }
    }

    /// Sets the container.
    #[must_use]
    pub fn container(mut self, container: impl Into<String>) -> Self {
        self.container = container.into();
        self
    }

    /// Sets the longest time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many bytes of each output are kept.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }
}

/// What a command wrote to one of its outputs: its beginning, and how much came after that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The first bytes.
    pub bytes: Vec<u8>,
    /// How many bytes were cut off.
    pub cut: u64,
}

impl Captured {
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.cut == 0
    }

    /// The kept bytes as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// The same with at most `bytes` bytes kept.
    #[must_use]
    pub fn shortened(&self, bytes: usize) -> Self {
        let kept = self.bytes.len().min(bytes);
        Self {
            bytes: self.bytes[..kept].to_vec(),
            cut: self.cut + (self.bytes.len() - kept) as u64,
        }
    }

    fn push(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.cut += (bytes.len() - room) as u64;
    }
}

impl fmt::Display for Captured {
    /// The text without the white space at its ends, its control characters escaped, and how much is missing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.text().trim().replace("\r\n", "\n")))?;
        if self.cut > 0 {
            write!(f, " ... ({} more bytes)", self.cut)?;
        }
        Ok(())
    }
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOutput {
    /// What it wrote to its output.
    pub stdout: Captured,
    /// What it wrote to its error output.
    pub stderr: Captured,
    /// How it ended; 0 is success.
    pub exit_code: i32,
}

/// Why a command did not run to an end that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The API server refused, or could not be reached. The command has not run, as far as can be told.
    #[error(transparent)]
    Refused(Error),
    /// The command could not be started, or its end has no exit code.
    #[error("the command did not run: {message}")]
    Failed {
        /// What the container runtime says.
        message: String,
        /// What was written until then.
        output: Box<ExecOutput>,
    },
    /// The connection ended before the command did.
    #[error("the connection ended before the command did")]
    Broken {
        /// What was written until then.
        output: Box<ExecOutput>,
    },
    /// The command did not end in time. It may still run.
    #[error("the command did not end within {} s", timeout.as_secs_f64())]
    Timeout {
        /// The time it had.
        timeout: Duration,
        /// What was written until then.
        output: Box<ExecOutput>,
    },
}

impl ExecError {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(error) => error.kind(),
            Self::Failed { .. } => ErrorKind::Other,
            Self::Broken { .. } => ErrorKind::Unreachable,
            Self::Timeout { .. } => ErrorKind::Timeout,
        }
    }

    /// Whether nothing was run, so that the same command can be tried again. Whoever repeats anything else may run the
    /// command twice.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused(error) if error.kind() == ErrorKind::TooManyRequests)
    }

    /// Whether the pod has run to its end, so that no command can run in it.
    pub fn pod_has_ended(&self) -> bool {
        matches!(self, Self::Refused(error) if error.call().is_some_and(|c| c.code == 400 && c.message.contains("completed pod")))
    }

    /// What was written before it went wrong.
    pub fn output(&self) -> Option<&ExecOutput> {
        match self {
            Self::Refused(_) => None,
            Self::Failed { output, .. }
            | Self::Broken { output }
            | Self::Timeout { output, .. } => Some(output),
        }
    }
}

impl Cluster {
    /// Runs a command in a container and waits for its end.
    ///
    /// An exit code other than 0 is no error of this call. The command is started once: it is tried again only when
    /// the API server is shedding load and has not let it in. Commands do not count among the calls of the limiter,
    /// which they would hold for as long as they run. Dropping the future closes the connection; the command may go on.
    ///
    /// # Errors
    /// When the command cannot be started, does not end in time, or its end gets lost.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        options: &ExecOptions,
    ) -> Result<ExecOutput, ExecError> {
        let deadline = Instant::now() + options.timeout;
        let late = |output: ExecOutput| ExecError::Timeout {
            timeout: options.timeout,
            output: Box::new(output),
        };
        let target = Target {
            verb: "exec",
            resource: "pods".to_owned(),
            namespace: namespace.to_owned(),
            name: pod.to_owned(),
        };
        if self.is_dry_run() {
            return Err(ExecError::Refused(only_tried_out(target).into()));
        }
        let mut process = loop {
            let start = start(self.client(), &target, options);
            match tokio::time::timeout_at(deadline, start).await {
                Ok(Ok(process)) => break process,
                Ok(Err(failure)) => {
                    let wait = failure.retry_after.unwrap_or(PAUSE);
                    let error = ExecError::Refused(failure.into());
                    if !error.is_retryable() || Instant::now() + wait >= deadline {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                }
                Err(_) => return Err(late(ExecOutput::default())),
            }
        };
        let mut output = ExecOutput::default();
        let follow = follow(&mut process, options.output_limit, &mut output);
        match tokio::time::timeout_at(deadline, follow).await {
            Ok(status) => end(status, output),
            Err(_) => Err(late(output)),
        }
    }
}

/// There are no dry runs of commands.
fn only_tried_out(target: Target) -> CallFailure {
    CallFailure {
        kind: ErrorKind::Other,
        target,
        code: 0,
        message: "commands are not run where writes are only tried out".to_owned(),
        retry_after: None,
        maybe_done: false,
        continue_token: None,
        source: None,
    }
}

async fn start(
    client: &kube::Client,
    target: &Target,
    options: &ExecOptions,
) -> Result<AttachedProcess, CallFailure> {
    let params = AttachParams {
        container: Some(options.container.clone()).filter(|c| !c.is_empty()),
        max_stdout_buf_size: Some(32 << 10),
        max_stderr_buf_size: Some(32 << 10),
        ..AttachParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &target.namespace);
    pods.exec(&target.name, options.command.clone(), &params)
        .await
        .map_err(|error| refusal(target, error))
}

pub(crate) fn refusal(target: &Target, error: kube::Error) -> CallFailure {
    if let kube::Error::Api(answer) = &error {
        let details = answer.details.as_ref();
        let body = serde_json::json!({
            "kind": "Status", "message": answer.message, "reason": answer.reason,
            "details": {
                "name": details.map(|d| d.name.as_str()), "kind": details.map(|d| d.kind.as_str()),
                "retryAfterSeconds": details.map(|d| d.retry_after_seconds).filter(|s| *s > 0),
            },
        });
        let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return status::failure(target, code, &HeaderMap::new(), body.to_string().as_bytes());
    }
    let (kind, message) = match &error {
        kube::Error::Auth(_) => (ErrorKind::Unauthorized, "the credentials cannot be used"),
        kube::Error::UpgradeConnection(_) => (
            ErrorKind::Other,
            "the api server does not speak the websocket protocol for commands",
        ),
        _ => (ErrorKind::Unreachable, "no answer from the api server"),
    };
    CallFailure {
        kind,
        target: target.clone(),
        code: 0,
        message: message.to_owned(),
        retry_after: None,
        maybe_done: false,
        continue_token: None,
        source: Some(Box::new(error)),
    }
}

/// Reads both outputs until the command's end; gives what the API server says about the end, if it says anything.
async fn follow(
    process: &mut AttachedProcess,
    limit: usize,
    output: &mut ExecOutput,
) -> Option<Status> {
    let ended = process.take_status();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let ended = Box::pin(async move {
        match ended {
            Some(ended) => ended.await,
            None => None,
        }
    });
    let reads = Box::pin(futures::future::join(
        read(stdout, limit, &mut output.stdout),
        read(stderr, limit, &mut output.stderr),
    ));
    match select(ended, reads).await {
        Either::Left((status, reads)) => {
            // A connection that broke leaves the outputs without an end.
            let _ = tokio::time::timeout(LAST_OUTPUT, reads).await;
            status
        }
        Either::Right((_, ended)) => ended.await,
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, limit: usize, to: &mut Captured) {
    let Some(mut from) = from else {
        return;
    };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        to.push(&buffer[..count], limit);
    }
}

fn end(status: Option<Status>, mut output: ExecOutput) -> Result<ExecOutput, ExecError> {
    let Some(status) = status else {
        return Err(ExecError::Broken {
            output: Box::new(output),
        });
    };
    match exit_code(&status) {
        Some(code) => {
            output.exit_code = code;
            Ok(output)
        }
        None => Err(ExecError::Failed {
            message: one_line(status.message.as_deref().unwrap_or("no reason is given")),
            output: Box::new(output),
        }),
    }
}

/// The exit code in a command's last word: a cause of type `ExitCode` from a kubelet, text from other runtimes.
fn exit_code(status: &Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let cause = status
        .details
        .iter()
        .flat_map(|d| d.causes.iter().flatten())
        .find(|c| c.reason.as_deref() == Some("ExitCode"))
        .and_then(|c| c.message.as_deref())
        .and_then(|text| text.trim().parse().ok());
    cause.or_else(|| code_in_text(status.message.as_deref()?))
}

fn code_in_text(text: &str) -> Option<i32> {
    let (_, rest) = text.rsplit_once("exit status ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|code| *code != 0)
}

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    printable(&words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn exit_codes_in_all_forms() {
        let failure = |message: &str, causes: serde_json::Value| json!({"status": "Failure", "reason": "NonZeroExitCode", "message": message, "details": {"causes": causes}});
        let code = |text: &str| json!([{"reason": "ExitCode", "message": text}]);
        for (status, expected) in [
            (json!({"status": "Success"}), Some(0)),
            (
                failure(
                    "command terminated with non-zero exit code: exit status 3",
                    code("3"),
                ),
                Some(3),
            ),
            (failure("command terminated", code("126")), Some(126)),
            (failure("command terminated", code("x")), None),
            (
                json!({"status": "Failure", "reason": "InternalError", "message": "exit status 7"}),
                Some(7),
            ),
            (
                json!({"status": "Failure", "message": "Internal error occurred: failed to exec: exit status 12\n"}),
                Some(12),
            ),
            (
                json!({"status": "Failure", "message": "exit status 0"}),
                None,
            ),
            (
                json!({"status": "Failure", "message": "executable file not found in $PATH"}),
                None,
            ),
            (json!({"status": "Failure"}), None),
        ] {
            let parsed: Status = serde_json::from_value(status.clone()).unwrap();
            assert_eq!(exit_code(&parsed), expected, "{status}");
        }
    }

    #[test]
    fn output_is_cut_and_says_so() {
        let mut captured = Captured::default();
        captured.push(b"hello ", 8);
        captured.push(b"world\n", 8);
        captured.push(b"more", 8);
        assert_eq!((captured.text().as_ref(), captured.cut), ("hello wo", 8));
        assert_eq!(
            captured.shortened(5).to_string(),
            "hello ... (11 more bytes)"
        );
        assert_eq!(captured.shortened(50), captured);
        assert!(Captured::default().is_empty() && !captured.is_empty());
    }

    #[test]
    fn output_does_not_speak_to_terminals() {
        let mut captured = Captured::default();
        captured.push(b" \x1b[31mRED\r\n\tb\rc\0\x07\xc2\x9b\n", 100);
        let text = "\\u{1b}[31mRED\n\tb\\rc\\u{0}\\u{7}\\u{9b}";
        assert_eq!(captured.to_string(), text);
        assert_eq!(one_line("a\n b\x1b[0m"), "a b\\u{1b}[0m");
    }
}
