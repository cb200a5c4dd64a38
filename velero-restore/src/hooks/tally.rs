//! The hooks of a run, and how each stands.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use velero_core::Timestamp;
use velero_core::api::HookStatus;
use velero_core::hook::{RestoreHookCall, count_distinct};
use velero_core::result::{Record, Severity};

/// How one hook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// It has not begun.
    Due,
    /// It has begun.
    Running,
    /// It ended well.
    Done,
    /// It failed, or will never be run.
    Failed,
}

/// One hook and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HookStanding {
    pub(super) hook: RestoreHookCall,
    pub(super) state: Standing,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
}

impl HookStanding {
    /// The container, which is known once the pod is.
    pub(super) fn container(&self) -> &str {
        self.hook.call.container.as_deref().unwrap_or_default()
    }

    fn is_open(&self) -> bool {
        matches!(self.state, Standing::Due | Standing::Running)
    }

    /// What is said of its failure.
    fn message(&self) -> String {
        let (call, container) = (&self.hook.call, self.container());
        if self.reason.contains(&format!("in container {container}")) {
            format!("{call}: {}", self.reason)
        } else {
            format!("{call} in container {container}: {}", self.reason)
        }
    }
}

/// A pod with hooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HookedPod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// When it was created, which waits count from.
    pub(super) since: Timestamp,
    pub(super) containers: Vec<String>,
    pub(super) hooks: Vec<HookStanding>,
}

impl HookedPod {
    fn failure(&self, hook: &HookStanding) -> Record {
        self.record(Severity::Error, hook.message())
    }

    pub(super) fn record(&self, severity: Severity, message: String) -> Record {
        let (namespace, name) = (self.namespace.as_str(), self.name.as_str());
        Record::item(severity, "pods", namespace, name, message)
    }

    fn count(&self, wanted: impl Fn(&HookStanding) -> bool) -> i64 {
        let calls = self
            .hooks
            .iter()
            .filter(|h| wanted(h))
            .map(|h| &h.hook.call);
        i64::try_from(count_distinct(calls)).unwrap_or(i64::MAX)
    }
}

/// The hooks of a restore as another process can go on with them: a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HookJournal {
    pub(super) pods: Vec<HookedPod>,
}

impl HookJournal {
    /// Whether there are no hooks.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}

/// The hooks of a run, and how each stands.
#[derive(Debug)]
pub(super) struct Tally {
    state: Mutex<State>,
    /// Hooks that have not ended.
    open: watch::Sender<usize>,
    /// Counts the changes.
    version: watch::Sender<u64>,
    /// The version that is kept elsewhere; hooks begin when their beginning is.
    kept: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    pods: Vec<HookedPod>,
    records: Vec<Record>,
    open: usize,
    /// The uids of the pods.
    uids: HashSet<String>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            open: watch::Sender::new(0),
            version: watch::Sender::new(0),
            kept: watch::Sender::new(u64::MAX),
        }
    }
}

impl Tally {
    /// Adds a pod and says its place. Hooks that have failed before are recorded again.
    pub(super) fn add(&self, pod: HookedPod) -> usize {
        self.change(|state| {
            let failed = pod.hooks.iter().filter(|h| h.state == Standing::Failed);
            let failed: Vec<Record> = failed.map(|h| pod.failure(h)).collect();
            state.records.extend(failed);
            state.open += pod.hooks.iter().filter(|h| h.is_open()).count();
            state.uids.insert(pod.uid.clone());
            state.pods.push(pod);
            state.pods.len() - 1
        })
    }

    /// Whether a pod was added before.
    pub(super) fn knows(&self, uid: &str) -> bool {
        self.lock().uids.contains(uid)
    }

    /// Notes something about a pod that is no failure of a hook.
    pub(super) fn record(&self, record: Record) {
        record.log();
        self.lock().records.push(record);
    }

    /// A pod as it stands.
    pub(super) fn pod(&self, place: usize) -> Option<HookedPod> {
        self.lock().pods.get(place).cloned()
    }

    /// Notes that a hook begins; gives the version that says so.
    pub(super) fn begin(&self, place: usize, at: usize) -> u64 {
        self.set(place, at, Standing::Running, "");
        *self.version.borrow()
    }

    pub(super) fn done(&self, place: usize, at: usize) {
        self.set(place, at, Standing::Done, "");
    }

    pub(super) fn fail(&self, place: usize, at: usize, reason: &str) {
        self.set(place, at, Standing::Failed, reason);
    }

    /// Fails all hooks of a pod that have not ended.
    pub(super) fn fail_open(&self, place: usize, reason: &str) {
        let pod = self.pod(place);
        for (at, hook) in pod.iter().flat_map(|pod| pod.hooks.iter().enumerate()) {
            if hook.is_open() {
                self.fail(place, at, reason);
            }
        }
    }

