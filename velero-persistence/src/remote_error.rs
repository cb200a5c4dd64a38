//! From OpenDAL's errors to ours: one clear line, no secrets.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use opendal::ErrorKind as Kind;

use crate::error::Error;
use crate::silence::Silence;

/// Longest text taken over from a server.
const MAX_DETAIL: usize = 300;

/// Beginning of the text of an error that says how long an answer was waited for.
const SILENT: &str = "no answer in time";

/// The text of an error about a store that gave no answer within a time.
pub(crate) fn silent_text(after: Duration) -> String {
    format!("{SILENT}, which is {} s", after.as_secs_f64())
}

/// Whether an error is a wait for an answer that did not come.
pub(crate) fn is_silence(err: &opendal::Error) -> bool {
    unreachable_detail(err).is_some_and(|detail| detail.starts_with(SILENT))
}

/// What error texts of one store need.
#[derive(Clone)]
pub(crate) struct Mapper {
    /// The store as messages name it.
    pub(crate) store: String,
    /// The bucket, for messages about a missing one.
    pub(crate) bucket: String,
    /// Values that must never appear in a text, whatever a server sends back.
    pub(crate) secrets: Arc<[String]>,
    /// Whether the store has stopped answering.
    pub(crate) silence: Arc<Silence>,
    /// What to do where there are no usable credentials.
    pub(crate) advice: &'static str,
}

impl Mapper {
    /// Turns an OpenDAL error into ours; `action` is a verb, `key` may be empty.
    pub(crate) fn map(&self, action: &str, key: &str, err: &opendal::Error) -> Error {
        let operation = match key {
            "" => format!("{action} the root"),
            key => format!("{action} {key:?}"),
        };
        let (store, key) = (self.store.clone(), key.to_owned());
        let answer = Answer::of(err);
        if let Some(detail) = unreachable_detail(err) {
            if detail.starts_with(SILENT) {
                self.silence.gave_up(&store);
            }
            let detail = self.clean(&detail);
            return Error::Unreachable {
                store,
                operation,
                detail,
            };
        }
        if err.message().starts_with("signing http request") {
            let detail = format!(
                "no usable credentials ({}); {}",
                self.clean(&deepest(err)),
                self.advice
            );
            return Error::PermissionDenied {
                store,
                operation,
                detail,
            };
        }
        let detail = self.clean(&answer.text());
        match (err.kind(), answer.code.as_str()) {
            (_, "NoSuchBucket" | "ContainerNotFound") => Error::BucketNotFound {
                store,
                detail: format!("bucket {:?} does not exist", self.bucket),
            },
            // Google tells a missing bucket by its message only. A prefix without objects is no error to any of them.
            (Kind::NotFound, _)
                if action == "list" || answer.message.contains("bucket does not exist") =>
            {
                Error::BucketNotFound {
                    store,
                    detail: format!("bucket {:?} does not exist", self.bucket),
                }
            }
            (Kind::NotFound, _) => Error::NotFound { store, key },
            (Kind::PermissionDenied, _)
            | (
                _,
                "ExpiredToken"
                | "InvalidToken"
                | "TokenRefreshRequired"
                | "InvalidAuthenticationInfo"
                | "NoAuthenticationInformation"
                | "authError",
            ) => Error::PermissionDenied {
                store,
                operation,
                detail,
            },
            (Kind::ConditionNotMatch, _) if action == "read" => Error::Store {
                store,
                operation,
                detail: "it was replaced while it was read".to_owned(),
                retryable: true,
            },
            (Kind::ConditionNotMatch | Kind::AlreadyExists, _) => {
                Error::AlreadyExists { store, key }
            }
            (Kind::Unsupported, _) | (_, "NotImplemented") => Error::Unsupported {
                store,
                operation,
                detail,
            },
            (
                _,
                "AuthorizationHeaderMalformed"
                | "PermanentRedirect"
                | "IllegalLocationConstraintException",
            ) => Error::config(
                "config.region",
                "",
                format!(
                    "the region of bucket {:?}; the store says: {detail}",
                    self.bucket
                ),
            ),
            (Kind::RateLimited | Kind::Conflict, _) => Error::Store {
                store,
                operation,
                detail,
                retryable: true,
            },
            _ if err.is_temporary() || err.is_persistent() => Error::Unreachable {
                store,
                operation,
                detail: match status(err) {
                    Some(status) => format!("HTTP status {status}: {detail}"),
                    None => detail,
                },
            },
            _ => Error::Store {
                store,
                operation,
                detail,
                retryable: false,
            },
        }
    }

