//! Label and field selectors.

use serde_json::Value;

use crate::registry::Resource;
use crate::status::ApiError;

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
    /// `>` (true) or `<`.
    Compare(String, bool, i64),
}

/// A label selector; empty selects everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// A field selector; empty selects everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldSelector {
    /// Path, whether equal, value.
    terms: Vec<(String, bool, String)>,
}

/// Splits at commas outside parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let mut start = 0;
    let mut parts = Vec::new();
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_set(rest: &str) -> Option<Vec<String>> {
    let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|v| v.trim().to_owned()).collect())
}

fn valid_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

fn requirement(term: &str) -> Option<Requirement> {
    let term = term.trim();
    let found = if let Some(key) = term.strip_prefix('!') {
        Requirement::DoesNotExist(key.trim().to_owned())
    } else if let Some((key, value)) = term.split_once("!=") {
        Requirement::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()])
    } else if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        Requirement::In(key.trim().to_owned(), vec![value.trim().to_owned()])
    } else if let Some((key, value)) = term.split_once('>') {
        Requirement::Compare(key.trim().to_owned(), true, value.trim().parse().ok()?)
    } else if let Some((key, value)) = term.split_once('<') {
        Requirement::Compare(key.trim().to_owned(), false, value.trim().parse().ok()?)
    } else if let Some((key, rest)) = term.split_once(char::is_whitespace) {
        let rest = rest.trim_start();
        if let Some(set) = rest.strip_prefix("notin") {
            Requirement::NotIn(key.to_owned(), parse_set(set)?)
        } else {
            Requirement::In(key.to_owned(), parse_set(rest.strip_prefix("in")?)?)
        }
    } else {
        Requirement::Exists(term.to_owned())
    };
    let key = match &found {
        Requirement::In(k, _)
        | Requirement::NotIn(k, _)
        | Requirement::Exists(k)
        | Requirement::DoesNotExist(k)
        | Requirement::Compare(k, ..) => k,
    };
    valid_key(key).then_some(found)
}

impl LabelSelector {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else {
            return Ok(Self::default());
        };
        let requirements: Option<Vec<Requirement>> =
            split_terms(text).into_iter().map(requirement).collect();
        requirements
            .map(|requirements| Self { requirements })
            .ok_or_else(|| ApiError::bad_request(format!("unable to parse requirement: {text:?}")))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub(crate) fn matches(&self, labels: &[(Box<str>, Box<str>)]) -> bool {
        let get = |key: &str| {
            labels
                .iter()
                .find(|(k, _)| k.as_ref() == key)
                .map(|(_, v)| v.as_ref())
        };
        self.requirements.iter().all(|r| match r {
            Requirement::In(key, values) => get(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => {
                get(key).is_none_or(|v| values.iter().all(|w| w != v))
            }
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::DoesNotExist(key) => get(key).is_none(),
            Requirement::Compare(key, greater, bound) => get(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| if *greater { v > *bound } else { v < *bound }),
        })
    }
}

/// Fields that a kind can be selected by, beside its name and namespace (Go: `pkg/apis/*/conversion.go`).
fn selectable(resource: &Resource) -> Vec<&str> {
    if let Some(custom) = &resource.custom {
        return custom.selectable.iter().map(String::as_str).collect();
    }
    match resource.plural.as_str() {
        "pods" => vec![
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "nodes" => vec!["spec.unschedulable"],
        "namespaces" => vec!["status.phase"],
        "secrets" => vec!["type"],
        "services" => vec!["spec.clusterIP", "spec.type"],
        "jobs" => vec!["status.successful"],
        "replicationcontrollers" | "replicasets" => vec!["status.replicas"],
        "certificatesigningrequests" => vec!["spec.signerName"],
        "events" => vec![
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "reason",
            "reportingComponent",
            "reportingController",
            "source",
            "type",
        ],
        _ => Vec::new(),
    }
}

impl FieldSelector {
    pub(crate) fn parse(text: Option<&str>, resource: &Resource) -> Result<Self, ApiError> {
        let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else {
            return Ok(Self::default());
        };
        let allowed = selectable(resource);
        let mut terms = Vec::new();
        for term in text.split(',') {
            let (key, equal, value) = if let Some((k, v)) = term.split_once("!=") {
                (k, false, v)
            } else if let Some((k, v)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (k, true, v)
            } else {
                let text = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(ApiError::bad_request(text));
            };
            let key = key.trim();
            if !matches!(key, "metadata.name" | "metadata.namespace") && !allowed.contains(&key) {
                let text = if allowed.is_empty() {
                    format!(
                        "{key:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                } else {
                    format!("field label not supported: {key}")
                };
                return Err(ApiError::bad_request(text));
            }
            terms.push((key.to_owned(), equal, value.trim().to_owned()));
        }
        Ok(Self { terms })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object matches; `tree` is parsed only for fields outside its identity.
    pub(crate) fn matches(
        &self,
        namespace: &str,
        name: &str,
        tree: impl FnOnce() -> Value,
    ) -> bool {
        let mut tree = Some(tree);
        let mut parsed: Option<Value> = None;
        self.terms.iter().all(|(key, equal, want)| {
            let have = match key.as_str() {
                "metadata.name" => name.to_owned(),
                "metadata.namespace" => namespace.to_owned(),
                path => {
                    if let Some(make) = tree.take() {
                        parsed = Some(make());
                    }
                    parsed
                        .as_ref()
                        .map(|t| field_text(t, path))
                        .unwrap_or_default()
                }
            };
            (have == *want) == *equal
        })
    }
}

fn field_text(tree: &Value, path: &str) -> String {
    let path = match path {
        "status.successful" => "status.succeeded",
        "source" => "source.component",
        "reportingController" => "reportingComponent",
        other => other,
    };
    let path = path
        .strip_prefix("regarding.")
        .map_or_else(|| path.to_owned(), |p| format!("involvedObject.{p}"));
    let found = path.split('.').try_fold(tree, |at, key| at.get(key));
    match found {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Null) | None => match path.as_str() {
            "spec.unschedulable" | "spec.hostNetwork" => "false".into(),
            "status.succeeded" | "status.replicas" => "0".into(),
            _ => String::new(),
        },
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)], want: bool) {
        let labels: Vec<(Box<str>, Box<str>)> = labels
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        let got = LabelSelector::parse(Some(selector))
            .unwrap()
            .matches(&labels);
        assert_eq!(got, want, "{selector}");
    }

    #[test]
    fn label_selectors() {
        let web = [("app", "web"), ("n", "5")];
        check("", &web, true);
        check("app=web", &web, true);
        check("app==web,n!=6", &web, true);
        check("app in (a, web),!x", &web, true);
        check("app notin (web)", &web, false);
        check("x notin (web)", &web, true);
        check("app", &web, true);
        check("n>4", &web, true);
        check("n<4", &web, false);
        assert!(LabelSelector::parse(Some("a b c")).is_err());
        assert!(LabelSelector::parse(Some("a in b")).is_err());
    }
}
