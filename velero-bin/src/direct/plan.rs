//! `velero direct plan`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Zoned;
use serde_json::Value;
use velero_core::GoDuration;
use velero_core::api::Restore;
use velero_core::plan::{Difference, ItemVerdict, PlanOutline, Verdict};
use velero_core::result::printable;
use velero_restore::{Finding, RestoreOptions, Verified};

use super::engine_args::RestoreEngineArgs;
use super::inputs::RestoreInputArgs;
use super::plan_file::{End, Head, Line, Note};
use super::stop_on_interrupt;
use super::store::StoreArgs;
use crate::cli::filters::{MetadataArgs, RestoreFilterArgs};
use crate::cli::output::{self, Format};
use crate::cli::{self, Environment, Exit, console, names};
use crate::report::ProgressLine;
use crate::runs::{PlanRun, cluster_identity, prepare_direct_restore, run_plan, system_clock};

/// Flags of `direct plan`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DirectPlan {
    /// Name of the backup
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Name that the restore would have; without it the name of the backup and the time
    #[arg(long, value_name = "NAME")]
    restore_name: Option<String>,
    /// How long the restore would wait for namespaces and volumes that are being deleted; 10m without it
    #[arg(long, value_name = "DURATION")]
    terminating_resource_timeout: Option<GoDuration>,
    #[command(flatten)]
    engine: RestoreEngineArgs,
    #[command(flatten)]
    inputs: RestoreInputArgs,
    #[command(flatten)]
    filters: RestoreFilterArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    /// Form of the output; json has one line for each item, and is what direct restore --plan-file reads
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl DirectPlan {
    /// Exits as the restore would, by what is known now: with 2 where an item would be an error.
    pub(super) async fn run(self, environment: &Environment) -> Result<Exit> {
        names::check("backup", &self.name)?;
        let name = match &self.restore_name {
            Some(name) => name.clone(),
            None => names::restore_name(&self.name, &Zoned::now()),
        };
        names::check("restore", &name)?;
        let mut spec = self.filters.spec()?;
        spec.backup_name = self.name.clone();
        let store = self.store.open_for_reading().await?;
        let cluster = cli::cluster(&environment.global).await?;
        let mut restore = Restore::new(environment.namespace(), name.as_str(), spec);
        self.metadata.apply(&mut restore.metadata);
        self.filters.data.annotate(&mut restore.metadata);
        prepare_direct_restore(&mut restore, jiff::Timestamp::now());
        let inputs = self.inputs.read(&cluster, &restore).await?;
        let all_versions = environment.features().all_api_versions();
        let options = RestoreOptions::default().api_group_versions(all_versions);
        let mut options = self.engine.apply(options)?;
        if let Some(timeout) = self.terminating_resource_timeout {
            options = options.terminating_timeout(timeout.to_std());
        }

        let mut printer = Printer::new(self.output);
        printer.line(&Line::Plan(Box::new(Head::new(
            cluster_identity(&cluster).await,
            restore.clone(),
        ))));
        let progress = Arc::new(ProgressLine::new("looked at"));
        let run = PlanRun {
            cluster,
            store,
            restore,
            actions: Vec::new(),
            inputs,
            options,
            priorities: self.inputs.priorities(),
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
            format!(
                "what a restore of backup {:?} would do cannot be foreseen",
                self.name
            )
        })?;
        printer.end(&verified)?;
        Ok(if verified.errors > 0 {
            Exit::Partial
        } else {
            Exit::Success
        })
    }
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
    let mut text = format!("{items} items would be restored");
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
    text.push_str(match errors {
        0 => ". The restore would have no errors.\n",
        _ => ". The restore would have errors.\n",
    });
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
    }
}
