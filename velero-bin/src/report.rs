//! What a run tells the person in front of it: progress and a summary.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use velero_core::result::{About, Record, ResultsFile, ScopedMessages, Severity};
use velero_core::{Progress, ProgressUpdate};

use crate::cli::{console, table};
use crate::runs::WithoutData;

/// Time between two updates of the line.
const PAUSE: Duration = Duration::from_millis(100);

/// One line on stderr that counts, while stderr is a terminal.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    verb: &'static str,
    shown: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
}

impl ProgressLine {
    /// A line such as `backed up 12 of 40 items`.
    pub(crate) fn new(verb: &'static str) -> Self {
        Self {
            verb,
            shown: console::shows_progress(),
            state: Mutex::default(),
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some() {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\u{1b}[K");
            let _ = stderr.flush();
        }
    }
}

impl Progress for ProgressLine {
    fn update(&self, update: ProgressUpdate) {
        if !self.shown {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        state.last = Some(Instant::now());
        let mut stderr = std::io::stderr().lock();
        let _ = write!(
            stderr,
            "\r\u{1b}[K{} {} of {} items",
            self.verb, update.done, update.total
        );
        let _ = stderr.flush();
    }

    /// In any case: a command that is silent for minutes looks dead.
    fn waiting(&self, what: &str) {
        self.clear();
        console::note(format_args!("waiting for {what}"));
    }
}

/// Most names in one line.
const NAMES: usize = 10;

/// How many volumes and claims have no data in a backup, and which, one line each.
pub(crate) fn without_data(found: &WithoutData) -> Vec<String> {
    let lines = [
        (
            found.volumes.as_slice(),
            "1 volume has no data in the backup, its objects alone are stored",
            "volumes have no data in the backup, their objects alone are stored",
        ),
        (
            &found.claims,
            "1 claim is in the backup without a volume, and so without data",
            "claims are in the backup without their volumes, and so without data",
        ),
    ];
    lines.into_iter().filter_map(counted).collect()
}

/// What a dry run says of claims and PersistentVolumes, of which a backup stores the objects alone.
pub(crate) fn will_lack_data(claims: &[String], volumes: &[String]) -> Vec<String> {
    let lines = [
        (
            claims,
            "1 claim would be in the backup without the data of its volume",
            "claims would be in the backup without the data of their volumes",
        ),
        (
            volumes,
            "1 persistent volume would be in the backup without its data",
            "persistent volumes would be in the backup without their data",
        ),
    ];
    lines.into_iter().filter_map(counted).collect()
}

/// How many there are, what is said of them, and the first names; `None` when there are none.
fn counted((names, one, many): (&[String], &str, &str)) -> Option<String> {
    match names.len() {
        0 => None,
        1 => Some(format!("{one}: {}", capped(names))),
        count => Some(format!("{count} {many}: {}", capped(names))),
    }
}

/// The first names.
fn capped(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Aligned lines of a name and a value.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    rows: Vec<Vec<String>>,
}

impl Summary {
    /// Adds a line.
    pub(crate) fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.rows
            .push(vec!["  ".to_owned() + name + ":", value.to_string()]);
    }

    /// The lines.
    pub(crate) fn render(&self) -> String {
        table::align(&self.rows, 0, 2)
    }
}

/// The warnings and errors of a run by scope; nothing when there are none.
pub(crate) fn faults(records: &[Record]) -> String {
    let results = ResultsFile::from_records(records);
    let mut out = String::new();
    for (heading, messages) in [("Warnings", &results.warnings), ("Errors", &results.errors)] {
        if !messages.is_empty() {
            scope(&mut out, heading, messages);
        }
    }
    out
}

/// Why a run did not complete, in one line: its first error, and how many more there are. `None` without errors.
pub(crate) fn cause(records: &[Record]) -> Option<String> {
    let mut errors = records
        .iter()
        .filter(|record| record.severity == Severity::Error);
    let first = errors.next()?;
    let about = match &first.about {
        About::Run => String::new(),
        About::Item {
            resource,
            namespace,
            name,
        } => {
            let parts = [resource.as_str(), namespace, name];
            let path: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            format!("{}: ", path.join("/"))
        }
    };
    let more = match errors.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(console::one_line(&format!(
        "{about}{}{more}",
        first.message
    )))
}

/// Tells on stderr why a run did not complete.
pub(crate) fn note_cause(what: &str, phase: impl std::fmt::Display, records: &[Record]) {
    if let Some(cause) = cause(records) {
        console::note(format_args!("An error occurred: {what} {phase}: {cause}"));
    }
}

fn scope(out: &mut String, heading: &str, messages: &ScopedMessages) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{heading}:");
    for (name, lines) in [
        ("the run", &messages.velero),
        ("cluster-scoped", &messages.cluster),
    ] {
        part(out, name, lines);
    }
    for (namespace, lines) in &messages.namespaces {
        part(out, &format!("namespace {namespace}"), lines);
    }
}

fn part(out: &mut String, name: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "  {name}:");
    for line in lines {
        let _ = writeln!(out, "    {}", line.trim_start());
    }
}

/// A number of bytes as people read it.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A time span as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_sorted_by_scope() {
        let records = [
            Record::item(Severity::Error, "pods", "shop", "web", "denied"),
            Record::run(Severity::Warning, "no such namespace"),
        ];
        assert_eq!(
            faults(&records),
            "Warnings:\n  the run:\n    message: /no such namespace\nErrors:\n  namespace shop:\n    resource: /pods name: /web error: /denied\n"
        );
        assert_eq!(faults(&[]), "");
    }

    #[test]
    fn the_cause_is_the_first_error() {
        let warning = Record::run(Severity::Warning, "w");
        let item = Record::item(Severity::Error, "pods", "shop", "web", "denied\n  twice");
        assert_eq!(cause(std::slice::from_ref(&warning)), None);
        assert_eq!(
            cause(&[warning, item.clone()]).unwrap(),
            "pods/shop/web: denied twice"
        );
        let run = Record::run(Severity::Error, "no namespace");
        assert_eq!(
            cause(&[run, item.clone(), item]).unwrap(),
            "no namespace (and 2 more)"
        );
    }

    #[test]
    fn volumes_without_data_are_counted_and_named() {
        let names = |count: usize| (0..count).map(|n| format!("v{n}")).collect::<Vec<_>>();
        assert_eq!(without_data(&WithoutData::default()), Vec::<String>::new());
        for (count, volumes, claims, end) in [
            (1, "1 volume has", "1 claim is", ": v0"),
            (10, "10 volumes have", "10 claims are", ", v9"),
            (12, "12 volumes have", "12 claims are", ", v9 and 2 more"),
        ] {
            let (volumes, claims) = ((volumes, names(count)), (claims, names(count)));
            let found = WithoutData {
                volumes: volumes.1,
                claims: claims.1,
            };
            let lines = without_data(&found);
            assert_eq!(lines.len(), 2);
            for (line, start) in lines.iter().zip([volumes.0, claims.0]) {
                assert!(line.starts_with(start) && line.ends_with(end), "{line}");
            }
        }
    }

    #[test]
    fn sizes_have_units() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 40, "3072.0 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
