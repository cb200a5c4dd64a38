//! Calls of a run that was cancelled: they end soon after.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Ends calls a little after their run was cancelled. Clones share the moment.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    token: CancellationToken,
    /// Time that calls under way still get.
    grace: Duration,
    /// When a call first saw that the run is cancelled.
    seen: Arc<OnceLock<Instant>>,
}

impl Cancel {
    pub(crate) fn new(token: CancellationToken, grace: Duration) -> Self {
        Self {
            token,
            grace,
            seen: Arc::default(),
        }
    }

    fn end(&self) -> Instant {
        *self.seen.get_or_init(Instant::now) + self.grace
    }

    /// Whether nothing is to be sent any more.
    pub(crate) fn is_over(&self) -> bool {
        self.token.is_cancelled() && Instant::now() >= self.end()
    }

    /// Waits until the run was cancelled and its calls have had their time since.
    pub(crate) async fn over(&self) {
        self.token.cancelled().await;
        tokio::time::sleep_until(self.end()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_share_the_time_after_the_cancel() {
        let token = CancellationToken::new();
        let cancel = Cancel::new(token.clone(), Duration::from_secs(2));
        let begun = Instant::now();
        assert!(!cancel.is_over());
        let fire = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            token.cancel();
        };
        tokio::join!(fire, cancel.over());
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        assert!(cancel.is_over());
        cancel.clone().over().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }
}
