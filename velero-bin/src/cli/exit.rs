//! How a command ended.

use std::process::ExitCode;

use velero_core::api::{BackupPhase, RestorePhase};

/// How a command that did what it was told ended. Other faults are errors and exit with 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well: 0.
    Success,
    /// What was waited for failed, or something that was asked for was not found: 1.
    Failure,
    /// What was waited for ended `PartiallyFailed`: 2.
    Partial,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
            Exit::Partial => Self::from(2),
        }
    }
}

impl From<&BackupPhase> for Exit {
    fn from(phase: &BackupPhase) -> Self {
        match phase {
            BackupPhase::Completed => Self::Success,
            BackupPhase::PartiallyFailed => Self::Partial,
            _ => Self::Failure,
        }
    }
}

impl From<&RestorePhase> for Exit {
    fn from(phase: &RestorePhase) -> Self {
        match phase {
            RestorePhase::Completed => Self::Success,
            RestorePhase::PartiallyFailed => Self::Partial,
            _ => Self::Failure,
        }
    }
}
