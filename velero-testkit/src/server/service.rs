//! The server as a `tower::Service`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use super::Inner;
use super::handle::handle;
use crate::reply::{BoxError, ReplyBody};
use crate::status::ApiError;

/// The most bytes of a request's body, as in the real server.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// Bodies of answers.
pub type ResponseBody = ReplyBody;

/// The server as a [`tower::Service`]; cheap to clone.
#[derive(Clone)]
pub struct ApiService {
    inner: Arc<Inner>,
    user_agent: Option<HeaderValue>,
}

impl std::fmt::Debug for ApiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiService")
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

impl ApiService {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            user_agent: None,
        }
    }

    /// Adds this `User-Agent` to requests that have none; a text that is no header value adds nothing.
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: &str) -> Self {
        self.user_agent = HeaderValue::from_str(user_agent).ok();
        self
    }
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        let user_agent = self.user_agent.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if let Some(agent) = user_agent {
                parts
                    .headers
                    .entry(http::header::USER_AGENT)
                    .or_insert(agent);
            }
            let body = read(body).await?;
            let upgrades = parts.headers.contains_key(http::header::UPGRADE);
            if upgrades && parts.extensions.get::<OnUpgrade>().is_none() {
                let body = body.unwrap_or_default();
                return through_pipe(inner, Request::from_parts(parts, body)).await;
            }
            handle(&inner, parts, body).await
        })
    }
}

/// Reads a whole body, or refuses it when it is too large.
async fn read<B>(body: B) -> Result<Result<Bytes, ApiError>, BoxError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(whole) => Ok(Ok(whole.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(Err(ApiError::too_large(BODY_LIMIT))),
        Err(error) => Err(error),
    }
}

/// Sends a request through a pipe in memory: only a connection can be upgraded.
async fn through_pipe(
    inner: Arc<Inner>,
    request: Request<Bytes>,
) -> Result<Response<ResponseBody>, BoxError> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let service = TowerToHyperService::new(ApiService::new(inner));
    tokio::spawn(async move {
        let server = hyper::server::conn::http1::Builder::new();
        let connection = server
            .serve_connection(TokioIo::new(far), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "pipe ended");
        }
    });
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "pipe ended");
        }
    });
    let (mut parts, body) = request.into_parts();
    parts
        .headers
        .entry(http::header::HOST)
        .or_insert(HeaderValue::from_static("in-process"));
    parts.version = http::Version::HTTP_11;
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    parts.uri = path.parse()?;
    let response = sender
        .send_request(Request::from_parts(parts, Full::new(body)))
        .await?;
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}
