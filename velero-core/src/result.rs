//! What came of a run: counts, records of what went wrong, lists of what was handled.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

mod resource_list;

pub use resource_list::ResourceList;

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

    fn add_new(&mut self, other: Self) {
        let add = |all: &mut Vec<String>, new: Vec<String>| {
            for line in new {
                if !all.contains(&line) {
                    all.push(line);
                }
            }
        };
        add(&mut self.velero, other.velero);
        add(&mut self.cluster, other.cluster);
        for (namespace, lines) in other.namespaces {
            add(self.namespaces.entry(namespace).or_default(), lines);
        }
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

    /// Adds the messages of another file, but for those that are in this one, line for line.
    pub fn add_new(&mut self, other: Self) {
        self.errors.add_new(other.errors);
        self.warnings.add_new(other.warnings);
    }
}

/// How many records of each weight there are.
pub fn count(records: &[Record], severity: Severity) -> usize {
    records.iter().filter(|r| r.severity == severity).count()
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
    fn messages_are_added_once() {
        let first = Record::item(Severity::Error, "pods", "shop", "web", "one");
        let second = Record::item(Severity::Error, "pods", "shop", "web", "two");
        let run = Record::run(Severity::Warning, "three");
        let mut file = ResultsFile::from_records([&first]);
        for _ in 0..2 {
            file.add_new(ResultsFile::from_records([&first, &second, &run]));
        }
        assert_eq!((file.errors.len(), file.warnings.len()), (2, 1));
        assert_eq!(file, ResultsFile::from_records([&first, &second, &run]));
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
}
