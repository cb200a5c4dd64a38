//! Calls of code that is not ours.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument as _;
use velero_core::CancellationToken;
use velero_core::operation::Answer;

/// Makes a call as a task, so that a panic is an error like any other; `None` when it does not end in time. A call that
/// nobody waits for any more is ended.
pub(crate) async fn in_time<T, F>(limit: Duration, call: F) -> Answer<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    // What is dropped with the set is ended.
    let mut tasks = JoinSet::new();
    tasks.spawn(call.in_current_span());
    let answer = timeout(limit, tasks.join_next()).await.ok()??;
    Some(answer.unwrap_or_else(|_| Err("it panicked".to_owned())))
}

/// As [`in_time`]; a hang is an error too, and so is the end of the run.
pub(crate) async fn guarded<T, F>(
    call: F,
    limit: Duration,
    cancel: &CancellationToken,
) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let late = || Err(format!("it gave no answer within {}s", limit.as_secs_f64()));
    tokio::select! {
        answer = in_time(limit, call) => answer.unwrap_or_else(late),
        () = cancel.cancelled() => Err("cancelled".to_owned()),
    }
}
