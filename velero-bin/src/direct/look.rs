//! Looking at a restore, and printing what is found as it comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::Value;
use velero_cluster::Cluster;
use velero_core::api::Restore;
use velero_core::plan::{Difference, ItemVerdict, PlanOutline, Verdict};
use velero_core::result::printable;
use velero_persistence::BackupStore;
use velero_restore::{Finding, Priorities, RestoreOptions, Verified};

use super::plan_file::{End, Head, Line, Note};
use super::stop_on_interrupt;
use crate::cli::output::{self, Format};
use crate::cli::{Exit, console};
use crate::report::ProgressLine;
use crate::runs::{PlanRun, RestoreInputs, cluster_identity, run_plan, system_clock};

/// What is looked at, and how it is told.
pub(crate) struct Look {
    /// The cluster to ask.
    pub(crate) cluster: Cluster,
    /// Where the backup lies.
    pub(crate) store: BackupStore,
    /// The restore, with its defaults filled in.
    pub(crate) restore: Restore,
    /// What it goes by beside its spec.
    pub(crate) inputs: RestoreInputs,
    /// How the engine runs.
    pub(crate) options: RestoreOptions,
    /// The order of kinds.
    pub(crate) priorities: Priorities,
    /// Form of the output.
    pub(crate) output: Format,
}

/// Says what a restore would do. Exits as the restore would, by what is known now.
///
/// # Errors
/// When the restore is not valid, the backup cannot be read, or the API server fails.
pub(crate) async fn look(what: Look) -> Result<Exit> {
    let mut printer = Printer::new(what.output);
    printer.line(&Line::Plan(Box::new(Head::new(
        cluster_identity(&what.cluster).await,
        what.restore.clone(),
    ))));
    let progress = Arc::new(ProgressLine::new("looked at"));
    let backup = what.restore.spec.backup_name.clone();
    let run = PlanRun {
        cluster: what.cluster,
        store: what.store,
        restore: what.restore,
        actions: Vec::new(),
        inputs: what.inputs,
        options: what.options,
        priorities: what.priorities,
        progress: progress.clone(),
        cancel: stop_on_interrupt(),
        clock: system_clock(),
    };
    let outcome = run_plan(run, |finding| {
        progress.clear();
        printer.finding(finding);
    })
    .await;
    progress.clear();
    let verified = outcome.with_context(|| {
        format!("what a restore of backup {backup:?} would do cannot be foreseen")
    })?;
    printer.end(&verified)?;
    Ok(if verified.errors > 0 {
        Exit::Partial
    } else {
        Exit::Success
    })
}

/// Prints findings as they come.
struct Printer {
    format: Format,
    /// The first line that could not be made into text.
    fault: Option<anyhow::Error>,
}

impl Printer {
    fn new(format: Format) -> Self {
        Self {
            format,
            fault: None,
        }
    }

    fn finding(&mut self, finding: Finding) {
        match finding {
            Finding::Outline(outline) => self.line(&Line::Outline(outline)),
            Finding::Item(item) => self.line(&Line::Item(item)),
            Finding::Note(record) => self.line(&Line::Note(Note::from(&record))),
            _ => {}
        }
    }

    fn line(&mut self, line: &Line) {
        let text = match self.format {
            Format::Table => Ok(row(line)),
            Format::Json => serde_json::to_string(line)
                .map(|text| text + "\n")
                .map_err(anyhow::Error::from),
            Format::Yaml => serde_json::to_value(line)
                .map_err(anyhow::Error::from)
                .and_then(|value| output::to_yaml(&value))
                .map(|text| format!("---\n{text}")),
        };
        match text {
            Ok(text) => console::out(text),
            Err(error) => {
                self.fault.get_or_insert(error);
            }
        }
    }

    fn end(mut self, verified: &Verified) -> Result<()> {
        self.line(&Line::End(End::from(verified)));
        match self.fault {
            None => Ok(()),
            Some(error) => Err(error.context("a line of the plan cannot be written")),
        }
    }
}

/// A line as people read it; columns have fixed widths, as nothing is known of the rows that follow.
fn row(line: &Line) -> String {
    match line {
        Line::Plan(_) => String::new(),
        Line::Outline(outline) => heading(outline),
        Line::Item(item) => item_rows(item),
        Line::Note(note) => {
            let about = [&note.resource, &note.namespace, &note.name];
            let about: Vec<&str> = about
                .into_iter()
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            let colon = if about.is_empty() { "" } else { ": " };
            format!(
                "{}: {}{colon}{}\n",
                note.severity,
                about.join("/"),
                note.message
            )
        }
        Line::End(end) => totals(&end.verdicts, end.unverified, end.errors),
    }
}

