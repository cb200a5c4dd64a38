//! Aligned text with headings.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::IsTerminal as _;

use velero_core::api::{LabelSelector, ObjectMeta, Time};
use velero_core::result::ScopedMessages;

use crate::cli::{ages, table};

/// Whether headings and phases are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Colors(pub(in crate::cli) bool);

impl Colors {
    /// The flag decides, then the config file, then whether stdout is a terminal; `NO_COLOR` switches colours off.
    pub(in crate::cli) fn choose(flag: Option<bool>, config: Option<bool>) -> Self {
        let off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(
            !off && flag
                .or(config)
                .unwrap_or_else(|| std::io::stdout().is_terminal()),
        )
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Phases of success green, of failure red.
    pub(super) fn phase(self, phase: &str) -> String {
        match phase {
            "Completed" | "Enabled" => self.paint("32", phase),
            "FailedValidation" | "PartiallyFailed" | "Failed" => self.red(phase),
            _ => phase.to_owned(),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Collects rows of cells.
#[derive(Debug, Default)]
pub(super) struct Text {
    rows: Vec<Vec<String>>,
}

impl Text {
    /// Adds a row of cells.
    pub(super) fn row<const N: usize>(&mut self, cells: [&dyn Display; N]) {
        self.rows.push(cells.map(ToString::to_string).into());
    }

    /// Adds an empty row.
    pub(super) fn gap(&mut self) {
        self.rows.push(Vec::new());
    }

    /// A heading with its values below, or with `<none>` beside it.
    pub(super) fn pairs(&mut self, heading: &str, pairs: Option<&BTreeMap<String, String>>) {
        let mut first: &dyn Display = &heading;
        for (key, value) in pairs.into_iter().flatten() {
            self.row([first, &format!("{key}={value}")]);
            first = &"";
        }
        if pairs.is_none_or(BTreeMap::is_empty) {
            self.row([&heading, &"<none>"]);
        }
    }

    /// Name, namespace, labels and annotations.
    pub(super) fn metadata(&mut self, metadata: &ObjectMeta, colors: Colors) {
        self.row([
            &"Name:",
            &colors.bold(metadata.name.as_deref().unwrap_or_default()),
        ]);
        self.row([
            &"Namespace:",
            &metadata.namespace.as_deref().unwrap_or_default(),
        ]);
        self.pairs("Labels:", metadata.labels.as_ref());
        self.pairs("Annotations:", metadata.annotations.as_ref());
    }

    /// Validation errors, when there are any.
    pub(super) fn validation(&mut self, errors: &[String], colors: Colors) {
        if errors.is_empty() {
            return;
        }
        self.gap();
        self.row([&colors.red("Validation errors:")]);
        for error in errors {
            self.row([&"", &colors.red(error)]);
        }
    }

    /// Warnings or errors by scope.
    pub(super) fn messages(&mut self, heading: &str, messages: &ScopedMessages) {
        self.gap();
        self.row([&heading]);
        self.lines("Velero:", &messages.velero);
        self.lines("Cluster:", &messages.cluster);
        if messages.namespaces.is_empty() {
            self.row([&"", &"Namespaces:", &"<none>"]);
            return;
        }
        self.row([&"", &"Namespaces:"]);
        for (namespace, lines) in &messages.namespaces {
            let heading = format!("{namespace}:");
            let mut first: &dyn Display = &heading;
            for line in lines {
                self.row([&"", &"", first, line]);
                first = &"";
            }
        }
    }

    fn lines(&mut self, heading: &str, lines: &[String]) {
        let mut first: &dyn Display = &heading;
        for line in lines {
            self.row([&"", first, line]);
            first = &"";
        }
        if lines.is_empty() {
            self.row([&"", &heading, &"<none>"]);
        }
    }

    /// What is taken and left out, below a heading.
    pub(super) fn lists(&mut self, heading: &str, rows: &[(&str, String)]) {
        self.row([&heading]);
        for (name, value) in rows {
            self.row([&"", name, value]);
        }
    }

    /// Kinds with the names of their objects.
    pub(super) fn resource_list(
        &mut self,
        list: Result<Option<BTreeMap<String, Vec<String>>>, String>,
    ) {
        self.gap();
        match list {
            Err(error) => self.row([
                &"Resource List:",
                &format!("<error getting resource list: {error}>"),
            ]),
            Ok(None) => self.row([&"Resource List:", &"<resource list not found>"]),
            Ok(Some(kinds)) => {
                self.row([&"Resource List:"]);
                for (kind, names) in kinds {
                    self.row([&"", &format!("{kind}:")]);
                    for name in names {
                        self.row([&"", &"", &format!("- {name}")]);
                    }
                }
            }
        }
    }

    /// Adds the rows of another text, some columns to the right.
    pub(super) fn indented(&mut self, text: Text, columns: usize) {
        for mut row in text.rows {
            // The last cell of a row has no width.
            if row.is_empty() {
                row.push(String::new());
            }
            row.splice(0..0, std::iter::repeat_n(String::new(), columns));
            self.rows.push(row);
        }
    }

    /// All rows, aligned.
    pub(super) fn render(&self) -> String {
        table::align(&self.rows, 0, 2)
    }
}

/// Names joined by commas, or what stands for none.
pub(super) fn join(names: &[String], none: &str) -> String {
    if names.is_empty() {
        none.to_owned()
    } else {
        names.join(", ")
    }
}

/// `auto` unless set.
pub(super) fn choice(value: Option<bool>, yes: &str, no: &str) -> String {
    match value {
        None => "auto",
        Some(true) => yes,
        Some(false) => no,
    }
    .to_owned()
}

/// A selector as users write it, or `<none>`.
pub(super) fn selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "<none>".to_owned();
    };
    match velero_core::Selector::try_from(selector) {
        Ok(selector) if selector.is_empty() => "<none>".to_owned(),
        Ok(selector) => selector.to_string(),
        Err(error) => format!("<{error}>"),
    }
}

/// Alternatives joined by ` or `.
pub(super) fn selectors(any: &[LabelSelector]) -> String {
    if any.is_empty() {
        return "<none>".to_owned();
    }
    any.iter()
        .map(|one| selector(Some(one)))
        .collect::<Vec<_>>()
        .join(" or ")
}

/// A time in the local zone, or `<n/a>`.
pub(super) fn time(time: Option<&Time>) -> String {
    ages::local(time, "<n/a>")
}
