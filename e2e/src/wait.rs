//! Waiting with a deadline.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(100);

/// Calls `check` until it gives a value, at most for `deadline`.
///
/// `Ok(None)` and `Err` both mean "not yet"; the error of the last try is part of
/// the error text, which begins with `what`.
pub async fn eventually<T, F, Fut>(what: &str, deadline: Duration, mut check: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        let last = match tokio::time::timeout(left.max(PAUSE), check()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => None,
            Ok(Err(err)) => Some(format!("{err:#}")),
            Err(_) => Some("no answer".to_owned()),
        };
        if start.elapsed() >= deadline {
            match last {
                Some(err) => bail!("{what}: not within {deadline:?}; last: {err}"),
                None => bail!("{what}: not within {deadline:?}"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
