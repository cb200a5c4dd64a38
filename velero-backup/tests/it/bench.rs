//! Pods with hooks, and what is run in them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use velero_backup::artifacts;
use velero_testkit::{ApiServer, ExecEnding, ExecRequest, ExecResult};

use crate::support::*;

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// A cluster with the namespace `shop`, and what was run in its pods: `pod container command`.
pub(crate) struct Bench {
    pub(crate) server: ApiServer,
    pub(crate) log: Log,
}

impl Bench {
    pub(crate) fn new(answer: impl Fn(&ExecRequest) -> ExecResult + Send + Sync + 'static) -> Self {
        let log = Log::default();
        let lines = Arc::clone(&log);
        let server = ApiServer::builder()
            .exec(move |request| {
                let line = format!(
                    "{} {} {}",
                    request.pod,
                    request.container,
                    request.command.join("|")
                );
                lines.lock().unwrap().push(line);
                answer(&request)
            })
            .build();
        seed(&server, namespace("shop", json!({})));
        Self { server, log }
    }

    /// What was run since the last time.
    pub(crate) fn ran(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    pub(crate) fn pod(&self, name: &str, claims: &[&str], hooks: Value) {
        seed(&self.server, hooked(name, claims, hooks));
    }
}

/// A pod of `shop` with containers `c` and `d`, claims, and annotations given without `hook.backup.velero.io/`'s rest:
/// `{"pre.command": "x"}` stands for `pre.hook.backup.velero.io/command`.
pub(crate) fn hooked(name: &str, claims: &[&str], hooks: Value) -> Value {
    let mut pod = object("v1", "Pod", "shop", name, json!({"name": name}));
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]});
    let volumes = claims
        .iter()
        .map(|c| json!({"name": c, "persistentVolumeClaim": {"claimName": c}}));
    pod["spec"]["volumes"] = volumes.collect();
    for (key, value) in hooks.as_object().into_iter().flatten() {
        let (phase, field) = key.rsplit_once('.').unwrap_or(("", key));
        let dot = if phase.is_empty() { "" } else { "." };
        pod["metadata"]["annotations"][format!("{phase}{dot}hook.backup.velero.io/{field}")] =
            value.clone();
    }
    pod["status"] = json!({"phase": "Running"});
    pod
}

pub(crate) fn both() -> Value {
    json!({"pre.command": "freeze", "post.command": "thaw"})
}

/// What commands of certain names do; all others end well.
pub(crate) fn by_command(request: &ExecRequest) -> ExecResult {
    match request.command[0].as_str() {
        "bad" => ExecResult::failure(3, "no luck\n"),
        "text" => ExecResult::failure(7, "").ending(ExecEnding::Text),
        "none" => ExecResult::default().ending(ExecEnding::NotStarted("not found in $PATH".into())),
        "hang" => ExecResult::output("at work").ending(ExecEnding::Never),
        _ => ExecResult::default(),
    }
}

/// How many hooks were attempted, and how many failed, as the status tells it.
pub(crate) fn counts(done: &Done) -> (i64, i64) {
    let status = artifacts::final_status(&backup(json!({})), &done.result)
        .hook_status
        .unwrap();
    (status.hooks_attempted, status.hooks_failed)
}

/// Waits until a line is in the log.
pub(crate) async fn wait_for(log: &Log, line: &str) {
    for _ in 0..200 {
        if log.lock().unwrap().iter().any(|l| l == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{line:?} was never run: {:?}", log.lock().unwrap());
}
