//! Answers before they become HTTP.

use bytes::Bytes;
use futures::stream::BoxStream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;

use crate::status::ApiError;

/// Why a body breaks off.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, BoxError>;

/// An answer.
pub(crate) enum Reply {
    Bytes {
        code: u16,
        content_type: &'static str,
        body: Bytes,
        warnings: Vec<String>,
    },
    Stream(BoxStream<'static, Result<Bytes, BoxError>>),
}

pub(crate) const JSON: &str = "application/json";

impl Reply {
    pub(crate) fn json(code: u16, body: &Value) -> Self {
        Self::bytes(code, serde_json::to_vec(body).unwrap_or_default())
    }

    pub(crate) fn bytes(code: u16, body: impl Into<Bytes>) -> Self {
        Self::Bytes {
            code,
            content_type: JSON,
            body: body.into(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn with_warnings(mut self, given: Vec<String>) -> Self {
        if let Self::Bytes { warnings, .. } = &mut self {
            *warnings = given;
        }
        self
    }

    pub(crate) fn with_content_type(mut self, given: &'static str) -> Self {
        if let Self::Bytes { content_type, .. } = &mut self {
            *content_type = given;
        }
        self
    }

    pub(crate) fn into_response(self) -> http::Response<ReplyBody> {
        let (code, content_type, body, warnings) = match self {
            Self::Bytes {
                code,
                content_type,
                body,
                warnings,
            } => (code, content_type, full(body), warnings),
            Self::Stream(stream) => {
                use futures::StreamExt as _;
                let frames = stream.map(|chunk| chunk.map(Frame::data));
                (
                    200,
                    JSON,
                    StreamBody::new(frames).boxed_unsync(),
                    Vec::new(),
                )
            }
        };
        let mut response = http::Response::new(body);
        *response.status_mut() =
            http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static(content_type),
        );
        for warning in warnings {
            let text = format!(
                "299 - {}",
                serde_json::to_string(&warning).unwrap_or_default()
            );
            if let Ok(value) = http::HeaderValue::from_str(&text) {
                headers.append(http::header::WARNING, value);
            }
        }
        response
    }
}

/// A body that is sent whole.
pub(crate) fn full(body: Bytes) -> ReplyBody {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer that breaks off after so many bytes, or at its end; what streams breaks off when it has come so far.
pub(crate) fn cut(body: ReplyBody, after: usize) -> ReplyBody {
    let frames = futures::stream::unfold(Some((body, after)), |state| async move {
        let (mut body, left) = state?;
        let next = match left {
            0 => None,
            _ => body.frame().await,
        };
        let broken: BoxError = Box::new(std::io::Error::new(
            std::io::ErrorKind::ConnectionReset,
            "connection reset by peer",
        ));
        match next.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => {
                let kept = data.slice(..left.min(data.len()));
                let left = left - kept.len();
                Some((Ok(Frame::data(kept)), Some((body, left))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            Some(Ok(Err(_))) | None => Some((Err(broken), None)),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// The HTTP form of an error.
pub(crate) fn error_response(error: &ApiError) -> http::Response<ReplyBody> {
    let mut response = Reply::json(error.code, &error.body()).into_response();
    if let Some(seconds) = error.retry_after {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, http::HeaderValue::from(seconds));
    }
    response
}
