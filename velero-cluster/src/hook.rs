//! Commands of hooks: run, logged, and their failures in one line. Backups and restores share this.

use std::time::Duration;

use velero_core::result::chain;

use crate::{Captured, Cluster, ErrorKind, ExecError, ExecOptions, ExecOutput};

/// Bytes of each output of a hook that are kept for the log.
const LOG_BYTES: usize = 4 << 10;

/// Bytes of a failing hook's output that its error holds.
const ERROR_BYTES: usize = 300;

/// A hook to run, and where.
#[derive(Debug, Clone, Copy)]
pub struct HookCommand<'a> {
    /// What it is called in the log, such as `pre hook "freeze"[0]`.
    pub name: &'a str,
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
    /// The command and its arguments; no shell splits them.
    pub command: &'a [String],
    /// Longest time from the request to the command's end. The command itself is not stopped by it.
    pub timeout: Duration,
}

/// How the run of a hook ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEnd {
    /// Its command ended with exit code 0.
    Done,
    /// Nothing was run: the pod has run to its end.
    PodEnded,
}

/// Why a hook failed: one line, with the beginning of what its command wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HookError {
    message: String,
    kind: ErrorKind,
}

impl HookError {
    /// The kind of this failure; [`ErrorKind::Other`] for a command that ended with another exit code than 0.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    fn other(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: ErrorKind::Other,
        }
    }
}

impl Cluster {
    /// Runs the command of a hook and waits for its end; what it writes goes into the log, cut to 4 KiB.
    ///
    /// # Errors
    /// When there is no command, it cannot be started, does not end in time, or ends with another exit code than 0.
    pub async fn run_hook(&self, hook: &HookCommand<'_>) -> Result<HookEnd, HookError> {
        let name = hook.name;
        if hook.command.is_empty() {
            return Err(HookError::other("it has no command"));
        }
        tracing::info!(
            resource = "pods",
            namespace = hook.namespace,
            name = hook.pod,
            container = hook.container,
            timeout_s = hook.timeout.as_secs_f64(),
            "{name}: running {:?}",
            hook.command
        );
        let options = ExecOptions::new(hook.command.iter().cloned())
            .container(hook.container)
            .timeout(hook.timeout)
            .output_limit(LOG_BYTES);
        let result = self.exec(hook.namespace, hook.pod, &options).await;
        let output = match &result {
            Ok(output) => Some(output),
            Err(error) => error.output(),
        };
        if let Some(output) = output {
            log(hook, output);
        }
        match result {
            Ok(output) if output.exit_code == 0 => Ok(HookEnd::Done),
            Ok(output) => Err(HookError::other(with_output(
                format!(
                    "exit code {} in container {}",
                    output.exit_code, hook.container
                ),
                Some(&output),
            ))),
            Err(error) if error.pod_has_ended() => {
                tracing::info!(
                    resource = "pods",
                    namespace = hook.namespace,
                    name = hook.pod,
                    "{name}: not run, because the pod has ended by now"
                );
                Ok(HookEnd::PodEnded)
            }
            Err(error) => Err(HookError {
                message: with_output(reason(&error), error.output()),
                kind: error.kind(),
            }),
        }
    }
}

fn reason(error: &ExecError) -> String {
    match error {
        ExecError::Refused(refused) => chain(refused),
        other => other.to_string(),
    }
}

fn with_output(reason: String, output: Option<&ExecOutput>) -> String {
    let Some(output) = output else {
        return reason;
    };
    let said = [&output.stderr, &output.stdout]
        .into_iter()
        .find(|o| !o.is_empty());
    match said {
        Some(said) => format!("{reason}: {}", one_line(&said.shortened(ERROR_BYTES))),
        None => reason,
    }
}

fn one_line(output: &Captured) -> String {
    output
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn log(hook: &HookCommand<'_>, output: &ExecOutput) {
    for (stream, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !text.is_empty() {
            tracing::info!(
                resource = "pods",
                namespace = hook.namespace,
                name = hook.pod,
                stream,
                "{}: {text}",
                hook.name
            );
        }
    }
}
