//! The error of this crate.

use std::{error::Error as StdError, io};

type Source = Box<dyn StdError + Send + Sync>;

/// What kind of failure an [`Error`] is, for callers that branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A text given by a user does not have the form it should.
    InvalidInput,
    /// An object is not the JSON object that Kubernetes would serve.
    InvalidItem,
    /// An archive is damaged, cut short or unsafe to unpack.
    InvalidArchive,
    /// Reading or writing bytes failed.
    Io,
}

/// What can go wrong while parsing items, selectors, filters and archives.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text does not have the form that its field needs.
    #[error("invalid {field} {value:?}: {reason}")]
    Invalid {
        /// The field, flag or kind of text.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// An object is not a Kubernetes object in JSON.
    #[error("{what} is not a kubernetes object: {reason}")]
    Item {
        /// Which object, as far as known.
        what: String,
        /// What is missing or wrong.
        reason: String,
        /// The parser's error, where there is one.
        #[source]
        source: Option<Source>,
    },
    /// An archive cannot be read.
    #[error("archive {reason}")]
    Archive {
        /// What is wrong and where.
        reason: String,
        /// The reader's error, where there is one.
        #[source]
        source: Option<Source>,
    },
    /// Bytes could not be read or written.
    #[error("{operation} failed")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::InvalidInput,
            Self::Item { .. } => ErrorKind::InvalidItem,
            Self::Archive { .. } => ErrorKind::InvalidArchive,
            Self::Io { .. } => ErrorKind::Io,
        }
    }

    /// Whether the same call can succeed when repeated.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), io::ErrorKind::Interrupted | io::ErrorKind::TimedOut))
    }

    pub(crate) fn invalid(
        field: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field,
            value: value.into(),
            reason: reason.into(),
        }
    }

    /// The same fault, told of the field that the text is part of.
    pub(crate) fn in_field(self, outer: &'static str) -> Self {
        match self {
            Self::Invalid {
                field,
                value,
                reason,
            } => Self::invalid(outer, value, format!("{field}: {reason}")),
            other => other,
        }
    }

    pub(crate) fn item(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Item {
            what: what.into(),
            reason: reason.into(),
            source: None,
        }
    }

    pub(crate) fn archive(reason: impl Into<String>) -> Self {
        Self::Archive {
            reason: reason.into(),
            source: None,
        }
    }
}
