//! What every controller does around its own decisions: watch, errors, backoff, end.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use kube::Resource as _;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Error as ControllerError};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use tokio::sync::Notify;
use velero_core::api::VeleroKind;

use super::context::Context;
use super::objects::{ApiError, without_managers};
use super::stores::StoreError;

/// Shortest and longest pause after a reconcile that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Why a reconcile did not come to its end; it is tried again.
#[derive(Debug)]
pub(super) struct Retry(pub(super) anyhow::Error);

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Retry {}

impl From<anyhow::Error> for Retry {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl From<ApiError> for Retry {
    fn from(error: ApiError) -> Self {
        Self(error.into())
    }
}

impl From<StoreError> for Retry {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl From<velero_persistence::Error> for Retry {
    fn from(error: velero_persistence::Error) -> Self {
        Self(error.into())
    }
}

/// One controller: reconciles objects of a kind by name.
pub(super) trait Reconciler: Clone + Send + Sync + 'static {
    /// The kind.
    type Kind: VeleroKind;

    /// Brings one object a step further. The object is read by the reconciler itself: what the watch saw may be old.
    fn reconcile(
        &self,
        context: &Context,
        name: &str,
    ) -> impl Future<Output = Result<Action, Retry>> + Send;

    /// Whether an object as the watch saw it needs no look: any change of it comes with another event.
    fn is_settled(&self, _seen: &Self::Kind) -> bool {
        false
    }

    /// Whether the pause after a failure is kept also when the object changes meanwhile.
    fn waits_out_failures(&self) -> bool {
        false
    }

    /// An object is gone that was to be looked at again.
    fn gone(&self, _context: &Context, _name: &str) {}

    /// Looks at all objects again whenever this is notified.
    fn all_on(&self, _context: &Context) -> Option<Arc<Notify>> {
        None
    }
}

struct Shared<R> {
    reconciler: R,
    context: Context,
    failures: Mutex<HashMap<String, Failures>>,
}

/// How an object has failed again and again.
struct Failures {
    count: u32,
    /// When it is tried again.
    due: tokio::time::Instant,
}

impl<R: Reconciler> Shared<R> {
    fn failures(&self) -> MutexGuard<'_, HashMap<String, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an object that has failed is still left alone.
    fn pause_left(&self, name: &str) -> Option<Duration> {
        if !self.reconciler.waits_out_failures() {
            return None;
        }
        let due = self.failures().get(name)?.due;
        let left = due.saturating_duration_since(tokio::time::Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// Runs a controller until the server stops.
pub(super) async fn run<R: Reconciler>(reconciler: R, context: Context)
where
    <R::Kind as kube::Resource>::DynamicType: Eq + Hash + Clone + fmt::Debug + Unpin,
{
    let stopping = context.stopping.clone();
    let (reader, writer) = reflector::store();
    let seen = watcher(context.objects.api::<R::Kind>(), watcher::Config::default())
        .modify(|object| without_managers(object.meta_mut()))
        .reflect(writer)
        .applied_objects();
    let mut controller = Controller::for_stream(seen, reader)
        .graceful_shutdown_on(async move { stopping.cancelled().await });
    if let Some(notify) = reconciler.all_on(&context) {
        controller = controller.reconcile_all_on(notifications(notify));
    }
    let shared = Arc::new(Shared {
        reconciler,
        context,
        failures: Mutex::default(),
    });
    let after = shared.clone();
    controller
        .run(reconcile::<R>, backoff::<R>, shared)
        .for_each(|outcome| {
            match outcome {
                Ok(_) | Err(ControllerError::RunnerError(_)) => {}
                Err(ControllerError::ObjectNotFound(object)) => {
                    after.failures().remove(&object.name);
                    after.reconciler.gone(&after.context, &object.name);
                }
                Err(ControllerError::ReconcilerFailed(error, object)) => {
                    tracing::warn!(kind = R::Kind::KIND, object = %object.name, %error, "will be tried again");
                }
                Err(ControllerError::QueueError(error)) => {
                    tracing::warn!(kind = R::Kind::KIND, error = %velero_core::result::chain(&error), "the watch broke");
                }
            }
            std::future::ready(())
        })
        .await;
}

fn notifications(notify: Arc<Notify>) -> impl Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(notify, |notify| async move {
        notify.notified().await;
        Some(((), notify))
    })
}

async fn reconcile<R: Reconciler>(
    object: Arc<R::Kind>,
    shared: Arc<Shared<R>>,
) -> Result<Action, Retry> {
    let name = object.meta().name.clone().unwrap_or_default();
    if shared.context.stopping.is_cancelled() || shared.reconciler.is_settled(&object) {
        return Ok(Action::await_change());
    }
    if let Some(left) = shared.pause_left(&name) {
        return Ok(Action::requeue(left));
    }
    let step = shared.reconciler.reconcile(&shared.context, &name);
    // A panic ends this step only; the server and the other objects go on.
    let outcome = match AssertUnwindSafe(step).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => Err(Retry(anyhow::anyhow!(
            "panicked: {}",
            panic_text(panic.as_ref())
        ))),
    };
    if outcome.is_ok() {
        shared.failures().remove(&name);
    }
    outcome
}

fn backoff<R: Reconciler>(object: Arc<R::Kind>, _: &Retry, shared: Arc<Shared<R>>) -> Action {
    let name = object.meta().name.clone().unwrap_or_default();
    let mut failures = shared.failures();
    let now = tokio::time::Instant::now();
    let failures = failures
        .entry(name)
        .or_insert(Failures { count: 0, due: now });
    let pause = BACKOFF
        .0
        .saturating_mul(1 << failures.count.min(16))
        .min(BACKOFF.1);
    failures.count = failures.count.saturating_add(1);
    failures.due = now + pause;
    Action::requeue(pause)
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
