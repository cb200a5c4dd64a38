//! What came of a run: counts, records of what went wrong, lists of what was handled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// How much a [`Record`] weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth reading; the run is still complete.
    Warning,
    /// Something is missing from the run.
    Error,
}

/// One warning or error of a run, with the item that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// How much it weighs.
    pub severity: Severity,
    /// What it is about.
    pub about: About,
    /// What happened, and the whole chain of causes.
    pub message: String,
}

/// What a [`Record`] is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The run as a whole.
    Run,
    /// One item.
    Item {
        /// `pods`, `deployments.apps`.
        resource: String,
        /// Namespace, empty for cluster-scoped items.
        namespace: String,
        /// Name; empty when a whole kind or namespace is meant.
        name: String,
    },
}

/// Makes text that others wrote safe for terminals and logs: control characters are escaped, such as `\u{1b}`, but for
/// tabs and ends of lines.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

impl Record {
    /// A record about the run as a whole. Its message is made [`printable`].
    pub fn run(severity: Severity, message: impl fmt::Display) -> Self {
        Self {
            severity,
            about: About::Run,
            message: printable(&message.to_string()),
        }
    }

    /// A record about one item. Its message is made [`printable`].
    pub fn item(
        severity: Severity,
        resource: impl fmt::Display,
        namespace: impl Into<String>,
        name: impl Into<String>,
        message: impl fmt::Display,
    ) -> Self {
        let about = About::Item {
            resource: resource.to_string(),
            namespace: namespace.into(),
            name: name.into(),
        };
        Self {
            severity,
            about,
            message: printable(&message.to_string()),
        }
    }

    /// Writes the record into the run's log, as one event of its severity with the item's resource, namespace and name.
    pub fn log(&self) {
        let (resource, namespace, name) = match &self.about {
            About::Run => ("", "", ""),
            About::Item {
                resource,
                namespace,
                name,
            } => (resource.as_str(), namespace.as_str(), name.as_str()),
        };
        match self.severity {
            Severity::Warning => tracing::warn!(resource, namespace, name, "{}", self.message),
            Severity::Error => tracing::error!(resource, namespace, name, "{}", self.message),
        }
    }

    /// The record as one line: `resource: /pods name: /web error: /...`.
    pub fn line(&self) -> String {
        let word = match self.severity {
            Severity::Warning => "message",
            Severity::Error => "error",
        };
        match &self.about {
            About::Run => format!("{word}: /{}", self.message),
            About::Item { resource, name, .. } if name.is_empty() => {
                format!("resource: /{resource} {word}: /{}", self.message)
            }
            About::Item { resource, name, .. } => {
                format!(
                    "resource: /{resource} name: /{name} {word}: /{}",
                    self.message
                )
            }
        }
    }
}

/// An error and its chain of causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !out.ends_with(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        cause = next.source();
    }
    out
}

/// Records by scope, in the form of a results file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScopedMessages {
    /// About the run as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub velero: Vec<String>,
    /// About cluster-scoped items.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cluster: Vec<String>,
    /// About items in namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<String, Vec<String>>,
}

impl ScopedMessages {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.velero.len()
            + self.cluster.len()
            + self.namespaces.values().map(Vec::len).sum::<usize>()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The content of `<backup>-results.gz` and `restore-<restore>-results.gz`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResultsFile {
    /// Errors.
    pub errors: ScopedMessages,
    /// Warnings.
    pub warnings: ScopedMessages,
}

impl ResultsFile {
    /// Sorts records into scopes, keeping their order. Each line begins with a space, as the peer's do.
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut out = Self::default();
        for record in records {
            let side = match record.severity {
                Severity::Warning => &mut out.warnings,
                Severity::Error => &mut out.errors,
            };
            let line = format!(" {}", record.line());
            match &record.about {
                About::Run => side.velero.push(line),
                About::Item { namespace, .. } if namespace.is_empty() => side.cluster.push(line),
                About::Item { namespace, .. } => {
                    side.namespaces
                        .entry(namespace.clone())
                        .or_default()
                        .push(line);
                }
            }
        }
        out
    }
}

/// How many records of each weight there are.
pub fn count(records: &[Record], severity: Severity) -> usize {
    records.iter().filter(|r| r.severity == severity).count()
}

/// Items by `apiVersion/Kind`: the content of a resource list file. Entries of a kind are kept sorted on output.
///
/// Names are stored back to back, so that a hundred thousand items take a few megabytes.
#[derive(Debug, Clone, Default)]
pub struct ResourceList {
    kinds: BTreeMap<String, Names>,
}