fn heading(outline: &PlanOutline) -> String {
    let items: u64 = outline.waves.iter().map(|wave| wave.items).sum();
    let waves: Vec<String> = outline
        .waves
        .iter()
        .map(|wave| format!("{} ({})", wave.resource, wave.items))
        .collect();
    let mut text = format!("{items} items are asked for");
    if !waves.is_empty() {
        text.push_str(&format!(", in this order: {}", waves.join(", ")));
    }
    format!(
        "{text}.\n\n{:<18} {:<30} {:<45} {}\n",
        "VERDICT", "RESOURCE", "OBJECT", "REASON"
    )
}

fn item_rows(item: &ItemVerdict) -> String {
    let object = if item.namespace.is_empty() {
        item.name.clone()
    } else {
        format!("{}/{}", item.namespace, item.name)
    };
    let row = format!(
        "{:<18} {:<30} {object:<45} {}",
        item.summary(),
        item.resource,
        console::one_line(&printable(&item.reason))
    );
    let mut text = row.trim_end().to_owned() + "\n";
    for difference in &item.differences {
        text.push_str(&format!("  {}\n", changed(difference)));
    }
    if item.more_differences > 0 {
        text.push_str(&format!("  and {} more fields\n", item.more_differences));
    }
    text
}

/// `spec.replicas: 2 -> 3`, with what the cluster has first.
fn changed(difference: &Difference) -> String {
    let side = |value: &Option<Value>| {
        value.as_ref().map_or_else(
            || "(absent)".to_owned(),
            |value| printable(&value.to_string()),
        )
    };
    format!(
        "{}: {} -> {}",
        printable(&difference.path),
        side(&difference.live),
        side(&difference.wanted)
    )
}

fn totals(verdicts: &BTreeMap<Verdict, u64>, unverified: u64, errors: u64) -> String {
    let all: Vec<String> = verdicts
        .iter()
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    let mut text = if all.is_empty() {
        "\nnothing".to_owned()
    } else {
        format!("\n{}", all.join(", "))
    };
    if unverified > 0 {
        text.push_str(&format!(" ({unverified} unverified)"));
    }
    match (errors, unverified) {
        (0, 0) => text.push_str(". The restore would have no errors.\n"),
        (0, unverified) => text.push_str(&format!(
            ". No errors among what could be verified; {unverified} unverified item{} may still fail.\n",
            if unverified == 1 { "" } else { "s" }
        )),
        _ => text.push_str(". The restore would have errors.\n"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_for_people() {
        let mut item = ItemVerdict {
            resource: "configmaps".into(),
            namespace: "shop".into(),
            name: "a".into(),
            verdict: Verdict::Conflict,
            reason: "it\ndiffers\u{1b}[0m".into(),
            ..ItemVerdict::default()
        };
        item.differences = vec![
            Difference {
                path: "data.k".into(),
                live: Some(json!("x")),
                wanted: None,
            },
            Difference {
                path: "data.l".into(),
                live: Some(json!(1)),
                wanted: Some(json!({"a": 2})),
            },
        ];
        item.more_differences = 3;
        let expected = format!(
            "{:<18} {:<30} {:<45} it differs\\u{{1b}}[0m\n  data.k: \"x\" -> (absent)\n  data.l: 1 -> {{\"a\":2}}\n  and 3 more fields\n",
            "conflict", "configmaps", "shop/a"
        );
        assert_eq!(item_rows(&item), expected);
        let verdicts = BTreeMap::from([(Verdict::Create, 2), (Verdict::Blocked, 1)]);
        assert_eq!(
            totals(&verdicts, 1, 1),
            "\n2 create, 1 blocked (1 unverified). The restore would have errors.\n"
        );
        let created = BTreeMap::from([(Verdict::Create, 9)]);
        assert_eq!(
            totals(&created, 0, 0),
            "\n9 create. The restore would have no errors.\n"
        );
        for (unverified, what) in [(1, "1 unverified item"), (9, "9 unverified items")] {
            assert_eq!(
                totals(&created, unverified, 0),
                format!(
                    "\n9 create ({unverified} unverified). No errors among what could be verified; {what} may still fail.\n"
                )
            );
        }
    }
}
