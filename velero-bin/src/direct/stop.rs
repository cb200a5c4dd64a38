//! Ending runs by Ctrl-C.

use velero_core::CancellationToken;

use crate::cli::console;

/// A token that the first Ctrl-C, or SIGTERM, fires. A second Ctrl-C ends the process at once.
pub(crate) fn stop_on_interrupt() -> CancellationToken {
    let cancel = CancellationToken::new();
    let fired = cancel.clone();
    tokio::spawn(async move {
        asked_to_stop().await;
        console::note("stopping");
        fired.cancel();
        asked_to_stop().await;
        console::note("stopped without cleaning up");
        std::process::exit(130);
    });
    cancel
}

#[cfg(unix)]
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler the signal ends the process, as it does by default.
        return interrupted().await;
    };
    tokio::select! {
        () = interrupted() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_stop() {
    interrupted().await;
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