#[derive(Debug, Clone, Default)]
struct Names {
    text: String,
    ends: Vec<u32>,
}

impl Names {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0usize;
        self.ends.iter().map(move |end| {
            let end = *end as usize;
            let name = &self.text[start..end];
            start = end;
            name
        })
    }
}

impl ResourceList {
    /// Adds an entry such as `shop/web` or `shop/web(created)` to a kind.
    pub fn add(&mut self, api_version_kind: &str, entry: &str) {
        if !self.kinds.contains_key(api_version_kind) {
            self.kinds
                .insert(api_version_kind.to_owned(), Names::default());
        }
        if let Some(names) = self.kinds.get_mut(api_version_kind) {
            names.text.push_str(entry);
            names
                .ends
                .push(u32::try_from(names.text.len()).unwrap_or(u32::MAX));
        }
    }

    /// Adds the entries of another list that are not in this one.
    pub fn merge(&mut self, other: &Self) {
        for (kind, names) in &other.kinds {
            let known: BTreeSet<String> =
                self.entries(kind).into_iter().map(str::to_owned).collect();
            for name in names.iter().filter(|name| !known.contains(*name)) {
                self.add(kind, name);
            }
        }
    }

    /// Entries of a kind in the order they came.
    pub fn entries(&self, api_version_kind: &str) -> Vec<&str> {
        self.kinds
            .get(api_version_kind)
            .map(|names| names.iter().collect())
            .unwrap_or_default()
    }

    /// The kinds, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.kinds.values().map(|names| names.ends.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

impl Serialize for ResourceList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.kinds.iter().map(|(kind, names)| {
            let mut sorted: Vec<&str> = names.iter().collect();
            sorted.sort_unstable();
            (kind, sorted)
        }))
    }
}

impl<'de> Deserialize<'de> for ResourceList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kinds = Option::<BTreeMap<String, Option<Vec<String>>>>::deserialize(deserializer)?;
        let mut list = Self::default();
        for (kind, names) in kinds.unwrap_or_default() {
            for name in names.unwrap_or_default() {
                list.add(&kind, &name);
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_do_not_speak_to_terminals() {
        let text = "a\tb\nc \u{1b}[31m \r\0\u{9b} é";
        let expected = "a\tb\nc \\u{1b}[31m \\r\\u{0}\\u{9b} é";
        assert_eq!(Record::run(Severity::Error, text).message, expected);
        let item = Record::item(Severity::Error, "pods", "shop", "web", text);
        assert_eq!(item.message, expected);
        assert_eq!(printable(expected), expected);
    }

    #[test]
    fn results_files_sort_records_by_scope() {
        let records = [
            Record::run(Severity::Error, "no backup"),
            Record::item(Severity::Warning, "pods", "shop", "web", "differs"),
            Record::item(Severity::Error, "nodes", "", "n1", "denied"),
        ];
        let file = serde_json::to_string(&ResultsFile::from_records(&records)).unwrap();
        assert_eq!(
            file,
            r#"{"errors":{"velero":[" error: /no backup"],"cluster":[" resource: /nodes name: /n1 error: /denied"]},"warnings":{"namespaces":{"shop":[" resource: /pods name: /web message: /differs"]}}}"#
        );
        assert_eq!(
            serde_json::to_string(&ResultsFile::default()).unwrap(),
            r#"{"errors":{},"warnings":{}}"#
        );
        assert_eq!(count(&records, Severity::Error), 2);
    }

    #[test]
    fn resource_lists_are_sorted_on_output() {
        let mut list = ResourceList::default();
        list.add("v1/Pod", "shop/web");
        list.add("v1/Pod", "default/a");
        list.add("apps/v1/Deployment", "shop/web");
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            r#"{"apps/v1/Deployment":["shop/web"],"v1/Pod":["default/a","shop/web"]}"#
        );
        assert_eq!(
            (list.len(), list.entries("v1/Pod")),
            (3, vec!["shop/web", "default/a"])
        );
        let read: ResourceList =
            serde_json::from_value(serde_json::to_value(&list).unwrap()).unwrap();
        let mut more = ResourceList::default();
        more.add("v1/Pod", "shop/web");
        more.add("v1/Secret", "shop/key");
        list.merge(&more);
        assert_eq!(list.len(), 4);
        list.merge(&read);
        assert_eq!(list.len(), 4);
        let empty: ResourceList = serde_json::from_str("null").unwrap();
        assert!(empty.is_empty());
    }
}
