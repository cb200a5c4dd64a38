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
use velero_cluster::{Cluster, HookCommand};
use velero_core::api::HookStatus;
use velero_core::hook::{ExecHookCall, HookPhase};
use velero_core::result::{Record, Severity};

use crate::pod_facts::PodFacts;

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
    let name = format!("{phase} {call}");
    let hook = HookCommand {
        name: &name,
        namespace: &pod.namespace,
        pod: &pod.name,
        container,
        command: &call.command,
        timeout: call.timeout,
    };
    // A pod that has ended by now has nothing to freeze.
    cluster
        .run_hook(&hook)
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
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
