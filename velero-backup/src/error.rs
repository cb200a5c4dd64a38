//! The error of this crate.

use std::io;

/// What kind of failure an [`Error`] is, for callers that branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The backup asks for something that cannot be done.
    Invalid,
    /// The cluster does not answer or refuses.
    Cluster,
    /// The archive cannot be written.
    Sink,
    /// The run was cancelled.
    Cancelled,
}

/// Why a backup did not come about at all. What concerns single kinds and items is a record of the result instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backup asks for something that cannot be done.
    #[error("the backup cannot be run: {}", faults.join("; "))]
    Invalid {
        /// Each thing that is wrong: the content of `status.validationErrors`.
        faults: Vec<String>,
    },
    /// The cluster does not answer or refuses.
    #[error("{operation} failed")]
    Cluster {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: Box<velero_cluster::Error>,
    },
    /// The archive cannot be written.
    #[error("the archive cannot be written")]
    Archive {
        /// The cause.
        #[source]
        source: velero_core::Error,
    },
    /// The place that the archive goes to refuses it, or its writer is gone.
    #[error("the archive's destination failed")]
    Sink {
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The run was cancelled; no complete archive was written.
    #[error("the backup was cancelled")]
    Cancelled,
}

impl Error {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Cluster { .. } => ErrorKind::Cluster,
            Self::Archive { .. } | Self::Sink { .. } => ErrorKind::Sink,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// Whether the same backup can succeed when run again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Cluster { source, .. } => source.is_retryable(),
            Self::Archive { source } => source.is_retryable(),
            _ => false,
        }
    }
}
