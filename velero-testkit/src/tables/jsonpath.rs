//! The part of JSONPath that printer columns use: `.a.b`, `['a']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`.

use serde_json::Value;

enum Step {
    Field(String),
    Index(usize),
    All,
    /// Items whose field (a path) equals a text.
    Where(Vec<String>, String),
}

fn steps(path: &str) -> Option<Vec<Step>> {
    let mut found = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let end = closing(tail)?;
            let inner = tail[..end].trim();
            rest = &tail[end + 1..];
            found.push(bracket(inner)?);
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let (name, tail) = field(rest);
            if name.is_empty() {
                return None;
            }
            found.push(Step::Field(name));
            rest = tail;
        }
    }
    Some(found)
}

/// A field name, with `\.` for a dot inside it.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[index..]),
            _ => name.push(c),
        }
    }
    (name, "")
}

fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, c) in text.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None, ']') => return Some(index),
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    let unquoted = |t: &str| t.trim().trim_matches(['\'', '"']).to_owned();
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(condition) = inner.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (left, right) = condition.split_once("==")?;
        let left = left.trim().strip_prefix("@.")?;
        return Some(Step::Where(
            left.split('.').map(str::to_owned).collect(),
            unquoted(right),
        ));
    }
    if let Ok(index) = inner.parse() {
        return Some(Step::Index(index));
    }
    Some(Step::Field(unquoted(inner)))
}

/// The first value at a path; nothing when there is none.
pub(crate) fn first(tree: &Value, path: &str) -> Option<Value> {
    let mut current: Vec<&Value> = vec![tree];
    for step in steps(path)? {
        current = current
            .into_iter()
            .flat_map(|value| match &step {
                Step::Field(name) => value.get(name).into_iter().collect::<Vec<_>>(),
                Step::Index(index) => value.get(index).into_iter().collect(),
                Step::All => value.as_array().into_iter().flatten().collect(),
                Step::Where(path, text) => {
                    let items = value.as_array().into_iter().flatten();
                    let holds = |item: &&Value| {
                        let at = path.iter().try_fold(*item, |v, key| v.get(key));
                        at.is_some_and(|v| match v {
                            Value::String(have) => have == text,
                            other => matches!(other.to_string(), have if have == *text),
                        })
                    };
                    items.filter(holds).collect()
                }
            })
            .collect();
    }
    current.first().map(|v| (*v).clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::first;

    #[test]
    fn paths_of_printer_columns() {
        let tree = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "status": {"conditions": [{"type": "A", "status": "1"}, {"type": "Ready", "status": "True"}]},
        });
        for (path, want) in [
            (".status.conditions[0].type", Some("A")),
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                Some("True"),
            ),
            (".status.conditions[?(@.type=='Gone')].status", None),
            (".metadata.annotations.a\\.b/c", Some("x")),
            (".metadata.annotations['a.b/c']", Some("x")),
            (".spec.size", None),
        ] {
            assert_eq!(first(&tree, path), want.map(Into::into), "{path}");
        }
    }
}
