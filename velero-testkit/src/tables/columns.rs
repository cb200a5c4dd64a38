//! Columns of tables, kind by kind (Go: `pkg/printers/internalversion/printers.go`).

use jiff::Timestamp;
use serde_json::Value;

use super::builtin::{containers, core, default_class, others, selector, storage, workloads};
use super::jsonpath;
use crate::registry::Resource;

/// Where a cell comes from.
enum Source {
    /// A field, as it is.
    Path(String),
    /// A time, as the time since then.
    Since(String),
    /// Anything else.
    Made(fn(&Value) -> Value),
}

/// A column.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) priority: i64,
    source: Source,
}

impl Column {
    pub(crate) fn cell(&self, tree: &Value, now: Timestamp) -> Value {
        match &self.source {
            Source::Path(path) => match jsonpath::first(tree, path) {
                Some(Value::Null) | None => Value::Null,
                Some(value @ (Value::Object(_) | Value::Array(_))) => value.to_string().into(),
                Some(value) if self.kind == "string" && !value.is_string() => {
                    value.to_string().into()
                }
                Some(value) => value,
            },
            Source::Since(path) => {
                let at =
                    jsonpath::first(tree, path).and_then(|v| v.as_str()?.parse::<Timestamp>().ok());
                at.map_or_else(
                    || "<unknown>".into(),
                    |at| age(now.as_second() - at.as_second()).into(),
                )
            }
            Source::Made(make) => make(tree),
        }
    }
}

/// The time since something, in the words of kubectl.
fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |big: i64, unit: &str, small: i64, under: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{under}")
        }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

pub(super) fn path(name: &str, path: &str) -> Column {
    Column {
        name: name.into(),
        kind: "string".into(),
        priority: 0,
        source: Source::Path(path.into()),
    }
}

pub(super) fn since(name: &str, path: &str) -> Column {
    Column {
        name: name.into(),
        kind: "string".into(),
        priority: 0,
        source: Source::Since(path.into()),
    }
}

pub(super) fn made(name: &str, make: fn(&Value) -> Value) -> Column {
    Column {
        name: name.into(),
        kind: "string".into(),
        priority: 0,
        source: Source::Made(make),
    }
}

pub(super) fn wide(mut column: Column) -> Column {
    column.priority = 1;
    column
}

/// The columns of a resource.
pub(crate) fn of(resource: &Resource) -> Vec<Column> {
    let mut columns = vec![path("Name", ".metadata.name")];
    if let Some(custom) = &resource.custom {
        if custom.columns.is_empty() {
            columns.push(since("Age", ".metadata.creationTimestamp"));
        }
        columns.extend(custom.columns.iter().map(custom_column));
        return columns;
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("storage.k8s.io", "storageclasses") => columns = vec![made("Name", default_class)],
        ("" | "events.k8s.io", "events") => columns.clear(),
        _ => {}
    }
    columns.extend(own(resource));
    if !matches!(
        resource.plural.as_str(),
        "events" | "customresourcedefinitions"
    ) {
        columns.push(since("Age", ".metadata.creationTimestamp"));
    }
    if matches!(
        resource.plural.as_str(),
        "deployments" | "statefulsets" | "daemonsets" | "replicasets"
    ) {
        columns.push(wide(made("Containers", |t| containers(t, "name"))));
        columns.push(wide(made("Images", |t| containers(t, "image"))));
        columns.push(wide(made("Selector", selector)));
    }
    columns
}

fn custom_column(spec: &Value) -> Column {
    let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
    let source = if text("type") == "date" {
        Source::Since(text("jsonPath"))
    } else {
        Source::Path(text("jsonPath"))
    };
    let kind = if text("type") == "date" {
        "string".into()
    } else {
        text("type")
    };
    Column {
        name: text("name"),
        kind,
        priority: spec["priority"].as_i64().unwrap_or(0),
        source,
    }
}

/// Columns between name and age.
fn own(resource: &Resource) -> Vec<Column> {
    let named = (resource.group.as_str(), resource.plural.as_str());
    let tried = [core(named), storage(named), workloads(named), others(named)];
    tried.into_iter().flatten().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages() {
        for (seconds, want) in [
            (-5, "0s"),
            (90, "90s"),
            (125, "2m5s"),
            (1200, "20m"),
            (10_900, "3h1m"),
            (86_400, "24h"),
            (190_000, "2d4h"),
            (864_000, "10d"),
            (63_072_000, "2y"),
        ] {
            assert_eq!(age(seconds), want, "{seconds}");
        }
    }
}
