//! Lines of a log in the forms of the peer's logger.

use std::fmt::Write as _;

use jiff::Timestamp;
use tracing::Level;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// `time="..." level=info msg="..." key=value`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One event, ready to be written.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    pub(super) message: &'a str,
    /// Fields in any order.
    pub(super) fields: Vec<(String, String)>,
}

impl LogFormat {
    /// Renders a line with its line feed.
    pub(super) fn render(self, mut line: Line<'_>) -> String {
        line.fields.sort();
        line.fields.dedup_by(|later, earlier| later.0 == earlier.0);
        match self {
            Self::Text => text(&line),
            Self::Json => json(&line),
        }
    }
}

fn text(line: &Line<'_>) -> String {
    let mut out = format!("time=\"{}\" level={}", rfc3339(line.time), word(line.level));
    push(&mut out, "msg", line.message);
    for (key, value) in &line.fields {
        push(&mut out, key, value);
    }
    out.push('\n');
    out
}

fn push(out: &mut String, key: &str, value: &str) {
    out.push(' ');
    out.push_str(key);
    out.push('=');
    if needs_quotes(value) {
        quote(out, value)
    } else {
        out.push_str(value)
    }
}

fn needs_quotes(value: &str) -> bool {
    !value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._/@^+".contains(c))
}

fn quote(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn json(line: &Line<'_>) -> String {
    let mut object: serde_json::Map<String, serde_json::Value> = line
        .fields
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().into()))
        .collect();
    object.insert("time".into(), rfc3339(line.time).into());
    object.insert("level".into(), word(line.level).into());
    object.insert("msg".into(), line.message.into());
    let mut out = serde_json::Value::Object(object).to_string();
    out.push('\n');
    out
}

/// Whole seconds, as all times of the peer.
fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}
