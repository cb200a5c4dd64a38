//! How the hooks of a restore stand, kept where the next process finds it.

use tokio::task::JoinHandle;
use tracing::Instrument as _;
use velero_core::CancellationToken;
use velero_core::result::chain;
use velero_persistence::{BackupStore, layout};
use velero_restore::{HookKeeper, RunningHooks};

/// Lies in the restore's own folder while its hooks go on.
const HOOKS: &str = "x-velero-hooks.json";

/// Most bytes of that file.
pub(super) const LIMIT: u64 = 256 << 20;

/// Where the file of a restore lies.
pub(super) fn hooks_key(restore: &str) -> String {
    layout::restore_dir(restore) + HOOKS
}

/// A task that writes down how hooks stand. Dropped, it ends, but for a write that has begun.
pub(super) struct Keeping {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeping {
    /// Begins to write, unless all hooks have ended.
    pub(super) fn start(
        hooks: &RunningHooks,
        store: &BackupStore,
        restore: &str,
        span: &tracing::Span,
    ) -> Option<Self> {
        if hooks.left() == 0 {
            return None;
        }
        let stop = CancellationToken::new();
        let key = hooks_key(restore);
        let writing = keep(hooks.keeper(), store.clone(), key, stop.clone());
        let task = tokio::spawn(writing.instrument(span.clone()));
        Some(Self { stop, task })
    }

    /// Ends it, and waits for a write that has begun: no other one comes after that.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(%error, "how hooks stand was not written to the end");
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes down how hooks stand. Where the store does not take it, hooks do not wait for that.
async fn keep(mut keeper: HookKeeper, store: BackupStore, key: String, stop: CancellationToken) {
    loop {
        let journal = tokio::select! {
            () = stop.cancelled() => return,
            journal = keeper.next() => journal,
        };
        let written = match serde_json::to_vec(&journal) {
            Ok(bytes) => store.store().put(&key, bytes.into()).await,
            Err(source) => Err(velero_persistence::Error::Encode {
                what: key.clone(),
                source,
            }),
        };
        if let Err(error) = written {
            tracing::warn!(
                error = chain(&error),
                "how the hooks of the restore stand is not in the store"
            );
        }
        keeper.kept();
    }
}

/// Removes the file; there is no need for it any more.
pub(super) async fn forget(hooks: &RunningHooks, store: &BackupStore, restore: &str) {
    if hooks.journal().is_empty() {
        return;
    }
    if let Err(error) = store.store().delete(&hooks_key(restore)).await {
        tracing::warn!(
            restore,
            error = chain(&error),
            "a file about hooks stays in the store; it does no harm"
        );
    }
}
