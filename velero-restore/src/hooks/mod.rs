//! Commands that run in the pods which a restore has created.
//!
//! Each pod with hooks has a task, which waits for its containers and runs their hooks; what pods do is seen by one watch
//! for each namespace. Tasks go on while other items are restored, and after that; every wait has a deadline. Mirrors
//! `internal/hook/wait_exec_hook_handler.go` of upstream, but that an error of one pod's hook is no matter for other pods.

mod kept;
mod next;
mod observe;
mod pod;
mod seen;
mod tally;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::DropGuard;
use velero_cluster::Cluster;
use velero_core::api::{HookStatus, Restore};
use velero_core::hook::{RestoreHookCall, RestoreHookRules};
use velero_core::names::valid_label_name;
use velero_core::operation::DEFAULT_OPERATION_TIMEOUT;
use velero_core::result::{Record, Severity};
use velero_core::{CancellationToken, ItemTree, RawItem, Timestamp};

use crate::journal::Ledger;
use crate::{Error, JournalEntries, RestoreOptions, RestoreRun};
use observe::Spaces;
use tally::{HookStanding, HookedPod, Standing, Tally};

pub use tally::HookJournal;

/// The hooks of a restore that are waited for, run, or done with. A cheap clone; when the last one goes, the work ends.
///
/// A hook waits for its container as long as it says; one that says nothing waits as long as the operations of the
/// restore may take (`spec.itemOperationTimeout`, or four hours).
#[derive(Clone)]
pub struct RunningHooks {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

/// What the tasks share.
struct Shared {
    cluster: Cluster,
    rules: RestoreHookRules,
    /// The value of the label that pods of this restore carry.
    label: String,
    /// Wait of hooks that say nothing.
    wait: Duration,
    poll: Duration,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    stop: CancellationToken,
    tally: Tally,
    /// Commands that may run at the same time.
    commands: Semaphore,
    /// Watches that may be open at the same time.
    watches: Semaphore,
    max_watches: usize,
    spaces: Spaces,
}

impl fmt::Debug for RunningHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningHooks")
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}

impl RunningHooks {
    /// Goes on with the hooks that another process has left.
    ///
    /// One that had begun has failed: whether it has done its work is not known, and it is not run again. Where the run has a
    /// [`Journal`](crate::Journal), it is kept how they stand from now on.
    ///
    /// # Errors
    /// When the spec of the restore has faults.
    pub fn resume(
        cluster: Cluster,
        restore: &Restore,
        journal: HookJournal,
        options: &RestoreOptions,
        run: &RestoreRun,
    ) -> Result<Self, Error> {
        let rules = RestoreHookRules::compile(&restore.spec.hooks)
            .map_err(|messages| Error::Invalid { messages })?;
        let hooks = Self::new(cluster, restore, rules, options, run);
        let entries = JournalEntries::default();
        let ledger = Arc::new(Ledger::of(run.journal.clone(), entries));
        if ledger.is_kept() {
            hooks.shared.tally.hold(true);
        }
        hooks.take_up(journal);
        hooks.keep_in(ledger, None);
        Ok(hooks)
    }

    /// Takes up the hooks of an earlier attempt.
    fn take_up(&self, journal: HookJournal) {
        for pod in journal.pods {
            let running: Vec<usize> = (0..pod.hooks.len())
                .filter(|at| pod.hooks[*at].state == Standing::Running)
                .collect();
            let place = self.shared.tally.add(pod);
            for at in running {
                let reason = "the restore was interrupted while it ran; whether it has done its work is not known, and it is not run again";
                self.shared.tally.fail(place, at, reason);
            }
            self.shared.follow(place);
        }
    }

