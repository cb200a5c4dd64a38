//! Objects as JSON and YAML.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::console;
use super::table::Table;

/// How `get` and `create` print objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns.
    Table,
    /// Indented JSON.
    Json,
    /// YAML.
    Yaml,
}

/// An object as `-o json` or `-o yaml` prints it, with a line feed at the end.
pub(crate) fn encode(object: &Value, format: Format) -> Result<String> {
    match format {
        Format::Yaml => to_yaml(object),
        Format::Json | Format::Table => {
            let bytes = velero_core::to_go_json_pretty(object);
            Ok(String::from_utf8(bytes).context("an object is not utf-8")? + "\n")
        }
    }
}

/// A value as YAML.
pub(crate) fn to_yaml(value: &Value) -> Result<String> {
    let mut text = serde_saphyr::to_string(value).context("an object cannot be written as yaml")?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Prints objects: exactly one as itself, any other number as a list.
pub(crate) fn print_objects(kind: &str, objects: &[Value], format: Format) -> Result<()> {
    let text = match objects {
        [one] => encode(one, format)?,
        _ => encode(
            &json!({"apiVersion": "velero.io/v1", "kind": format!("{kind}List"), "metadata": {}, "items": objects}),
            format,
        )?,
    };
    console::out(text);
    Ok(())
}

/// Prints a table; an empty one prints nothing.
pub(crate) fn print_table(table: &Table) {
    console::out(table.render());
}
