//! Running hooks: in tasks of their own, and never left half-way.
//!
//! A pod whose pre hooks have begun gets its post hooks however the run ends: a database that was frozen for its backup
//! must not stay frozen because the backup failed, was cancelled or was dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::task::AbortHandle;
use tracing::Instrument as _;
use velero_cluster::{Captured, Cluster, ExecError, ExecOptions, ExecOutput};
use velero_core::api::HookStatus;
use velero_core::hook::{ExecHookCall, HookPhase};
use velero_core::result::{Record, Severity, chain};

use crate::pod_facts::PodFacts;

/// Bytes of each output of a hook that are kept for the log.
const LOG_BYTES: usize = 4 << 10;

/// Bytes of a failing hook's output that its record holds.
const RECORD_BYTES: usize = 300;

type Pods = Vec<Arc<PodFacts>>;

/// What came of the hooks of one phase of a block.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The place of the block among those under way.
    pub(crate) place: usize,
    /// The pods that go on, and those that a failing hook stops.
    pub(crate) passed: Pods,
    pub(crate) stopped: Pods,
    pub(crate) records: Vec<Record>,
    counts: HookStatus,
}

/// A phase that has ended.
#[derive(Debug)]
pub(crate) enum Step {
    Pre(Outcome),
    Post(Outcome),
}

/// The hooks of a run: those under way, and what has to be run before the run may end.
pub(crate) struct Hooks {
    cluster: Cluster,
    tasks: FuturesUnordered<BoxFuture<'static, Step>>,
    /// Blocks whose pre hooks have begun and whose post hooks have not.
    open: BTreeMap<usize, Pods>,
    /// Tasks that may be ended before their time.
    abort: BTreeMap<usize, AbortHandle>,
    counts: HookStatus,
}

impl Hooks {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            tasks: FuturesUnordered::new(),
            open: BTreeMap::new(),
            abort: BTreeMap::new(),
            counts: HookStatus::default(),
        }
    }

    /// How many hooks there were so far.
    pub(crate) fn counts(&self) -> HookStatus {
        self.counts.clone()
    }

    /// How many blocks have hooks under way.
    pub(crate) fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Starts the pre hooks of a block.
    pub(crate) fn start_pre(&mut self, place: usize, pods: Pods) {
        self.open.insert(place, pods.clone());
        let abort = self.start(place, pods, HookPhase::Pre);
        self.abort.insert(place, abort);
    }

    /// Starts the post hooks of a block, for the pods that have passed its pre hooks.
    pub(crate) fn start_post(&mut self, place: usize, pods: Pods) {
        self.open.remove(&place);
        if pods.iter().any(|pod| !pod.post.calls.is_empty()) {
            self.start(place, pods, HookPhase::Post);
        }
    }

    fn start(&mut self, place: usize, pods: Pods, phase: HookPhase) -> AbortHandle {
        let cluster = self.cluster.clone();
        let own = pods.clone();
        let task = async move { run(&cluster, place, own, phase).await };
        let task = tokio::spawn(task.in_current_span());
        let abort = task.abort_handle();
        self.tasks.push(Box::pin(async move {
            let outcome = task
                .await
                .unwrap_or_else(|error| lost(place, pods, phase, &error));
            match phase {
                HookPhase::Pre => Step::Pre(outcome),
                HookPhase::Post => Step::Post(outcome),
            }
        }));
        abort
    }

    /// The next phase that ends; `None` when none is under way.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        let step = self.tasks.next().await?;
        let (Step::Pre(outcome) | Step::Post(outcome)) = &step;
        self.counts.hooks_attempted += outcome.counts.hooks_attempted;
        self.counts.hooks_failed += outcome.counts.hooks_failed;
        if let Step::Pre(outcome) = &step {
            self.abort.remove(&outcome.place);
            self.open.insert(outcome.place, outcome.passed.clone());
        }
        Some(step)
    }

    /// Runs the post hooks that are still due, and waits for those under way: each has its own timeout. For runs that
    /// do not come to their end. Gives what went wrong.
    pub(crate) async fn finish(&mut self) -> Vec<Record> {
        let (due, running) = self.take_due();
        release(self.cluster.clone(), due, running).await
    }

    fn take_due(&mut self) -> (Pods, FuturesUnordered<BoxFuture<'static, Step>>) {
        for (_, abort) in std::mem::take(&mut self.abort) {
            abort.abort();
        }
        let due = std::mem::take(&mut self.open).into_values().flatten();
        (due.collect(), std::mem::take(&mut self.tasks))
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (due, running) = self.take_due();
        // Without a runtime nothing can be run any more; the process is ending then.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let release = release(self.cluster.clone(), due, running);
            let logged = async { release.await.iter().for_each(Record::log) };
            runtime.spawn(logged.in_current_span());
        }
    }
}

/// Stands in for the answer of a task that gave none, and the pods go on: the backup was ended meanwhile, or it is a fault
/// of this program.
fn lost(place: usize, pods: Pods, phase: HookPhase, error: &tokio::task::JoinError) -> Outcome {
    let records = pods.iter().map(|pod| {
        let message = if error.is_cancelled() {
            format!(
                "the backup was ended while its {phase} hooks ran; whether they have done their work is not known"
            )
        } else {
            format!("its {phase} hooks ended without an answer: {error}")
        };
        record(Severity::Error, pod, message)
    });
    Outcome {
        place,
        records: records.collect(),
        passed: pods,
        ..Outcome::default()
    }
}

