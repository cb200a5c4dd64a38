//! How long a leader may act.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use velero_core::CancellationToken;

/// The time since the machine has started, with that in which it was suspended.
pub(super) fn now() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// This server does not lead any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this server does not lead any more: its Lease was not renewed in time, or went to another one"
)]
pub(in crate::server) struct NotLeading;

/// What a leader passes before each request to the API server and to stores. Once it is shut it never opens again.
///
/// A cheap clone; clones are one fence.
#[derive(Debug, Clone)]
pub(in crate::server) struct Fence(Option<Arc<Term>>);

#[derive(Debug)]
struct Term {
    /// The end, in nanoseconds of [`now`]; 0 before the first term has begun.
    until: AtomicU64,
    shut: CancellationToken,
}

impl Fence {
    /// One that is open for ever, for a server that is the only one.
    pub(in crate::server) fn open() -> Self {
        Self(None)
    }

    /// One that is not open yet.
    pub(super) fn closed() -> Self {
        Self(Some(Arc::new(Term {
            until: AtomicU64::new(0),
            shut: CancellationToken::new(),
        })))
    }

    /// Opens it, or leaves it open, until then.
    pub(super) fn open_until(&self, until: Duration) {
        if let Self(Some(term)) = self {
            let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
            term.until.store(nanos, Ordering::SeqCst);
        }
    }

    /// Shuts it for good.
    pub(super) fn close(&self) {
        if let Self(Some(term)) = self {
            term.shut.cancel();
        }
    }

    /// Whether one may pass.
    ///
    /// # Errors
    /// When the time is over, or was at any time before.
    pub(in crate::server) fn check(&self) -> Result<(), NotLeading> {
        let Self(Some(term)) = self else {
            return Ok(());
        };
        let until = Duration::from_nanos(term.until.load(Ordering::SeqCst));
        if term.shut.is_cancelled() {
            return Err(NotLeading);
        }
        if now() < until {
            return Ok(());
        }
        if until > Duration::ZERO {
            term.shut.cancel();
        }
        Err(NotLeading)
    }

    /// Waits until it is shut for good.
    pub(in crate::server) async fn shut(&self) {
        match self {
            Self(Some(term)) => term.shut.cancelled().await,
            Self(None) => std::future::pending().await,
        }
    }

    /// Whether it is there to keep others out: then no other server of the namespace acts while this one does.
    pub(in crate::server) fn excludes_others(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it is shut for good.
    pub(in crate::server) fn is_shut(&self) -> bool {
        self.0.as_ref().is_some_and(|term| term.shut.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_that_was_shut_stays_shut() {
        assert_eq!(Fence::open().check(), Ok(()));
        assert!(!Fence::open().excludes_others());
        let fence = Fence::closed();
        assert_eq!(fence.check(), Err(NotLeading));
        assert!(!fence.is_shut(), "it has not been open yet");
        fence.open_until(now() + Duration::from_secs(60));
        assert_eq!(fence.clone().check(), Ok(()));
        fence.open_until(now());
        assert_eq!(fence.check(), Err(NotLeading));
        fence.open_until(now() + Duration::from_secs(60));
        assert_eq!(fence.check(), Err(NotLeading), "what is over is over");
        assert!(fence.is_shut());
        let given_back = Fence::closed();
        given_back.open_until(now() + Duration::from_secs(60));
        given_back.close();
        assert_eq!(given_back.check(), Err(NotLeading));
    }
}
