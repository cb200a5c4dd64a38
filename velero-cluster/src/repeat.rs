//! Which calls are sent again after a failure, and when.

use std::time::Duration;

use crate::ErrorKind;

/// How often a write is repeated after the API server failed by itself.
pub(crate) const MAX_WRITE_FAILURES: u32 = 3;

/// What a repeat of a call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A read: repeating changes nothing.
    Free,
    /// A read that is better made smaller than repeated when no answer came in time.
    Smaller,
    /// A write that has the same outcome when repeated, or complains in a way that callers can tell apart.
    Telling,
    /// A write that must not be sent again unless the API server says that it did nothing.
    Never,
}

impl Repeat {
    /// Whether a call of this kind may change something.
    pub(crate) fn is_write(self) -> bool {
        matches!(self, Self::Telling | Self::Never)
    }
}

/// Whether it is open if the API server carried the call out.
pub(crate) fn is_unclear(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable | ErrorKind::Unreachable | ErrorKind::Timeout
    )
}

/// Whether a call that has failed so often, lastly in this way, may be sent again.
pub(crate) fn may_repeat(repeat: Repeat, kind: ErrorKind, failures: u32) -> bool {
    match (repeat, kind) {
        (_, ErrorKind::TooManyRequests) => true,
        (Repeat::Smaller, ErrorKind::Timeout) => false,
        (Repeat::Free | Repeat::Smaller, kind) => kind.is_retryable(),
        // A failing admission webhook answers 500 each time: no use in waiting for it until the deadline.
        (Repeat::Telling, ErrorKind::Unavailable) => failures < MAX_WRITE_FAILURES,
        (Repeat::Telling, kind) => kind.is_retryable(),
        (Repeat::Never, _) => false,
    }
}

/// 100 ms doubling to 5 s, less up to half of it, so that calls which failed together do not come back together.
pub(crate) fn backoff(failures: u32, salt: &str) -> Duration {
    use std::hash::{Hash as _, Hasher as _};
    let full = Duration::from_millis(100)
        .saturating_mul(1 << failures.saturating_sub(1).min(6))
        .min(Duration::from_secs(5));
    let mut hasher = std::hash::DefaultHasher::new();
    (salt, failures).hash(&mut hasher);
    full - full.mul_f64((hasher.finish() % 1000) as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_repeated() {
        use ErrorKind::*;
        for (repeat, kind, failures, expected) in [
            (Repeat::Free, Unreachable, 50, true),
            (Repeat::Free, Unavailable, 50, true),
            (Repeat::Free, NotFound, 1, false),
            (Repeat::Free, Gone, 1, false),
            (Repeat::Smaller, Timeout, 1, false),
            (Repeat::Smaller, Unavailable, 9, true),
            (Repeat::Telling, Unreachable, 5, true),
            (Repeat::Telling, Unavailable, 2, true),
            (Repeat::Telling, Unavailable, 3, false),
            (Repeat::Telling, Conflict, 1, false),
            (Repeat::Never, Unreachable, 1, false),
            (Repeat::Never, TooManyRequests, 1, true),
        ] {
            assert_eq!(
                may_repeat(repeat, kind, failures),
                expected,
                "{repeat:?} {kind:?} {failures}"
            );
        }
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        for failures in [1, 2, 10, 1000] {
            let wait = backoff(failures, "/api");
            assert!(
                wait >= Duration::from_millis(50) && wait <= Duration::from_secs(5),
                "{failures}: {wait:?}"
            );
        }
        assert!(backoff(6, "/a") > backoff(1, "/a"));
    }
}