    /// The error of a store that gave no answer in time.
    pub(crate) fn silent(&self, action: &str, key: &str, after: Duration) -> Error {
        let err = opendal::Error::new(Kind::Unexpected, silent_text(after));
        self.map(action, key, &err)
    }

    /// The error of a transfer that ended early.
    pub(crate) fn cut_off(&self, key: &str, got: u64, expected: u64) -> Error {
        Error::Unreachable {
            store: self.store.clone(),
            operation: format!("read {key:?}"),
            detail: format!("the transfer ended after {got} of {expected} bytes"),
        }
    }

    fn clean(&self, text: &str) -> String {
        let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for secret in self.secrets.iter().filter(|s| !s.is_empty()) {
            text = text.replace(secret.as_str(), "***");
        }
        let mut text = without_signatures(&text);
        if text.len() > MAX_DETAIL {
            let cut = (0..=MAX_DETAIL).rev().find(|&i| text.is_char_boundary(i));
            text.truncate(cut.unwrap_or(0));
            text.push_str("...");
        }
        text
    }
}

/// Hides the signatures of URLs, with which anybody could read what the URL names.
fn without_signatures(text: &str) -> String {
    let mut hidden = String::with_capacity(text.len());
    for (at, piece) in text.split_inclusive(['&', '?']).enumerate() {
        let signature = ["sig=", "X-Amz-Signature=", "X-Goog-Signature="]
            .into_iter()
            .find(|name| at > 0 && piece.starts_with(name));
        match signature {
            Some(name) => {
                let end = |c: char| c.is_whitespace() || "&?\"')".contains(c);
                let rest = piece.find(end).map_or("", |at| &piece[at..]);
                hidden.push_str(name);
                hidden.push_str("***");
                hidden.push_str(rest);
            }
            None => hidden.push_str(piece),
        }
    }
    hidden
}

/// Code and message of a server's answer.
struct Answer {
    code: String,
    message: String,
}

impl Answer {
    /// OpenDAL keeps the answers of S3 and Azure as the debug print of a struct; anything else is taken as it is.
    fn of(err: &opendal::Error) -> Self {
        let text = err.message();
        if text.starts_with("GcsErrorResponse {") {
            return Self {
                code: debug_field(text, "reason").unwrap_or_default(),
                message: debug_field(text, "message").unwrap_or_default(),
            };
        }
        if !["S3Error {", "AzblobError {"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            return Self {
                code: String::new(),
                message: text.to_owned(),
            };
        }
        Self {
            code: debug_field(text, "code").unwrap_or_default(),
            message: debug_field(text, "message").unwrap_or_default(),
        }
    }

    fn text(&self) -> String {
        let hint = match self.code.as_str() {
            "InvalidAccessKeyId" => "the store does not know the access key id",
            "SignatureDoesNotMatch" => "the secret access key does not fit the access key id",
            "RequestTimeTooSkewed" => "this machine's clock and the store's differ too much",
            "AuthenticationFailed" => {
                "the account key or the token does not fit the storage account, or this machine's clock differs too much"
            }
            "ExpiredToken" => "the session token has expired",
            _ => "",
        };
        match (self.code.as_str(), self.message.as_str(), hint) {
            ("", "", _) => "the store gives no reason".to_owned(),
            ("", message, _) => message.to_owned(),
            (code, _, hint) if !hint.is_empty() => format!("{code}: {hint}"),
            (code, "", _) => code.to_owned(),
            (code, message, _) => format!("{code}: {message}"),
        }
    }
}

