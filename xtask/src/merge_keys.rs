//! `cargo xtask merge-keys`: what strategic merge patches need to know of the types of Kubernetes.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::cargo::workspace;

/// Arguments of `cargo xtask merge-keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only compare the file with what would be written, and fail if it differs.
    #[arg(long)]
    check: bool,
}

/// Writes `velero-core/src/modifier/types.txt` from the table of types of the testkit, or compares it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace();
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let table = read(&root.join("velero-testkit/src/schema/types.txt"))?;
    let path = root.join("velero-core/src/modifier/types.txt");
    let wanted = reduced(&table);
    if args.check {
        if read(&path)? != wanted {
            bail!(
                "not up to date: {}; run `cargo xtask merge-keys`",
                path.display()
            );
        }
        return Ok(());
    }
    fs::write(&path, wanted).with_context(|| format!("cannot write {}", path.display()))
}

/// The same types with the names and forms of fields, and how patches treat them.
fn reduced(table: &str) -> String {
    let mut out = String::new();
    for line in table.lines() {
        if let Some(line) = line.strip_prefix(' ') {
            out.push(' ');
            out.push_str(&field(line));
        } else {
            out.push_str(line.strip_suffix(" !").unwrap_or(line));
        }
        out.push('\n');
    }
    out
}

fn field(line: &str) -> String {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let form = form(words.next().unwrap_or_default());
    let mut out = name.to_owned();
    if !form.is_empty() {
        out = format!("{out} {form}");
    }
    let flags = words.next().filter(|word| !word.starts_with('='));
    let (marks, key) = flags.map_or(("", None), |flags| match flags.split_once('@') {
        Some((marks, key)) => (marks, Some(key)),
        None => (flags, None),
    });
    if marks.contains('~') {
        out.push_str(" ~");
    }
    if let Some(key) = key {
        out = format!("{out} @{key}");
    }
    out
}

/// The form of a value: plain values are all the same.
fn form(text: &str) -> String {
    let inner = |open: char, close: char| text.strip_prefix(open)?.split_once(close);
    if let Some((_, rest)) = inner('[', ']') {
        return format!("[]{}", form(rest));
    }
    if let Some((_, rest)) = inner('{', '}') {
        return format!("{{}}{}", form(rest));
    }
    if text == "a" || text.starts_with('#') {
        return text.replace("#!", "#");
    }
    String::new()
}
