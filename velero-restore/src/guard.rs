//! Calls of code that is not ours.

use std::time::Duration;

use tokio::time::timeout;
use tracing::Instrument as _;
use velero_core::CancellationToken;

/// Makes a call as a task with a deadline, so that a panic or a hang is an error like any other.
pub(crate) async fn guarded<T, F>(
    call: F,
    limit: Duration,
    cancel: &CancellationToken,
) -> Result<T, String>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut task = tokio::spawn(call.in_current_span());
    let answer = tokio::select! {
        answer = timeout(limit, &mut task) => answer,
        () = cancel.cancelled() => {
            task.abort();
            return Err("cancelled".to_owned());
        }
    };
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err("it panicked".to_owned()),
        Err(_) => {
            task.abort();
            Err(format!("it gave no answer within {}s", limit.as_secs_f64()))
        }
    }
}
