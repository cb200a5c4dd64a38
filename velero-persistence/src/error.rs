//! The error of this crate and the kinds callers branch on.

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for callers that decide by kind rather than by text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object is not in the store.
    NotFound,
    /// The bucket, container or root folder does not exist.
    BucketNotFound,
    /// The store refuses the credentials, there are none, or they lack the right.
    PermissionDenied,
    /// A setting is missing, unknown or has a value that cannot work.
    ConfigInvalid,
    /// The store does not answer: connection refused, time-out, TLS failure, server error.
    Unreachable,
    /// A conditional write found the object there already.
    AlreadyExists,
    /// This kind of store cannot do it.
    Unsupported,
    /// The data is there but cannot be what it should be.
    Corrupt,
    /// Anything else.
    Other,
}

/// Everything that can fail in this crate.
///
/// Texts are one line, name the store and the object, and never hold a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of a location is wrong.
    #[error("{field} {value:?} is not valid: {expected}")]
    Config {
        /// The setting, as the user spells it: `config.region`, `store URL`.
        field: String,
        /// The value found, empty when it is missing; never a secret.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The object is not in the store.
    #[error("{store}: object {key:?} does not exist")]
    NotFound {
        /// The store, as [`crate::ObjectStore::describe`] prints it.
        store: String,
        /// The full key.
        key: String,
    },
    /// The bucket or root folder is not there.
    #[error("{store}: {detail}")]
    BucketNotFound {
        /// The store.
        store: String,
        /// Which bucket or folder is missing, and what to do.
        detail: String,
    },
    /// The store refuses the caller, or no credentials could be found.
    #[error("{store}: cannot {operation}: access denied: {detail}")]
    PermissionDenied {
        /// The store.
        store: String,
        /// What was attempted, with the key when there is one.
        operation: String,
        /// What the store said.
        detail: String,
    },
    /// The store gives no usable answer.
    #[error("{store}: cannot {operation}: the store cannot be reached: {detail}")]
    Unreachable {
        /// The store.
        store: String,
        /// What was attempted, with the key when there is one.
        operation: String,
        /// The cause: refused, timed out, name not known, certificate not trusted.
        detail: String,
    },
    /// A write that must create the object found it there.
    #[error("{store}: object {key:?} already exists")]
    AlreadyExists {
        /// The store.
        store: String,
        /// The full key.
        key: String,
    },
    /// A backup of this name is complete in the store.
    #[error("{store}: backup {backup:?} already exists in object storage")]
    BackupExists {
        /// The store.
        store: String,
        /// The backup's name.
        backup: String,
    },
    /// Another writer holds the name.
    #[error(
        "{store}: backup {backup:?} is being written by {holder:?}{details}; wait for it, or choose another name"
    )]
    BackupReserved {
        /// The store.
        store: String,
        /// The backup's name.
        backup: String,
        /// Who holds it.
        holder: String,
        /// What else is known of the holder, in brackets with a space in front; may be empty.
        details: String,
    },
    /// A writer has lost its claim on a name.
    #[error("{store}: the claim on backup {backup:?} is lost: {detail}")]
    ReservationLost {
        /// The store.
        store: String,
        /// The backup's name.
        backup: String,
        /// What has become of it.
        detail: String,
    },
    /// The store has no such ability.
    #[error("{store}: cannot {operation}: {detail}")]
    Unsupported {
        /// The store.
        store: String,
        /// What was attempted.
        operation: String,
        /// Why not, and what to do instead.
        detail: String,
    },
    /// The object's bytes are not what its name promises.
    #[error("{store}: object {key:?} is damaged: {detail}")]
    Corrupt {
        /// The store.
        store: String,
        /// The full key.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The object is larger than the caller accepts.
    #[error("{store}: object {key:?} holds more than {limit} bytes, the limit for it")]
    TooLarge {
        /// The store.
        store: String,
        /// The full key.
        key: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The root of the location holds folders that are not ours.
    #[error("{store}: {detail}")]
    InvalidLayout {
        /// The store.
        store: String,
        /// Which folders, and which are allowed.
        detail: String,
    },
    /// A name or key that cannot be one.
    #[error("{what} {value:?} is not valid: {expected}")]
    InvalidName {
        /// What it names: `object key`, `backup name`.
        what: &'static str,
        /// The value found.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Some of many deletions failed; the others were done.
    #[error("{store}: {} of {attempted} objects below {prefix:?} could not be deleted, the first because: {}", errors.len(), first(errors))]
    DeleteIncomplete {
        /// The store.
        store: String,
        /// The full prefix.
        prefix: String,
        /// How many objects were to be deleted.
        attempted: usize,
        /// One error for each object left.
        errors: Vec<Error>,
    },
    /// A value could not be turned into JSON.
    #[error("cannot encode {what} as JSON")]
    Encode {
        /// The artifact.
        what: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// Any other answer of the store.
    #[error("{store}: cannot {operation}: {detail}")]
    Store {
        /// The store.
        store: String,
        /// What was attempted, with the key when there is one.
        operation: String,
        /// What the store said.
        detail: String,
        /// Whether a later attempt can succeed.
        retryable: bool,
    },
}

fn first(errors: &[Error]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

impl Error {
    /// Adds what a failed operation leaves in the store.
    pub(crate) fn leaving(mut self, what: &str) -> Self {
        if let Self::Unreachable { detail, .. }
        | Self::PermissionDenied { detail, .. }
        | Self::Store { detail, .. } = &mut self
        {
            *detail = format!("{detail}; {what}");
        }
        self
    }

    /// Says what kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::InvalidName { .. } | Self::InvalidLayout { .. } => {
                ErrorKind::ConfigInvalid
            }
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::BucketNotFound { .. } => ErrorKind::BucketNotFound,
            Self::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::AlreadyExists { .. }
            | Self::BackupExists { .. }
            | Self::BackupReserved { .. }
            | Self::ReservationLost { .. } => ErrorKind::AlreadyExists,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Corrupt { .. } | Self::TooLarge { .. } => ErrorKind::Corrupt,
            Self::DeleteIncomplete { errors, .. } => {
                errors.first().map_or(ErrorKind::Other, Self::kind)
            }
            Self::Encode { .. } | Self::Store { .. } => ErrorKind::Other,
        }
    }

    /// Says whether the same call may succeed later without anybody changing a setting.
    ///
    /// Calls have repeated temporary failures already when they return one.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BackupReserved { .. } => true,
            Self::Store { retryable, .. } => *retryable,
            Self::DeleteIncomplete { errors, .. } => errors.iter().any(Self::is_retryable),
            _ => false,
        }
    }

    /// Says whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    pub(crate) fn config(
        field: impl Into<String>,
        value: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Config {
            field: field.into(),
            value: value.into(),
            expected: expected.into(),
        }
    }
}
