//! Ending runs by Ctrl-C.

use velero_core::CancellationToken;

use crate::cli::console;

/// A token that the first Ctrl-C, SIGTERM, or SIGHUP of a terminal that is gone fires. A second Ctrl-C or SIGTERM ends the
/// process at once.
pub(crate) fn stop_on_interrupt() -> CancellationToken {
    let cancel = CancellationToken::new();
    let fired = cancel.clone();
    tokio::spawn(async move {
        asked_to_stop(!ignores_hangups()).await;
        console::note("stopping");
        fired.cancel();
        // Shells and kernels send SIGHUP one after the other.
        asked_to_stop(false).await;
        console::note("stopped without cleaning up");
        std::process::exit(130);
    });
    cancel
}

/// Whether SIGHUP is not to end the process, as under `nohup`. Where that cannot be known it is left alone.
fn ignores_hangups() -> bool {
    std::fs::read_to_string("/proc/self/status").map_or(true, |status| ignored(&status))
}

/// Whether SIGHUP, the first of the signals, is among the ignored ones of a `/proc/self/status`.
fn ignored(status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 == 1)
}

#[cfg(unix)]
async fn asked_to_stop(hangups: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler the signal ends the process, as it does by default.
        return interrupted().await;
    };
    let mut hangup = hangups.then(|| signal(SignalKind::hangup()).ok()).flatten();
    let hung_up = async {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = interrupted() => {}
        _ = terminate.recv() => {}
        _ = hung_up => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_stop(_hangups: bool) {
    interrupted().await;
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_hangups_stay_ignored() {
        for (status, expected) in [
            ("Name:\tvelero\nSigIgn:\t0000000000001001\n", true),
            (
                "SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n",
                false,
            ),
            ("Name:\tvelero\n", true),
        ] {
            assert_eq!(ignored(status), expected, "{status}");
        }
    }
}
