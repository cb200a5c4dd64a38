//! The counts of a run under way, written into its resource now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinHandle;
use velero_core::api::VeleroKind;
use velero_core::{CancellationToken, Progress, ProgressUpdate};

use super::context::Context;
use super::objects::{ApiError, Lock};

/// Periods without progress after which it is looked whether the object is still there.
const QUIET_PERIODS: u32 = 5;

/// The latest counts of a run.
#[derive(Debug, Default)]
pub(super) struct Counts {
    total: AtomicU64,
    done: AtomicU64,
}

impl Counts {
    fn get(&self) -> ProgressUpdate {
        ProgressUpdate {
            total: self.total.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
        }
    }
}

impl Progress for Counts {
    fn update(&self, update: ProgressUpdate) {
        self.total.store(update.total, Ordering::Relaxed);
        self.done.store(update.done, Ordering::Relaxed);
    }
}

/// Writes counts while a run is under way.
pub(super) struct ProgressWriter {
    counts: Arc<Counts>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ProgressWriter {
    /// Begins to write the counts into `object`, at most once a period and only when they have changed.
    ///
    /// When the object is gone the run is cancelled: nobody wants its outcome any more.
    pub(super) fn start<K: VeleroKind>(
        context: &Context,
        object: &K,
        cancel: CancellationToken,
        write: fn(&mut K, ProgressUpdate),
    ) -> Self {
        let (counts, stop) = (Arc::new(Counts::default()), CancellationToken::new());
        let task = tokio::spawn(write_loop(
            context.clone(),
            object.clone(),
            Arc::clone(&counts),
            stop.clone(),
            cancel,
            write,
        ));
        Self { counts, stop, task }
    }

    /// Where the run reports to.
    pub(super) fn progress(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.counts) as Arc<dyn Progress>
    }

    /// Ends writing and waits for a write under way, so that it cannot come after the final one.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the progress was not written to its end");
        }
    }
}

async fn write_loop<K: VeleroKind>(
    context: Context,
    object: K,
    counts: Arc<Counts>,
    stop: CancellationToken,
    cancel: CancellationToken,
    write: fn(&mut K, ProgressUpdate),
) {
    let mut tick = tokio::time::interval(context.settings.progress_period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = ProgressUpdate::default();
    let mut quiet = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // A run that ends has no progress to tell of; another server may have it.
            () = cancel.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = counts.get();
        let outcome = if now != written {
            let mut changed = object.clone();
            write(&mut changed, now);
            context
                .objects
                .patch(&object, &changed, Lock::SameObject)
                .await
                .map(|_| ())
        } else if quiet < QUIET_PERIODS {
            quiet += 1;
            continue;
        } else {
            still_there(&context, &object).await
        };
        quiet = 0;
        match outcome {
            Ok(()) => written = now,
            Err(error) if error.is_not_found() || error.is_conflict() => {
                tracing::warn!(%error, "the resource is gone: its run is cancelled");
                cancel.cancel();
                return;
            }
            Err(error) => tracing::debug!(%error, "the progress could not be written"),
        }
    }
}

/// Looks whether the object of a run that makes no progress is still there.
async fn still_there<K: VeleroKind>(context: &Context, object: &K) -> Result<(), ApiError> {
    let name = object.meta().name.clone().unwrap_or_default();
    match context.objects.get::<K>(&name).await? {
        Some(found) if found.meta().uid == object.meta().uid => Ok(()),
        _ => Err(ApiError::gone::<K>(&name)),
    }
}
