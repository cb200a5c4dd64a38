//! Answers that go wrong on purpose.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::calls::Call;
use crate::status::ApiError;

/// What happens to a call that a [`Fault`] picks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FaultAction {
    /// 401 Unauthorized.
    Unauthorized,
    /// 403 Forbidden, worded as RBAC words it.
    Forbidden,
    /// 404 NotFound.
    NotFound,
    /// 409 Conflict (a stale resource version); for `create` 409 AlreadyExists.
    Conflict,
    /// 410 Gone with reason `Expired`, as for a continue token that is too old.
    Gone,
    /// 429 TooManyRequests with a `Retry-After` header.
    TooManyRequests {
        /// Seconds in the header.
        retry_after_seconds: u32,
    },
    /// 500 InternalError.
    InternalError,
    /// 503 ServiceUnavailable.
    Unavailable,
    /// 504 Timeout.
    Timeout,
    /// The connection breaks before an answer.
    ConnectionReset,
    /// The right answer, late.
    Slow(Duration),
    /// The right answer, cut off after so many bytes; a watch breaks when it has told so much.
    Truncate(usize),
    /// Any answer: an HTTP code and a JSON body.
    Status {
        /// HTTP code.
        code: u16,
        /// Body, usually a `Status` object.
        body: Value,
    },
}

/// A rule that makes calls fail: which calls, how often, and how.
///
/// Empty conditions match everything.
///
/// ```
/// use velero_testkit::{ApiServer, Fault, FaultAction};
/// let server = ApiServer::new();
/// // The third list of pods fails, once.
/// server.faults().add(Fault::new(FaultAction::Unavailable).verb("list").resource("pods").skip(2).times(1));
/// ```
#[derive(Debug, Clone)]
pub struct Fault {
    /// What to do.
    pub action: FaultAction,
    /// Verb as in [`Call::verb`].
    pub verb: Option<String>,
    /// Resource as in [`Call::resource`].
    pub resource: Option<String>,
    /// Namespace in the path.
    pub namespace: Option<String>,
    /// Name in the path, for `create` the name in the body.
    pub name: Option<String>,
    /// Text that the query holds, for example `continue=`.
    pub query: Option<String>,
    /// How many matching calls pass before the rule acts. Default 0.
    pub skip: u64,
    /// How many calls the rule acts on; `None` (the default) is without end.
    pub times: Option<u64>,
    /// Whether the call is carried out before its answer goes wrong. Default false.
    pub after: bool,
}

impl Fault {
    /// A rule for every call.
    #[must_use]
    pub fn new(action: FaultAction) -> Self {
        Self {
            action,
            verb: None,
            resource: None,
            namespace: None,
            name: None,
            query: None,
            skip: 0,
            times: None,
            after: false,
        }
    }

    /// Limits the rule to one verb.
    #[must_use]
    pub fn verb(mut self, verb: impl Into<String>) -> Self {
        self.verb = Some(verb.into());
        self
    }

    /// Limits the rule to one resource, `plural` or `plural/subresource`.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Limits the rule to one namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Limits the rule to one object.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Limits the rule to calls whose query holds a text.
    #[must_use]
    pub fn query(mut self, text: impl Into<String>) -> Self {
        self.query = Some(text.into());
        self
    }

    /// Lets the first `calls` matching calls pass.
    #[must_use]
    pub fn skip(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Ends the rule after it has acted on `calls` calls.
    #[must_use]
    pub fn times(mut self, calls: u64) -> Self {
        self.times = Some(calls);
        self
    }

    /// Carries the call out, and loses or spoils only its answer.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.after = true;
        self
    }

    fn matches(&self, call: &Call) -> bool {
        let same = |want: &Option<String>, have: Option<&str>| {
            want.as_deref().is_none_or(|w| have == Some(w))
        };
        same(&self.verb, Some(&call.verb))
            && same(&self.resource, Some(&call.resource))
            && same(&self.namespace, call.namespace.as_deref())
            && same(&self.name, call.name.as_deref())
            && self.query.as_deref().is_none_or(|q| call.query.contains(q))
    }
}

/// The faults of a server. Cheap to clone; all clones share the rules.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<(Fault, u64)>>>,
}

/// The fault that a call has drawn.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) action: FaultAction,
    pub(crate) after: bool,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Vec<(Fault, u64)>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule; of several that match a call the one added first acts.
    pub fn add(&self, fault: Fault) {
        self.lock().push((fault, 0));
    }

    /// Removes every rule.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many calls the rules have picked for failure so far, rule by rule.
    #[must_use]
    pub fn acted(&self) -> Vec<u64> {
        self.lock()
            .iter()
            .map(|(rule, seen)| {
                seen.saturating_sub(rule.skip)
                    .min(rule.times.unwrap_or(u64::MAX))
            })
            .collect()
    }

    /// Whether any rule needs the name inside a create body.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn draw(&self, call: &Call) -> Option<Drawn> {
        let mut drawn = None;
        for (rule, seen) in self.lock().iter_mut() {
            if !rule.matches(call) {
                continue;
            }
            *seen += 1;
            let turn = *seen;
            let active = turn > rule.skip
                && rule
                    .times
                    .is_none_or(|times| turn <= rule.skip.saturating_add(times));
            if active && drawn.is_none() {
                drawn = Some(Drawn {
                    action: rule.action.clone(),
                    after: rule.after,
                });
            }
        }
        drawn
    }
}

/// The error answer of an action, where it is one.
pub(crate) fn error_of(action: &FaultAction, call: &Call) -> Option<ApiError> {
    let plural = call.resource.split('/').next().unwrap_or_default();
    let name = call.name.as_deref().unwrap_or_default();
    Some(match action {
        FaultAction::Unauthorized => ApiError::new(401, "Unauthorized", "Unauthorized"),
        FaultAction::Forbidden => {
            let scope = match &call.namespace {
                Some(ns) => format!("in the namespace \"{ns}\""),
                None => "at the cluster scope".to_owned(),
            };
            let why = format!(
                "User \"test\" cannot {} resource \"{}\" in API group \"{}\" {scope}",
                call.verb, call.resource, call.group
            );
            ApiError::forbidden(plural, &call.group, name, &why)
        }
        FaultAction::NotFound => ApiError::not_found(plural, &call.group, name),
        FaultAction::Conflict if call.verb == "create" => {
            ApiError::already_exists(plural, &call.group, name)
        }
        FaultAction::Conflict => ApiError::stale(plural, &call.group, name),
        FaultAction::Gone => ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
        ),
        FaultAction::TooManyRequests {
            retry_after_seconds,
        } => {
            let mut error = ApiError::new(
                429,
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            );
            error.retry_after = Some(*retry_after_seconds);
            error
        }
        FaultAction::InternalError => ApiError::internal("scripted fault"),
        FaultAction::Unavailable => ApiError::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        FaultAction::Timeout => ApiError::new(
            504,
            "Timeout",
            "Timeout: request did not complete within the allotted timeout",
        ),
        FaultAction::ConnectionReset
        | FaultAction::Slow(_)
        | FaultAction::Truncate(_)
        | FaultAction::Status { .. } => return None,
    })
}