/// Takes `name: "value"` out of a debug print and undoes its escapes.
fn debug_field(text: &str, name: &str) -> Option<String> {
    let start = text.find(&format!("{name}: \""))? + name.len() + 3;
    let mut value = String::new();
    let mut chars = text[start..].chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => match chars.next()? {
                'n' | 't' | 'r' => value.push(' '),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

/// The status of the answer, which OpenDAL keeps only in what it prints.
fn status(err: &opendal::Error) -> Option<u16> {
    let text = err.to_string();
    let at = text.find("status: ")? + "status: ".len();
    text.get(at..at + 3)?.parse().ok()
}

fn chain(err: &opendal::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next = StdError::source(err);
    std::iter::from_fn(move || {
        let err = next?;
        next = err.source();
        Some(err)
    })
}

fn deepest(err: &opendal::Error) -> String {
    chain(err)
        .last()
        .map_or_else(|| err.message().to_owned(), ToString::to_string)
}

/// Says why the store gave no answer at all, if that is what happened.
fn unreachable_detail(err: &opendal::Error) -> Option<String> {
    if err.message().starts_with(SILENT) {
        return Some(err.message().to_owned());
    }
    if err.message().ends_with("operation timeout reached") || err.message() == "write part timeout"
    {
        return Some(SILENT.to_owned());
    }
    let http = chain(err).find_map(|err| err.downcast_ref::<reqwest::Error>())?;
    let cause = deepest(err);
    if cause.contains("certificate") {
        return Some(format!(
            "{cause}; if the store has its own authority, set caCert"
        ));
    }
    if http.is_timeout() {
        return Some(format!("{SILENT}: {cause}"));
    }
    Some(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapper() -> Mapper {
        Mapper {
            store: "s3://b".to_owned(),
            bucket: "b".to_owned(),
            secrets: ["hunter2".to_owned(), String::new()].into(),
            silence: Arc::new(Silence::new(Duration::from_secs(10))),
            advice: "set keys",
        }
    }

    fn s3(kind: Kind, code: &str, message: &str) -> Error {
        let text = format!(
            "S3Error {{ code: {code:?}, message: {message:?}, resource: \"/b\", request_id: \"1\" }}"
        );
        mapper().map("write", "k", &opendal::Error::new(kind, text))
    }

    #[test]
    fn answers_become_kinds() {
        use crate::ErrorKind as K;
        for (kind, code, want) in [
            (Kind::ConfigInvalid, "NoSuchBucket", K::BucketNotFound),
            (Kind::NotFound, "NoSuchKey", K::NotFound),
            (
                Kind::PermissionDenied,
                "InvalidAccessKeyId",
                K::PermissionDenied,
            ),
            (Kind::Unexpected, "ExpiredToken", K::PermissionDenied),
            (
                Kind::ConditionNotMatch,
                "PreconditionFailed",
                K::AlreadyExists,
            ),
            (Kind::Unexpected, "NotImplemented", K::Unsupported),
            (Kind::Unexpected, "PermanentRedirect", K::ConfigInvalid),
            (Kind::RateLimited, "SlowDown", K::Other),
            (Kind::Unexpected, "EntityTooLarge", K::Other),
        ] {
            assert_eq!(s3(kind, code, "no").kind(), want, "{code}");
        }
    }

    #[test]
    fn missing_credentials_say_what_to_do() {
        let err = opendal::Error::new(Kind::Unexpected, "signing http request")
            .set_source(std::io::Error::other("nothing found"));
        let err = mapper().map("list", "", &err);
        assert_eq!(err.kind(), crate::ErrorKind::PermissionDenied);
        assert_eq!(
            err.to_string(),
            "s3://b: cannot list the root: access denied: no usable credentials (nothing found); set keys"
        );
    }

    #[test]
    fn signatures_of_urls_are_hidden() {
        for (text, want) in [
            (
                "GET https://h/b?sv=1&sig=aB%2F&sr=b no",
                "GET https://h/b?sv=1&sig=***&sr=b no",
            ),
            ("(https://h/b?sig=aB)", "(https://h/b?sig=***)"),
            (
                "/k?X-Amz-Date=1&X-Amz-Signature=aB no",
                "/k?X-Amz-Date=1&X-Amz-Signature=*** no",
            ),
            (
                "/k?X-Goog-Signature=aB\" no",
                "/k?X-Goog-Signature=***\" no",
            ),
            ("sig=x & y", "sig=x & y"),
        ] {
            assert_eq!(without_signatures(text), want);
        }
    }

    #[test]
    fn texts_are_one_line_short_and_without_secrets() {
        let text = s3(
            Kind::PermissionDenied,
            "AccessDenied",
            "key \"hunter2\"\nis\tbad",
        )
        .to_string();
        assert_eq!(
            text,
            "s3://b: cannot write \"k\": access denied: AccessDenied: key \"***\" is bad"
        );
        let long = mapper().map(
            "list",
            "",
            &opendal::Error::new(Kind::Unexpected, "ä".repeat(400)),
        );
        assert!(long.to_string().len() < 400);
    }
}
