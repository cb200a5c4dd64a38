//! The `velero` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Nothing else in the process installs one, so the first call cannot fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    velero_bin::cli::run(std::env::args_os())
}
