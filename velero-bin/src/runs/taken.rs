//! The end of the work on something that another process has taken over.

use velero_core::CancellationToken;

/// Says that another process has taken a restore over, and stops the work of this one. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct TakenOver {
    fired: CancellationToken,
    work: CancellationToken,
}

impl TakenOver {
    /// Stops `work` when it is fired.
    pub(crate) fn new(work: CancellationToken) -> Self {
        Self {
            fired: CancellationToken::new(),
            work,
        }
    }

    /// Says so.
    pub(crate) fn fire(&self) {
        self.fired.cancel();
        self.work.cancel();
    }

    /// Whether anybody has said so.
    pub(crate) fn is_fired(&self) -> bool {
        self.fired.is_cancelled()
    }
}
