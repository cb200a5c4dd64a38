//! The error of this crate.

use velero_core::result::chain;

/// What kind of failure an [`Error`] is, for callers that branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request asks for something that cannot be done.
    InvalidRequest,
    /// The archive cannot be read.
    Archive,
    /// Temporary space cannot be used.
    Spool,
    /// The API server cannot be talked to.
    Cluster,
    /// The world is not as a plan has found it.
    Moved,
    /// What an earlier attempt of the restore has left cannot be read.
    Journal,
    /// A part of the run ended in a way it should not.
    Internal,
}

/// What ends a restore as a whole. What concerns single items is a record in the result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is not valid; every fault that was found is in the list.
    #[error("the restore is not valid: {}", .messages.join("; "))]
    Invalid {
        /// One message for each fault.
        messages: Vec<String>,
    },
    /// The archive is damaged, cut short or cannot be read.
    #[error("cannot read the archive")]
    Archive {
        /// What is wrong with it.
        #[source]
        source: velero_core::Error,
    },
    /// The temporary file that holds the items cannot be written or read.
    #[error("cannot {operation} the spool in {}{}", .folder.display(), hint(.folder))]
    Spool {
        /// What was being done.
        operation: &'static str,
        /// The folder of the file.
        folder: std::path::PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The API server cannot be talked to.
    #[error("cannot {operation}")]
    Cluster {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: Box<velero_cluster::Error>,
    },
    /// The world is not as the plan has found it that is to be carried out. Nothing was restored.
    #[error("nothing was restored, as the plan does not hold any more for: {}", .objects.join("; "))]
    Moved {
        /// The objects, each with what has changed; the first ones where there are many.
        objects: Vec<String>,
    },
    /// What an earlier attempt of the restore has left cannot be read: hooks could be run a second time.
    #[error("cannot {operation}")]
    Journal {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: crate::JournalError,
    },
    /// A part of the run ended in a way it should not.
    #[error("{what} ended unexpectedly")]
    Internal {
        /// Which part.
        what: &'static str,
    },
}

/// How to choose another folder than the usual one for temporary files.
fn hint(folder: &std::path::Path) -> &'static str {
    if folder == std::env::temp_dir() {
        " (TMPDIR names another folder)"
    } else {
        ""
    }
}

impl Error {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::InvalidRequest,
            Self::Archive { .. } => ErrorKind::Archive,
            Self::Spool { .. } => ErrorKind::Spool,
            Self::Cluster { .. } => ErrorKind::Cluster,
            Self::Moved { .. } => ErrorKind::Moved,
            Self::Journal { .. } => ErrorKind::Journal,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the same run can succeed when repeated.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Archive { source } => source.is_retryable(),
            Self::Cluster { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    /// This error and its causes in one line.
    pub fn chain(&self) -> String {
        chain(self)
    }

    pub(crate) fn spool(
        operation: &'static str,
        folder: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let folder = folder.to_owned();
        move |source| Self::Spool {
            operation,
            folder,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_that_does_not_work_names_its_folder() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let usual = std::env::temp_dir();
        for (folder, hint) in [
            (usual.as_path(), " (TMPDIR names another folder)"),
            (std::path::Path::new("/chosen"), ""),
        ] {
            let text = Error::spool("write", folder)(full()).chain();
            let expected = format!("cannot write the spool in {}{hint}: ", folder.display());
            assert!(text.starts_with(&expected), "{text}");
        }
    }
}
