//! Calls of code that others have written: each in a task of its own, under a deadline.
//!
//! A call that panics, or that holds its thread, costs its own answer and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::Instrument as _;
use velero_core::action::ActionError;
use velero_core::result::chain;

/// Makes a call; `None` when it does not end in time.
pub(crate) async fn guarded<T: Send + 'static>(
    timeout: Duration,
    call: impl Future<Output = Result<T, ActionError>> + Send + 'static,
) -> Option<Result<T, String>> {
    let task = tokio::spawn(call.in_current_span());
    let _guard = AbortOnDrop(task.abort_handle());
    Some(match tokio::time::timeout(timeout, task).await.ok()? {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(chain(&error)),
        Err(error) if error.is_panic() => Err(format!(
            "it panicked: {}",
            panic_text(error.into_panic().as_ref())
        )),
        Err(_) => Err("it was stopped".to_owned()),
    })
}

/// As [`guarded`]; no answer in time is an error, too.
pub(crate) async fn answer<T: Send + 'static>(
    timeout: Duration,
    call: impl Future<Output = Result<T, ActionError>> + Send + 'static,
) -> Result<T, String> {
    let late = || Err(format!("no answer within {} s", timeout.as_secs_f64()));
    guarded(timeout, call).await.unwrap_or_else(late)
}

/// Makes a call that waits for nothing; of a panic it gives what that says.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panic_text(panic.as_ref()).to_owned())
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Ends a task whose answer nobody waits for any more.
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
