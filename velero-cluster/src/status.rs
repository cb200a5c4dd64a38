//! Reading the API server's `Status` answers.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::{CallFailure, ErrorKind, Target};

/// Longest message kept of an answer that is no `Status`, in bytes.
const MAX_TEXT: usize = 300;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Wire {
    kind: String,
    message: String,
    reason: String,
    metadata: Option<WireMeta>,
    details: Option<WireDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireMeta {
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireDetails {
    name: Option<String>,
    kind: Option<String>,
    causes: Option<Vec<WireCause>>,
    retry_after_seconds: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireCause {
    reason: Option<String>,
}

/// Makes a failure of an answer that is not 2xx.
pub(crate) fn failure(
    target: &Target,
    code: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> CallFailure {
    let wire = serde_json::from_slice::<Wire>(body)
        .ok()
        .filter(|w| w.kind == "Status")
        .unwrap_or_default();
    let details = wire.details.unwrap_or_default();
    let terminating = details
        .causes
        .iter()
        .flatten()
        .any(|c| c.reason.as_deref() == Some("NamespaceTerminating"));
    let named = details.name.as_deref().is_some_and(|n| !n.is_empty())
        || details.kind.as_deref() == Some("namespaces");
    let kind = if terminating {
        ErrorKind::Terminating
    } else {
        kind_of(&wire.reason, code, named, target)
    };
    let from_header = headers
        .get(http::header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.trim().parse().ok());
    let reason = if wire.reason.is_empty() {
        code.canonical_reason().unwrap_or("")
    } else {
        &wire.reason
    };
    let text = if wire.message.is_empty() {
        plain_text(body)
    } else {
        one_line(&wire.message)
    };
    let label = format!("{} {reason}", code.as_u16());
    let message = if text.is_empty() {
        label
    } else {
        format!("{text} ({})", label.trim_end())
    };
    CallFailure {
        kind,
        target: target.clone(),
        code: code.as_u16(),
        message,
        retry_after: from_header
            .or(details.retry_after_seconds)
            .map(Duration::from_secs),
        maybe_done: false,
        continue_token: wire
            .metadata
            .and_then(|m| m.continue_token)
            .filter(|t| !t.is_empty()),
        source: None,
    }
}

fn kind_of(reason: &str, code: StatusCode, named: bool, target: &Target) -> ErrorKind {
    match (reason, code.as_u16()) {
        ("AlreadyExists", _) => ErrorKind::AlreadyExists,
        ("Expired" | "Gone", _) | (_, 410) => ErrorKind::Gone,
        // A path that is not served gives a 404 without the name of an object.
        ("NotFound" | "", 404) if !named && target.verb != "discover" => ErrorKind::Unserved,
        (_, 404) => ErrorKind::NotFound,
        ("MethodNotAllowed", _) | (_, 405) => ErrorKind::Unserved,
        ("Timeout" | "ServerTimeout", _) | (_, 504) => ErrorKind::Timeout,
        (_, 409) => ErrorKind::Conflict,
        (_, 400 | 413 | 415 | 422) => ErrorKind::Invalid,
        (_, 401) => ErrorKind::Unauthorized,
        (_, 403) => ErrorKind::Forbidden,
        (_, 429) => ErrorKind::TooManyRequests,
        (_, 500..=599) => ErrorKind::Unavailable,
        _ => ErrorKind::Other,
    }
}

fn plain_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_TEXT)]);
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(code: u16, body: &str, name: &str) -> CallFailure {
        let target = Target {
            verb: "get",
            resource: "pods".into(),
            namespace: "shop".into(),
            name: name.into(),
        };
        failure(
            &target,
            StatusCode::from_u16(code).unwrap(),
            &HeaderMap::new(),
            body.as_bytes(),
        )
    }

    #[test]
    fn kinds() {
        let status = |reason: &str, details: &str| {
            format!(
                r#"{{"kind":"Status","message":"a\n b","reason":"{reason}","details":{details}}}"#
            )
        };
        let named = r#"{"name":"web","kind":"pods"}"#;
        let terminating = r#"{"name":"web","causes":[{"reason":"NamespaceTerminating"}]}"#;
        for (code, body, expected) in [
            (404, status("NotFound", named), ErrorKind::NotFound),
            (404, status("NotFound", "{}"), ErrorKind::Unserved),
            (404, "404 page not found".to_owned(), ErrorKind::Unserved),
            (
                409,
                status("AlreadyExists", named),
                ErrorKind::AlreadyExists,
            ),
            (409, status("Conflict", named), ErrorKind::Conflict),
            (
                403,
                status("Forbidden", terminating),
                ErrorKind::Terminating,
            ),
            (403, status("Forbidden", named), ErrorKind::Forbidden),
            (401, status("Unauthorized", "{}"), ErrorKind::Unauthorized),
            (405, status("MethodNotAllowed", "{}"), ErrorKind::Unserved),
            (410, status("Expired", "{}"), ErrorKind::Gone),
            (422, status("Invalid", named), ErrorKind::Invalid),
            (400, status("BadRequest", "null"), ErrorKind::Invalid),
            (429, String::new(), ErrorKind::TooManyRequests),
            (500, status("InternalError", "{}"), ErrorKind::Unavailable),
            (503, "<html>".to_owned(), ErrorKind::Unavailable),
            (504, status("Timeout", "{}"), ErrorKind::Timeout),
        ] {
            assert_eq!(read(code, &body, "web").kind, expected, "{code} {body}");
        }
    }

    #[test]
    fn messages_are_one_line_and_name_the_call() {
        let failed = read(
            404,
            r#"{"kind":"Status","message":"pods \"web\"\nnot found","reason":"NotFound","details":{"name":"web"}}"#,
            "web",
        );
        assert_eq!(
            failed.to_string(),
            "cannot get pods shop/web: pods \"web\" not found (404 NotFound)"
        );
        assert_eq!(read(503, "", "web").message, "503 Service Unavailable");
    }

    #[test]
    fn waits_and_tokens_are_read() {
        let busy = read(
            429,
            r#"{"kind":"Status","reason":"TooManyRequests","details":{"retryAfterSeconds":3}}"#,
            "",
        );
        assert_eq!(busy.retry_after, Some(Duration::from_secs(3)));
        let gone = read(
            410,
            r#"{"kind":"Status","reason":"Expired","metadata":{"continue":"abc"}}"#,
            "",
        );
        assert_eq!(gone.continue_token.as_deref(), Some("abc"));
    }
}
