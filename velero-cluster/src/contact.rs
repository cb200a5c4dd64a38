//! The first answer of an API server, and what its absence means.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswerCause {
    /// The server's certificate is not trusted, or TLS fails otherwise. Trying again does not help.
    Untrusted,
    /// Nobody listens at the address.
    Refused,
    /// The connection was made and no answer came in time.
    Silent,
    /// Anything else: an unknown host, a broken connection.
    Other,
}

/// An API server that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoAnswer {
    /// Its address. Known for clients of [`client_from`](crate::client_from), empty for others.
    pub server: String,
    /// What kind of failure it is.
    pub cause: NoAnswerCause,
    /// What happened, in one line.
    pub reason: String,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the api server ")?;
        if !self.server.is_empty() {
            write!(f, "at {} ", self.server)?;
        }
        write!(f, "cannot be reached: {}", self.reason)
    }
}

impl StdError for NoAnswer {}

impl NoAnswer {
    /// Finds it among the causes of an error, such as one of the Kubernetes client.
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        chain(error).find_map(|cause| cause.downcast_ref::<Self>())
    }

    /// Makes it of what a connection failed with.
    pub(crate) fn diagnose(server: &str, error: &(dyn StdError + 'static)) -> Self {
        let text = chain(error)
            .last()
            .map_or_else(|| error.to_string(), ToString::to_string);
        let kind = chain(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind)
            .last();
        let (cause, reason) = match kind {
            _ if text.contains("certificate") => (
                NoAnswerCause::Untrusted,
                format!("its certificate is not trusted: {text}"),
            ),
            Some(io::ErrorKind::InvalidData) => {
                (NoAnswerCause::Untrusted, format!("tls fails: {text}"))
            }
            Some(io::ErrorKind::ConnectionRefused) => {
                (NoAnswerCause::Refused, "connection refused".to_owned())
            }
            Some(io::ErrorKind::TimedOut) => {
                (NoAnswerCause::Other, "no connection in time".to_owned())
            }
            _ => (NoAnswerCause::Other, text),
        };
        Self {
            server: server.to_owned(),
            cause,
            reason,
        }
    }

    fn silent(server: &str, after: Duration) -> Self {
        Self {
            server: server.to_owned(),
            cause: NoAnswerCause::Silent,
            reason: format!("no answer within {} s", after.as_secs_f64()),
        }
    }
}

/// An error and its causes. What an IO error wraps counts as its cause, which `source` would pass over.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => (*error).source(),
        }
    })
}

/// The address of a server without what may be secret.
fn address(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{}://{host}{path}", url.scheme_str().unwrap_or("http"))
}

/// Puts deadlines around the answers of one server, and names it where none comes.
#[derive(Debug, Clone)]
pub(crate) struct ContactLayer {
    contact: Arc<Contact>,
}

#[derive(Debug)]
struct Contact {
    server: String,
    first_answer: Duration,
    every_answer: Option<Duration>,
    reached: AtomicBool,
}

impl ContactLayer {
    pub(crate) fn new(url: &Uri, first_answer: Duration, every_answer: Option<Duration>) -> Self {
        Self {
            contact: Arc::new(Contact {
                server: address(url),
                first_answer,
                every_answer,
                reached: AtomicBool::new(false),
            }),
        }
    }
}

impl<S> Layer<S> for ContactLayer {
    type Service = ContactService<S>;

    fn layer(&self, inner: S) -> ContactService<S> {
        ContactService {
            inner,
            contact: Arc::clone(&self.contact),
        }
    }
}

/// The service that [`ContactLayer`] makes.
#[derive(Debug)]
pub(crate) struct ContactService<S> {
    inner: S,
    contact: Arc<Contact>,
}

impl<S, B> Service<Request<Body>> for ContactService<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        let contact = Arc::clone(&self.contact);
        Box::pin(async move { contact.watch(answer).await })
    }
}

impl Contact {
    async fn watch<T>(
        &self,
        answer: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        let limit = match self.reached.load(Ordering::Relaxed) {
            true => self.every_answer,
            false => Some(self.first_answer),
        };
        let outcome = match limit {
            None => answer.await,
            Some(limit) => match tokio::time::timeout(limit, answer).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(Box::new(NoAnswer::silent(&self.server, limit))),
            },
        };
        match outcome {
            Ok(answer) => {
                self.reached.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            // Credentials that cannot be used are not the connection's fault.
            Err(error) if error.is::<kube::Error>() => Err(error),
            Err(error) => Err(Box::new(NoAnswer::diagnose(&self.server, error.as_ref()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(error: io::Error) -> (NoAnswerCause, String) {
        let found = NoAnswer::diagnose("https://h", &error);
        (found.cause, found.to_string())
    }

    #[test]
    fn causes_are_told_apart() {
        use NoAnswerCause::*;
        for (kind, text, expected, part) in [
            (
                io::ErrorKind::ConnectionRefused,
                "os error 111",
                Refused,
                "connection refused",
            ),
            (
                io::ErrorKind::InvalidData,
                "invalid peer certificate: UnknownIssuer",
                Untrusted,
                "its certificate is not trusted: invalid peer certificate: UnknownIssuer",
            ),
            (
                io::ErrorKind::InvalidData,
                "received corrupt message",
                Untrusted,
                "tls fails: received corrupt message",
            ),
            (io::ErrorKind::TimedOut, "", Other, "no connection in time"),
            (io::ErrorKind::Other, "name unknown", Other, "name unknown"),
        ] {
            let (cause, line) = cause(io::Error::new(kind, text));
            assert_eq!(cause, expected, "{text}");
            assert_eq!(
                line,
                format!("the api server at https://h cannot be reached: {part}")
            );
        }
    }

    #[test]
    fn a_wrapped_cause_is_found() {
        let inner = io::Error::new(io::ErrorKind::InvalidData, "corrupt message");
        let found = NoAnswer::diagnose("", &io::Error::other(inner));
        assert_eq!(
            (found.cause, found.to_string().as_str()),
            (
                NoAnswerCause::Untrusted,
                "the api server cannot be reached: tls fails: corrupt message"
            )
        );
    }

    #[test]
    fn addresses_hold_no_password() {
        for (url, expected) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://u:p@h/k8s/c/", "https://h/k8s/c"),
        ] {
            assert_eq!(address(&url.parse().unwrap()), expected);
        }
    }
}
