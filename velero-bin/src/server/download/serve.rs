//! Answers to those who have been given a path.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use velero_core::api::DownloadTarget;
use velero_core::result::chain;
use velero_persistence::{Error, ObjectReader};

use super::find::find;
use super::signed_path::Signer;
use crate::server::context::Context;
use crate::server::controller::Retry;

/// Files that are passed on at the same time; who comes then is to come again.
const AT_ONCE: usize = 16;

/// Longest wait for a store to give the first bytes of a file, and the next ones.
const STORE_PATIENCE: Duration = Duration::from_secs(30);

/// What is sent, and what is held until it is.
type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

/// Passes files on. A cheap clone.
#[derive(Clone)]
pub(super) struct Server {
    context: Context,
    signer: Arc<Signer>,
    places: Arc<Semaphore>,
}

/// A file that is about to be sent.
struct Found {
    reader: ObjectReader,
    size: u64,
}

impl Server {
    pub(super) fn new(context: Context, signer: Arc<Signer>) -> Self {
        Self {
            context,
            signer,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Answers a request. Each has a connection of its own, so that none is left when the port is shut.
    pub(super) async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let mut response = self.respond(&request).await;
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        response
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Body> {
        let is_get = request.method() == Method::GET;
        if !is_get && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served");
        }
        let target = match self.signer.target(request.uri().path(), self.context.now()) {
            Ok(target) => target,
            Err(refusal) => return text(StatusCode::FORBIDDEN, &refusal.to_string()),
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let busy = format!("{AT_ONCE} files are being read already; try again");
            return text(StatusCode::SERVICE_UNAVAILABLE, &busy);
        };
        let found = timeout(STORE_PATIENCE, self.open(&target)).await;
        match found.unwrap_or_else(|_| Err("the store gives no answer".to_owned())) {
            Ok(Some(found)) => {
                tracing::info!(kind = %target.kind, target = target.name, size = found.size, "a file is passed on");
                file(found, is_get, place)
            }
            Ok(None) => text(StatusCode::NOT_FOUND, "the store has no such file"),
            Err(problem) => {
                tracing::warn!(kind = %target.kind, target = target.name, problem, "a file cannot be passed on");
                text(StatusCode::BAD_GATEWAY, &problem)
            }
        }
    }

    /// Opens a file; `None` when the store does not have it.
    async fn open(&self, target: &DownloadTarget) -> Result<Option<Found>, String> {
        let found = find(&self.context, target).await;
        let (store, artifact) = found.map_err(|retry: Retry| retry.to_string())??;
        let told = |error: Error| chain(&error);
        let Some(size) = store.store().size(artifact.key()).await.map_err(told)? else {
            return Ok(None);
        };
        match store.reader(&artifact).await {
            Ok(reader) => Ok(Some(Found { reader, size })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(told(error)),
        }
    }
}

/// A file as it is. When its store breaks off the connection does so, too: what has come is shorter than was said.
fn file(found: Found, is_get: bool, place: OwnedSemaphorePermit) -> Response<Body> {
    let Found { reader, size } = found;
    let chunks = stream::unfold(Some((reader, place)), |left| async move {
        let (mut reader, place) = left?;
        let error = match timeout(STORE_PATIENCE, reader.next_chunk()).await {
            Ok(Ok(chunk)) => return Some((Ok(Frame::data(chunk?)), Some((reader, place)))),
            Ok(Err(error)) => io::Error::other(error),
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        tracing::warn!(%error, "the store broke off while a file was passed on");
        Some((Err(error), None))
    });
    let chunks = if is_get {
        chunks.boxed()
    } else {
        stream::empty().boxed()
    };
    let mut response = Response::new(StreamBody::new(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let line = Frame::data(Bytes::from(format!("{text}\n")));
    let mut response = Response::new(StreamBody::new(stream::iter([Ok(line)]).boxed()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
