//! A store that has stopped answering, and how long requests wait for it then.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Age at which a finding that nobody has confirmed is out of date.
const RELENT: Duration = Duration::from_secs(300);

/// Bytes a second at which a body is allowed to be sent while the store is taken for silent.
const SLOW: f64 = (1 << 20) as f64;

/// What the operations on one store know of its silence.
///
/// Once an operation has given up because no answer came, each further request has one short try, until anything is answered.
#[derive(Debug)]
pub(crate) struct Silence {
    short: Duration,
    /// When an operation gave up last, with no answer to any since.
    gave_up: Mutex<Option<Instant>>,
}

impl Silence {
    pub(crate) fn new(short: Duration) -> Self {
        Self {
            short,
            gave_up: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.gave_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store has answered a request.
    pub(crate) fn answered(&self, store: &str) {
        if self.lock().take().is_some() {
            tracing::info!(store, "the store answers again");
        }
    }

    /// An operation has ended because no answer came.
    pub(crate) fn gave_up(&self, store: &str) {
        if self.lock().replace(Instant::now()).is_none() {
            tracing::warn!(
                store,
                "the store has stopped answering: requests get one try of {} s each until it does",
                self.short.as_secs_f64()
            );
        }
    }

    /// How long a request with a body of so many bytes may wait; `None` while the store is not taken for silent.
    pub(crate) fn limit(&self, body: usize) -> Option<Duration> {
        let mut gave_up = self.lock();
        if gave_up.is_some_and(|at| at.elapsed() >= RELENT) {
            *gave_up = None;
        }
        let more = (body as f64 / SLOW).floor();
        gave_up.map(|_| self.short + Duration::from_secs_f64(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_it_and_large_bodies_have_longer() {
        let silence = Silence::new(Duration::from_secs(10));
        assert_eq!(silence.limit(0), None);
        silence.gave_up("s");
        assert_eq!(silence.limit(0), Some(Duration::from_secs(10)));
        assert_eq!(silence.limit(1000), Some(Duration::from_secs(10)));
        assert_eq!(silence.limit(8 << 20), Some(Duration::from_secs(18)));
        silence.answered("s");
        assert_eq!(silence.limit(0), None);
        if let Some(long_ago) = Instant::now().checked_sub(RELENT) {
            *silence.lock() = Some(long_ago);
            assert_eq!(silence.limit(0), None);
        }
    }
}
