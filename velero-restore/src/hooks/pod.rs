//! The hooks of one pod, from its creation to the last of them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;
use velero_cluster::{HookCommand, HookEnd};

use super::Shared;
use super::next::{Next, Situation};
use super::tally::HookedPod;

/// Stands in for times that are too far away to be told.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Shared {
    /// Follows the pod at this place of the tally in a task of its own.
    pub(super) fn follow(self: &Arc<Self>, place: usize) {
        let shared = Arc::clone(self);
        let task = async move {
            let work = AssertUnwindSafe(shared.hooks_of(place)).catch_unwind();
            tokio::select! {
                () = shared.stop.cancelled() => {}
                outcome = work => if outcome.is_err() {
                    shared.tally.fail_open(place, "the restore broke off while it looked after this pod");
                }
            }
        };
        tokio::spawn(task.in_current_span());
    }

    async fn hooks_of(self: &Arc<Self>, place: usize) {
        let Some(pod) = self.tally.pod(place) else {
            return;
        };
        let mut seen = self.observe(&pod.namespace, &pod.name, &pod.uid);
        let waits = self.waits(&pod);
        while let Some(now) = self.tally.pod(place) {
            let known = seen.borrow_and_update().clone();
            let situation = Situation {
                hooks: &now.hooks,
                containers: &now.containers,
                waits: &waits,
                seen: &known,
                now: Instant::now(),
            };
            match situation.next() {
                Next::Run(at) => self.run(&now, place, at).await,
                Next::Fail(at, reason) => self.failed(&now, place, at, &reason),
                Next::End(reason) => {
                    let reason = format!("it was not run: {reason}");
                    self.tally.fail_open(place, &reason);
                }
                Next::Wait(until) => {
                    let changed = async {
                        if seen.changed().await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    };
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(until) => {}
                    }
                }
                Next::Rest => break,
            }
        }
        self.forget(&pod.namespace, &pod.name);
    }

    /// Until when each hook waits for its container, and how long that is in all.
    fn waits(&self, pod: &HookedPod) -> Vec<(Instant, Duration)> {
        let (now, elapsed) = (Instant::now(), (self.clock)().duration_since(pod.since));
        let elapsed = Duration::try_from(elapsed).unwrap_or_default();
        let wait = |own: Option<Duration>| {
            let wait = own.unwrap_or(self.wait);
            let rest = wait.saturating_sub(elapsed).min(FAR);
            (now + rest, wait)
        };
        pod.hooks.iter().map(|h| wait(h.hook.wait)).collect()
    }

    async fn run(&self, pod: &HookedPod, place: usize, at: usize) {
        let Some(standing) = pod.hooks.get(at) else {
            return;
        };
        let Ok(_permit) = self.commands.acquire().await else {
            return;
        };
        let version = self.tally.begin(place, at);
        self.tally.kept(version).await;
        let call = &standing.hook.call;
        let name = call.to_string();
        let command = HookCommand {
            name: &name,
            namespace: &pod.namespace,
            pod: &pod.name,
            container: standing.container(),
            command: &call.command,
            timeout: call.timeout.min(FAR),
        };
        match self.cluster.run_hook(&command).await {
            Ok(HookEnd::Done) => self.tally.done(place, at),
            Ok(HookEnd::PodEnded) => {
                self.failed(pod, place, at, "it was not run: the pod has run to its end");
            }
            Err(error) => self.failed(pod, place, at, &error.to_string()),
        }
    }

    /// Notes a failure, and what follows from it for the other hooks of the pod.
    fn failed(&self, pod: &HookedPod, place: usize, at: usize, reason: &str) {
        self.tally.fail(place, at, reason);
        let Some(call) = pod.hooks.get(at).map(|standing| &standing.hook.call) else {
            return;
        };
        if call.fails_pod() {
            let reason = format!("it was not run, because {call} has failed");
            self.tally.fail_open(place, &reason);
        }
    }
}