    pub(crate) fn new(
        cluster: Cluster,
        restore: &Restore,
        rules: RestoreHookRules,
        options: &RestoreOptions,
        run: &RestoreRun,
    ) -> Self {
        let stop = run.cancel.child_token();
        let timeout = restore.spec.item_operation_timeout;
        let name = restore.metadata.name.as_deref().unwrap_or_default();
        let shared = Shared {
            cluster,
            rules,
            label: valid_label_name(name),
            wait: timeout.or(DEFAULT_OPERATION_TIMEOUT).to_std(),
            poll: options.poll_interval,
            clock: Arc::clone(&run.clock),
            stop: stop.clone(),
            tally: Tally::default(),
            commands: Semaphore::new(options.hooks_in_flight.max(1)),
            watches: Semaphore::new(options.hook_watches),
            max_watches: options.hook_watches,
            spaces: Spaces::default(),
        };
        Self {
            shared: Arc::new(shared),
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    /// Takes up the hooks of a pod that was just created, if it has any.
    pub(crate) fn pod_created(&self, pod: &RawItem) {
        let head = pod.head();
        if self.shared.tally.knows(&head.uid) {
            // An earlier attempt has created it.
            return;
        }
        let annotations = pod.annotations();
        let found = self
            .shared
            .rules
            .of_pod(&head.namespace, &head.labels, &annotations);
        if found.calls.is_empty() {
            return;
        }
        let containers = pod.tree().map(|tree| containers(&tree));
        let containers = containers.unwrap_or_default();
        let default = containers.first().cloned();
        let hooked = HookedPod {
            namespace: head.namespace.clone(),
            name: head.name.clone(),
            uid: head.uid.clone(),
            since: (self.shared.clock)(),
            containers,
            hooks: found
                .calls
                .into_iter()
                .map(|hook| due(hook, default.as_deref()))
                .collect(),
        };
        for warning in found.warnings {
            let record = hooked.record(Severity::Warning, warning);
            self.shared.tally.record(record);
        }
        let place = self.shared.tally.add(hooked);
        self.shared.follow(place);
    }

    /// How many hooks have not ended.
    pub fn left(&self) -> usize {
        self.shared.tally.open()
    }

    /// How many pods have hooks that have not ended, by namespace.
    pub fn waiting(&self) -> BTreeMap<String, usize> {
        self.shared.tally.waiting()
    }

    /// How many hooks there are and have failed, those that will never be run among them.
    pub fn counts(&self) -> HookStatus {
        self.shared.tally.counts()
    }

    /// Waits until all hooks have ended; they do not when the run is cancelled.
    pub async fn ended(&self) {
        self.shared.tally.ended().await;
    }

    /// What has gone wrong since this was last asked.
    pub fn take_records(&self) -> Vec<Record> {
        self.shared.tally.take_records()
    }

    /// Fails all hooks that have not ended, for a reason such as `the restore was cancelled`.
    pub fn give_up(&self, reason: &str) {
        self.shared
            .tally
            .fail_all(&format!("it was not run to its end: {reason}"));
    }

    /// The hooks as they stand, for [`RunningHooks::resume`].
    pub fn journal(&self) -> HookJournal {
        self.shared.tally.journal().0
    }

    /// Writes down how hooks stand, from now on: a hook begins when it is written that it does.
    pub fn keeper(&self) -> HookKeeper {
        self.shared.tally.hold(true);
        HookKeeper {
            changes: self.shared.tally.changes(),
            hooks: self.clone(),
            seen: None,
        }
    }
}

/// Hands out journals to be kept where another process finds them. Hooks wait for that before they begin; when this is
/// dropped they do not any more.
#[derive(Debug)]
pub struct HookKeeper {
    hooks: RunningHooks,
    changes: watch::Receiver<u64>,
    seen: Option<u64>,
}

impl HookKeeper {
    /// Waits for something new; the first journal comes at once.
    pub async fn next(&mut self) -> HookJournal {
        let seen = self.seen;
        // The sender lives as long as the hooks.
        let _ = self.changes.wait_for(|now| Some(*now) != seen).await;
        let (journal, version) = self.hooks.shared.tally.journal();
        self.seen = Some(version);
        journal
    }

    /// Says that the last journal is kept, or that it cannot be and nobody is to wait for it.
    pub fn kept(&self) {
        self.hooks
            .shared
            .tally
            .set_kept(self.seen.unwrap_or_default());
    }
}

impl Drop for HookKeeper {
    fn drop(&mut self) {
        self.hooks.shared.tally.hold(false);
    }
}

fn due(mut hook: RestoreHookCall, default: Option<&str>) -> HookStanding {
    let container = &mut hook.call.container;
    *container = container.take().or(default.map(str::to_owned));
    HookStanding {
        hook,
        state: Standing::Due,
        reason: String::new(),
    }
}

/// The containers that commands can run in: those of the pod, and init containers that go on beside them.
fn containers(pod: &ItemTree) -> Vec<String> {
    let name = |c: &Value| c.get("name").and_then(Value::as_str).map(str::to_owned);
    let stays = |c: &&Value| c.get("restartPolicy").and_then(Value::as_str) == Some("Always");
    let own = pod.array_at("/spec/containers").iter();
    let init = pod.array_at("/spec/initContainers").iter().filter(stays);
    own.chain(init).filter_map(name).collect()
}