    /// Fails all hooks that have not ended.
    pub(super) fn fail_all(&self, reason: &str) {
        let pods = self.lock().pods.len();
        for place in 0..pods {
            self.fail_open(place, reason);
        }
    }

    fn set(&self, place: usize, at: usize, standing: Standing, reason: &str) {
        self.change(|state| {
            let pod = state.pods.get_mut(place)?;
            let hook = pod.hooks.get_mut(at)?;
            let was_open = hook.is_open();
            hook.state = standing;
            hook.reason = reason.to_owned();
            let closes = was_open && !hook.is_open();
            if standing == Standing::Failed {
                let record = pod.hooks.get(at).map(|hook| pod.failure(hook))?;
                record.log();
                state.records.push(record);
            }
            state.open -= usize::from(closes);
            Some(())
        });
    }

    /// Makes a change and tells of it, in one step for all who look.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let out = change(&mut state);
        self.version.send_modify(|version| *version += 1);
        self.open.send_replace(state.open);
        out
    }

    /// How many hooks have not ended.
    pub(super) fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until all hooks have ended.
    pub(super) async fn ended(&self) {
        // The sender is here.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }

    pub(super) fn counts(&self) -> HookStatus {
        let state = self.lock();
        let mut counts = HookStatus::default();
        for pod in &state.pods {
            counts.hooks_attempted += pod.count(|_| true);
            counts.hooks_failed += pod.count(|hook| hook.state == Standing::Failed);
        }
        counts
    }

    /// Pods with hooks that have not ended, by namespace.
    pub(super) fn waiting(&self) -> BTreeMap<String, usize> {
        let mut waiting = BTreeMap::new();
        for pod in &self.lock().pods {
            if pod.hooks.iter().any(HookStanding::is_open) {
                *waiting.entry(pod.namespace.clone()).or_default() += 1;
            }
        }
        waiting
    }

    /// What went wrong since the last time.
    pub(super) fn take_records(&self) -> Vec<Record> {
        std::mem::take(&mut self.lock().records)
    }

    /// All hooks as they stand, and which version that is.
    pub(super) fn journal(&self) -> (HookJournal, u64) {
        let version = *self.version.borrow();
        let pods = self.lock().pods.clone();
        (HookJournal { pods }, version)
    }

    /// Makes hooks wait until their beginning is kept, or not any more.
    pub(super) fn hold(&self, hold: bool) {
        self.kept.send_replace(if hold { 0 } else { u64::MAX });
    }

    pub(super) fn set_kept(&self, version: u64) {
        self.kept.send_modify(|kept| *kept = version.max(*kept));
    }

    /// Waits until a version is kept.
    pub(super) async fn kept(&self, version: u64) {
        let _ = self
            .kept
            .subscribe()
            .wait_for(|kept| *kept >= version)
            .await;
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(indexes: &[usize]) -> HookedPod {
        let hook = |index: &usize| {
            json!({"state": "Due", "hook": {"wait": null, "ready": false, "call": {"name": "h", "source": "Spec",
                "index": index, "container": "c", "command": ["x"], "on_error": null, "timeout": {"secs": 1, "nanos": 0}}}})
        };
        let hooks: Vec<_> = indexes.iter().map(hook).collect();
        let pod = json!({"namespace": "shop", "name": "web", "uid": "u", "since": "2026-01-01T00:00:00Z",
            "containers": ["c"], "hooks": hooks});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn only_hooks_that_were_added_count() {
        let tally = Tally::default();
        let place = tally.add(pod(&[0, 1, 1]));
        tally.fail(place, 9, "no such hook");
        tally.fail(place + 1, 0, "no such pod");
        assert_eq!((tally.open(), tally.take_records().len()), (3, 0));
        tally.begin(place, 0);
        tally.done(place, 0);
        assert_eq!(tally.open(), 2);
        tally.fail_open(place, "over");
        tally.fail_all("over again");
        let counts = tally.counts();
        assert_eq!((counts.hooks_attempted, counts.hooks_failed), (2, 1));
        let records = tally.take_records();
        assert_eq!((tally.open(), records.len()), (0, 2));
        assert_eq!(records[0].message, "hook \"h\"[1] in container c: over");
    }

    #[tokio::test]
    async fn the_end_is_told_once_all_have_ended() {
        let tally = Tally::default();
        tally.ended().await;
        let place = tally.add(pod(&[0]));
        let (ended, ()) = tokio::join!(tally.ended(), async {
            tokio::task::yield_now().await;
            tally.done(place, 0);
        });
        let () = ended;
        assert!(tally.waiting().is_empty());
    }
}
