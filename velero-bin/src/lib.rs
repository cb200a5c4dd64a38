//! The `velero` binary as a library: command line, direct mode, operator and sandbox. Wiring only; the work is done
//! in the crates below it.

pub mod cli;
pub mod features;
pub mod logfile;
pub mod runs;
pub mod server;

mod coverage;
mod direct;
mod install;
mod passed_on;
mod report;
#[cfg(feature = "sandbox")]
mod sandbox;