/// Runs post hooks, all at the same time, and waits for phases under way; gives what went wrong.
async fn release(
    cluster: Cluster,
    due: Pods,
    running: FuturesUnordered<BoxFuture<'static, Step>>,
) -> Vec<Record> {
    let due = due
        .into_iter()
        .filter(|pod| !pod.post.calls.is_empty())
        .map(|pod| async {
            tracing::info!(
                resource = "pods",
                namespace = pod.namespace,
                name = pod.name,
                "the backup ends early; the pod's post hooks run before that"
            );
            run(&cluster, 0, vec![pod], HookPhase::Post).await.records
        });
    let running = running.map(|(Step::Pre(outcome) | Step::Post(outcome))| outcome.records);
    let (due, running): (Vec<Vec<Record>>, Vec<Vec<Record>>) =
        futures::join!(join_all(due), running.collect());
    running.into_iter().chain(due).flatten().collect()
}

/// Runs the hooks of some pods for one phase, one after the other.
async fn run(cluster: &Cluster, place: usize, pods: Pods, phase: HookPhase) -> Outcome {
    let mut out = Outcome {
        place,
        ..Outcome::default()
    };
    for pod in pods {
        let hooks = pod.hooks(phase);
        for warning in &hooks.warnings {
            out.records
                .push(record(Severity::Warning, &pod, warning.clone()));
        }
        let (mut failed, mut stopped) = (Vec::new(), false);
        for (at, call) in hooks.calls.iter().enumerate() {
            let Err(reason) = run_one(cluster, &pod, phase, call).await else {
                continue;
            };
            failed.push(at);
            stopped = call.fails_pod();
            let left = hooks.calls.len() - at - 1;
            let message = format!(
                "{phase} {call}: {reason}; {}",
                consequence(phase, stopped, left)
            );
            out.records.push(record(Severity::Error, &pod, message));
            if stopped {
                break;
            }
        }
        out.counts.hooks_attempted += whole(hooks.count());
        out.counts.hooks_failed += whole(hooks.count_of(failed));
        if stopped && phase == HookPhase::Pre {
            out.stopped.push(pod);
        } else {
            out.passed.push(pod);
        }
    }
    out
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn consequence(phase: HookPhase, stopped: bool, left: usize) -> String {
    let others = match left {
        _ if !stopped => String::new(),
        0 => String::new(),
        1 => ", and one more hook is not run".to_owned(),
        more => format!(", and {more} more hooks are not run"),
    };
    match (phase, stopped) {
        (HookPhase::Pre, true) => format!("the pod is left out of the backup{others}"),
        (HookPhase::Pre, false) => "the pod is backed up all the same".to_owned(),
        (HookPhase::Post, _) => format!("the pod is in the backup{others}"),
    }
}

fn record(severity: Severity, pod: &PodFacts, message: String) -> Record {
    Record::item(
        severity,
        "pods",
        pod.namespace.as_str(),
        pod.name.as_str(),
        message,
    )
}

/// Runs one hook; the error says in one line what went wrong.
async fn run_one(
    cluster: &Cluster,
    pod: &PodFacts,
    phase: HookPhase,
    call: &ExecHookCall,
) -> Result<(), String> {
    if pod.has_ended() {
        tracing::info!(
            resource = "pods",
            namespace = pod.namespace,
            name = pod.name,
            "{phase} {call}: not run, because the pod has ended"
        );
        return Ok(());
    }
    let container = container(pod, call)?;
    if call.command.is_empty() {
        return Err("it has no command".to_owned());
    }
    tracing::info!(
        resource = "pods",
        namespace = pod.namespace,
        name = pod.name,
        container,
        timeout_s = call.timeout.as_secs_f64(),
        "{phase} {call}: running {:?}",
        call.command
    );
    let options = ExecOptions::new(call.command.iter().cloned())
        .container(container)
        .timeout(call.timeout)
        .output_limit(LOG_BYTES);
    let result = cluster.exec(&pod.namespace, &pod.name, &options).await;
    let output = match &result {
        Ok(output) => Some(output),
        Err(error) => error.output(),
    };
    if let Some(output) = output {
        log(pod, &format!("{phase} {call}"), output);
    }
    match result {
        Ok(output) if output.exit_code == 0 => Ok(()),
        Ok(output) => Err(with_output(
            format!("exit code {} in container {container}", output.exit_code),
            Some(&output),
        )),
        Err(error) if error.pod_has_ended() => {
            tracing::info!(
                resource = "pods",
                namespace = pod.namespace,
                name = pod.name,
                "{phase} {call}: not run, because the pod has ended by now"
            );
            Ok(())
        }
        Err(error) => Err(with_output(reason(&error), error.output())),
    }
}

fn container<'a>(pod: &'a PodFacts, call: &'a ExecHookCall) -> Result<&'a str, String> {
    match &call.container {
        Some(name) if pod.containers.contains(name) => Ok(name),
        Some(name) => Err(format!(
            "the pod has no container {name:?}; it has {}",
            pod.containers.join(", ")
        )),
        None => pod
            .containers
            .first()
            .map(String::as_str)
            .ok_or_else(|| "the pod has no containers".to_owned()),
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
        Some(said) => format!("{reason}: {}", one_line(&said.shortened(RECORD_BYTES))),
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

fn log(pod: &PodFacts, hook: &str, output: &ExecOutput) {
    for (stream, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !text.is_empty() {
            tracing::info!(
                resource = "pods",
                namespace = pod.namespace,
                name = pod.name,
                stream,
                "{hook}: {text}"
            );
        }
    }
}
