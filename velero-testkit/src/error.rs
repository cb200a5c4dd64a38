//! Failures of the test kit itself; answers of the server are `Status` objects.

/// What went wrong, for callers that branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Text that should be YAML or JSON is not, or is no Kubernetes object.
    Parse,
    /// The server refused an object.
    Refused,
    /// A socket could not be opened.
    Io,
}

/// Failure of an operation of the test kit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A document is not YAML or JSON.
    #[error("document {index} is neither YAML nor JSON: {reason}")]
    Parse {
        /// Position of the document in the text, from 0.
        index: usize,
        /// What the parser said.
        reason: String,
    },
    /// A document lacks what every object needs.
    #[error("document {index} is no Kubernetes object: {reason}")]
    NotAnObject {
        /// Position of the document in the text, from 0.
        index: usize,
        /// What is missing.
        reason: String,
    },
    /// The server refused an object.
    #[error("{object} refused with {code}: {message}")]
    Refused {
        /// Kind and name of the object.
        object: String,
        /// HTTP code of the answer.
        code: u16,
        /// Message of the `Status`.
        message: String,
    },
    /// A loopback port could not be opened.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address that was asked for.
        addr: std::net::SocketAddr,
        /// The reason given by the system.
        source: std::io::Error,
    },
}

impl Error {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse { .. } | Self::NotAnObject { .. } => ErrorKind::Parse,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Listen { .. } => ErrorKind::Io,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: 409 | 429 | 500..=599,
                ..
            } | Self::Listen { .. }
        )
    }
}
