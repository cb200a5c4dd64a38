//! Rows, the table and the record in `benches/results.jsonl`.

use std::{fs::OpenOptions, io::Write, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{again, machine::Machine, measure::Usage, verdict::Verdict, writes::BEGINNING};

/// What a bare loop says about itself, on its last line of standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Objects written or read.
    pub(crate) objects: usize,
    /// Time of the loop alone, without the start of the process.
    pub(crate) seconds: f64,
}

impl Counted {
    /// Prints itself for the parent.
    pub(crate) fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }

    /// Reads what a child printed.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("not a count: {line:?}"))
    }
}

/// One measured run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// `post`, `list`, `backup` or `restore`.
    pub(crate) part: &'static str,
    /// What was varied, for example `32 in flight`.
    pub(crate) variant: String,
    pub(crate) objects: usize,
    pub(crate) seconds: f64,
    pub(crate) objects_per_second: f64,
    pub(crate) cpu_ms_per_object: f64,
    pub(crate) peak_mib: f64,
    /// CPU time of the API server in the same time.
    pub(crate) server_cpu_ms_per_object: f64,
    /// Calls an object; only with an audit log.
    pub(crate) calls_per_object: Option<f64>,
    /// Time in ms below which 99 of 100 GETs of another user were answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) get_p99_ms: Option<f64>,
    /// Objects a second that were created meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_per_second: Option<f64>,
    /// Most calls to create that were under way at a time, after the first seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writes_at_once: Option<usize>,
}

impl Row {
    /// Divides what was used by the number of objects.
    pub(crate) fn new(
        part: &'static str,
        variant: String,
        objects: usize,
        time: Duration,
        usage: Usage,
        server: Usage,
    ) -> Self {
        let per_object = |cpu: Duration| cpu.as_secs_f64() * 1000.0 / objects.max(1) as f64;
        Self {
            part,
            variant,
            objects,
            seconds: round(time.as_secs_f64()),
            objects_per_second: (objects as f64 / time.as_secs_f64().max(0.001)).round(),
            cpu_ms_per_object: round(per_object(usage.cpu)),
            peak_mib: (usage.peak_kib as f64 / 102.4).round() / 10.0,
            server_cpu_ms_per_object: round(per_object(server.cpu)),
            calls_per_object: None,
            get_p99_ms: None,
            writes_per_second: None,
            writes_at_once: None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Record<'a> {
    time: String,
    size: &'a str,
    audit: bool,
    machine: &'a Machine,
    rows: &'a [Row],
    verdicts: &'a [Verdict],
}

/// Prints the rows; the fastest of each part is marked.
pub(crate) fn print_table(rows: &[Row]) {
    println!(
        "{:<8} {:<16} {:>8} {:>9} {:>10} {:>8} {:>12} {:>9} {:>14} {:>9}",
        "part",
        "variant",
        "objects",
        "seconds",
        "objects/s",
        "of limit",
        "CPU-ms/obj",
        "MiB peak",
        "server ms/obj",
        "calls/obj"
    );
    for row in rows {
        if let Some(p99) = row.get_p99_ms {
            println!(
                "{:<8} {:<36} {:>8} GETs, 99 of 100 within {p99:.2} ms{}",
                row.part,
                row.variant,
                row.objects,
                writes_of(row)
            );
            continue;
        }
        let calls = row
            .calls_per_object
            .map_or_else(|| "-".to_owned(), |calls| format!("{calls:.3}"));
        let best = if is_best(row, rows) { "  best" } else { "" };
        let share = of_limit(row, rows)
            .map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0));
        println!(
            "{:<8} {:<16} {:>8} {:>9.2} {:>10.0} {:>8} {:>12.3} {:>9.1} {:>14.3} {:>9}{best}",
            row.part,
            row.variant,
            row.objects,
            row.seconds,
            row.objects_per_second,
            share,
            row.cpu_ms_per_object,
            row.peak_mib,
            row.server_cpu_ms_per_object,
            calls
        );
    }
}

/// What was written beside GETs.
fn writes_of(row: &Row) -> String {
    let mut text = String::new();
    if let Some(rate) = row.writes_per_second {
        text = format!(", beside {rate:.0} writes/s");
    }
    if let Some(at_once) = row.writes_at_once {
        let seconds = BEGINNING.as_secs();
        text.push_str(&format!(", after {seconds} s at most {at_once} at a time"));
    }
    text
}

/// Appends one line to the file of results.
pub(crate) fn append(
    path: &Path,
    size: &str,
    audit: bool,
    machine: &Machine,
    rows: &[Row],
    verdicts: &[Verdict],
) -> Result<()> {
    let record = Record {
        time: jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        size,
        audit,
        machine,
        rows,
        verdicts,
    };
    let mut line = serde_json::to_string(&record)?;
    line.push('\n');
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("cannot append to {}", path.display()))
}

fn is_best(row: &Row, rows: &[Row]) -> bool {
    let mut same = rows.iter().filter(|other| other.part == row.part);
    same.all(|other| other.objects_per_second <= row.objects_per_second)
}

/// The speed of an engine as a share of the fastest bare loop that does the same work, in the same run.
fn of_limit(row: &Row, rows: &[Row]) -> Option<f64> {
    fastest(rows, limit(row.part, rows)?).map(|fastest| row.objects_per_second / fastest)
}

/// The bare loop that does the work of an engine: for a restore the one over the same objects, where it ran.
pub(crate) fn limit(part: &str, rows: &[Row]) -> Option<&'static str> {
    match part {
        "backup" => Some("list"),
        "restore" if rows.iter().any(|row| row.part == again::PART) => Some(again::PART),
        "restore" => Some("post"),
        _ => None,
    }
}

/// Objects a second of the fastest run of a part; `None` when it did not run.
pub(crate) fn fastest(rows: &[Row], part: &str) -> Option<f64> {
    let rates = rows
        .iter()
        .filter(|row| row.part == part && row.objects_per_second > 0.0);
    rates.map(|row| row.objects_per_second).reduce(f64::max)
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
