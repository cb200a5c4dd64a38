//! The error of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use velero_core::GroupResource;

use crate::contact::NoAnswer;

pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// What kind of failure an [`Error`] is, for callers that branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object does not exist.
    NotFound,
    /// An object of that name exists already.
    AlreadyExists,
    /// The object has changed since it was read, or a precondition does not hold.
    Conflict,
    /// The API server refuses the content.
    Invalid,
    /// The credentials do not allow the call.
    Forbidden,
    /// There are no valid credentials.
    Unauthorized,
    /// The API server is shedding load.
    TooManyRequests,
    /// A continue token or resource version is too old.
    Gone,
    /// The namespace is being deleted, nothing can be created in it.
    Terminating,
    /// The API server failed by itself (5xx).
    Unavailable,
    /// No answer came: no connection, or it broke.
    Unreachable,
    /// The API server's certificate is not trusted, or TLS fails otherwise.
    Untrusted,
    /// No answer came in time.
    Timeout,
    /// The API server does not serve the resource, or not with this verb.
    Unserved,
    /// The run that the call was for has been cancelled.
    Cancelled,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Whether the same call can succeed when repeated later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::TooManyRequests | Self::Unavailable | Self::Unreachable | Self::Timeout
        )
    }
}

/// What a call was about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// `get`, `list`, `create`, `update`, `patch`, `delete`, `discover`.
    pub verb: &'static str,
    /// `configmaps`, `deployments.apps`, or a path where no resource is meant.
    pub resource: String,
    /// Namespace, empty for cluster-scoped objects and cluster-wide lists.
    pub namespace: String,
    /// Name, empty for lists.
    pub name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match (self.namespace.is_empty(), self.name.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => write!(f, " {}", self.name),
            (false, true) => write!(f, " in namespace {}", self.namespace),
            (false, false) => write!(f, " {}/{}", self.namespace, self.name),
        }
    }
}

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {target}: {message}")]
#[non_exhaustive]
pub struct CallFailure {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What the call was about.
    pub target: Target,
    /// HTTP code, 0 when no answer came.
    pub code: u16,
    /// The API server's message, or what happened to the connection.
    pub message: String,
    /// How long the API server asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether an earlier try of the same call got no clear answer, so that what the API server now complains about
    /// (`AlreadyExists`, `Conflict`, `NotFound` of a delete) may be our own doing.
    pub maybe_done: bool,
    /// The continue token that a `Gone` answer to a list offers, to go on without consistency.
    pub continue_token: Option<String>,
    /// The cause, where there is one.
    #[source]
    pub source: Option<Source>,
}

/// What can go wrong while talking to an API server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call did not succeed.
    #[error(transparent)]
    Call(Box<CallFailure>),
    /// The API server does not serve a resource.
    #[error("the api server does not serve {resource}")]
    Unserved {
        /// The resource.
        resource: GroupResource,
    },
    /// A client cannot be made of its configuration.
    #[error("the cluster configuration cannot be used")]
    Config {
        /// Why.
        #[source]
        source: Source,
    },
    /// The API server's answer is not what Kubernetes answers.
    #[error("cannot understand the answer to {target}: {reason}")]
    Answer {
        /// What the call was about.
        target: Target,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(failure) => failure.kind,
            Self::Unserved { .. } => ErrorKind::Unserved,
            Self::Config { .. } | Self::Answer { .. } => ErrorKind::Other,
        }
    }

    /// Whether the same call can succeed when repeated. Calls are already repeated inside until their deadline.
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }

    /// Whether an earlier try of this call may have been carried out although no answer came.
    pub fn maybe_done(&self) -> bool {
        matches!(self, Self::Call(failure) if failure.maybe_done)
    }

    /// Which API server gave no answer and why, where that is what happened.
    pub fn no_answer(&self) -> Option<&NoAnswer> {
        NoAnswer::find(self)
    }

    /// The call's details, where a call failed.
    pub fn call(&self) -> Option<&CallFailure> {
        match self {
            Self::Call(failure) => Some(failure),
            _ => None,
        }
    }
}

impl From<CallFailure> for Error {
    fn from(failure: CallFailure) -> Self {
        Self::Call(Box::new(failure))
    }
}
