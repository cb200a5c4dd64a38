//! Keeping how hooks stand, beside what else a restore remembers.

use std::sync::Arc;

use tracing::Instrument as _;

use super::{HookJournal, RunningHooks, Shared};
use crate::journal::Ledger;

/// What is kept: the versions of the hooks and of the rest.
type Versions = (u64, u64);

impl RunningHooks {
    /// Goes on with the hooks of an earlier attempt, and keeps how all stand in a ledger. A first state is kept when this
    /// returns; from then on a hook begins when it is kept that it does.
    pub(crate) async fn write_down(&self, ledger: &Arc<Ledger>, earlier: HookJournal) {
        if ledger.is_kept() {
            self.shared.tally.hold(true);
        }
        self.take_up(earlier);
        if ledger.is_kept() {
            let versions = self.shared.keep(ledger).await;
            self.keep_in(Arc::clone(ledger), Some(versions));
        }
    }

    /// Keeps how hooks stand in a task of its own, for as long as they go on. `versions` are kept already.
    pub(super) fn keep_in(&self, ledger: Arc<Ledger>, versions: Option<Versions>) {
        if !ledger.is_kept() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let keeping = async move {
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = shared.keep_all(&ledger, versions) => {}
            }
            ledger.close();
        };
        tokio::spawn(keeping.in_current_span());
    }
}

impl Shared {
    async fn keep_all(&self, ledger: &Ledger, versions: Option<Versions>) {
        let (mut hooks, mut others) = (self.tally.changes(), ledger.changes());
        let mut versions = match versions {
            Some(versions) => versions,
            None => self.keep(ledger).await,
        };
        loop {
            // Both senders are here.
            tokio::select! {
                _ = hooks.wait_for(|now| *now != versions.0) => {}
                _ = others.wait_for(|now| *now != versions.1) => {}
            }
            versions = self.keep(ledger).await;
        }
    }

    async fn keep(&self, ledger: &Ledger) -> Versions {
        let (journal, version) = self.tally.journal();
        let other = ledger.keep(journal).await;
        self.tally.set_kept(version);
        (version, other)
    }
}
