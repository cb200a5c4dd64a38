//! Query parameters of a request.

use std::collections::BTreeMap;

use crate::status::ApiError;

/// The parameters that the server knows, parsed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    pub(crate) limit: Option<usize>,
    pub(crate) continue_token: Option<String>,
    pub(crate) label_selector: Option<String>,
    pub(crate) field_selector: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) resource_version_match: Option<String>,
    pub(crate) watch: bool,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: bool,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) dry_run: bool,
    pub(crate) field_manager: Option<String>,
    pub(crate) field_validation: FieldValidation,
    pub(crate) force: bool,
    pub(crate) propagation_policy: Option<String>,
    /// Every parameter in the order given, for subresources that read their own (exec).
    pub(crate) raw: Vec<(String, String)>,
}

/// What happens to unknown and repeated fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

fn truthy(value: Option<&String>) -> bool {
    value.is_some_and(|v| matches!(v.as_str(), "true" | "1" | "t" | "T" | "True" | "TRUE" | ""))
}

impl Query {
    /// Parses the part of a URL after `?`.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let raw: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes())
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        let map: BTreeMap<&str, &String> = raw.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let get = |key: &str| map.get(key).copied();
        let text_of = |key: &str| get(key).filter(|v| !v.is_empty()).cloned();
        let number = |key: &str| -> Result<Option<i64>, ApiError> {
            let Some(value) = text_of(key) else {
                return Ok(None);
            };
            let bad = |_| {
                ApiError::bad_request(format!(
                    "invalid value \"{value}\" of parameter {key}: want an integer"
                ))
            };
            value.parse::<i64>().map(Some).map_err(bad)
        };
        let dry_run = match get("dryRun").map(String::as_str) {
            None | Some("") => false,
            Some("All") => true,
            Some(other) => {
                let text = format!("invalid dry run value \"{other}\": supported values: \"All\"");
                return Err(ApiError::bad_request(text));
            }
        };
        let field_validation = match get("fieldValidation").map(String::as_str) {
            None | Some("" | "Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let text = format!(
                    "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \"Strict\", \"Warn\""
                );
                return Err(ApiError::new(422, "Invalid", text));
            }
        };
        Ok(Self {
            limit: number("limit")?
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > 0),
            continue_token: text_of("continue"),
            label_selector: text_of("labelSelector"),
            field_selector: text_of("fieldSelector"),
            resource_version: text_of("resourceVersion"),
            resource_version_match: text_of("resourceVersionMatch"),
            watch: map.contains_key("watch") && truthy(get("watch")),
            bookmarks: map.contains_key("allowWatchBookmarks")
                && truthy(get("allowWatchBookmarks")),
            send_initial_events: map.contains_key("sendInitialEvents")
                && truthy(get("sendInitialEvents")),
            timeout_seconds: number("timeoutSeconds")?.and_then(|n| u64::try_from(n).ok()),
            dry_run,
            field_manager: text_of("fieldManager"),
            field_validation,
            force: map.contains_key("force") && truthy(get("force")),
            propagation_policy: text_of("propagationPolicy"),
            raw,
        })
    }
}
