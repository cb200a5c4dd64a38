//! Which fields differ between an object of the cluster and a wanted one.

use serde_json::{Map, Value};
use velero_core::ItemTree;
use velero_core::names::labels;
use velero_core::plan::Difference;

use crate::compare::{comparable, without_choices};

/// Most differences that are told of one object.
const MOST: usize = 50;
/// Longest JSON of a value that is told whole, in bytes.
const LONGEST: usize = 400;
/// What stands for the values of a Secret.
const HIDDEN: &str = "(hidden)";
/// Where `kubectl apply` keeps a whole object, the values of a Secret too.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The fields that differ, what clusters choose and note by themselves and the labels of a restore aside; and how many
/// more there are beyond those.
///
/// Values of Secrets are not told, and long values by their size alone.
pub(crate) fn differences(live: &ItemTree, wanted: &ItemTree) -> (Vec<Difference>, u64) {
    let (Some(from), Some(to)) = (
        content(without_choices(live, wanted)),
        content(wanted.clone()),
    ) else {
        return (Vec::new(), 0);
    };
    let mut found = Found {
        hides: wanted.kind() == "Secret" || live.kind() == "Secret",
        differences: Vec::new(),
        more: 0,
    };
    found.walk(&mut Vec::new(), Some(&from), Some(&to));
    (found.differences, found.more)
}

/// What an object says, in a form that can be compared; the labels of a restore are not part of it.
pub(crate) fn content(mut item: ItemTree) -> Option<Value> {
    item.remove_labels(&[labels::BACKUP_NAME, labels::RESTORE_NAME]);
    comparable(item)
}

struct Found {
    hides: bool,
    differences: Vec<Difference>,
    more: u64,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Element(usize),
}

impl Found {
    fn walk<'a>(
        &mut self,
        path: &mut Vec<Step<'a>>,
        live: Option<&'a Value>,
        wanted: Option<&'a Value>,
    ) {
        match (live, wanted) {
            (Some(Value::Object(from)), Some(Value::Object(to))) => self.fields(path, from, to),
            (Some(Value::Array(from)), Some(Value::Array(to))) if from.len() == to.len() => {
                for (at, (from, to)) in from.iter().zip(to).enumerate() {
                    path.push(Step::Element(at));
                    self.walk(path, Some(from), Some(to));
                    path.pop();
                }
            }
            (from, to) if from == to => {}
            _ if self.differences.len() >= MOST => self.more += 1,
            (from, to) => {
                let is_hidden = self.hides && is_secret(path);
                self.differences.push(Difference {
                    path: text(path),
                    live: from.map(|value| shown(value, is_hidden)),
                    wanted: to.map(|value| shown(value, is_hidden)),
                });
            }
        }
    }

    fn fields<'a>(
        &mut self,
        path: &mut Vec<Step<'a>>,
        from: &'a Map<String, Value>,
        to: &'a Map<String, Value>,
    ) {
        let only_wanted = to.iter().filter(|(key, _)| !from.contains_key(*key));
        let keys = from.keys().chain(only_wanted.map(|(key, _)| key));
        for key in keys {
            path.push(Step::Field(key));
            self.walk(path, from.get(key), to.get(key));
            path.pop();
        }
    }
}

/// Whether a field of a Secret is one of its values, or an annotation that has them.
fn is_secret(path: &[Step<'_>]) -> bool {
    match path {
        [Step::Field("data" | "stringData"), ..] | [Step::Field("metadata")] => true,
        [
            Step::Field("metadata"),
            Step::Field("annotations"),
            rest @ ..,
        ] => rest
            .first()
            .is_none_or(|step| matches!(step, Step::Field(key) if *key == LAST_APPLIED)),
        _ => false,
    }
}

fn shown(value: &Value, is_hidden: bool) -> Value {
    if is_hidden {
        return Value::from(HIDDEN);
    }
    let bytes = value.to_string().len();
    if bytes > LONGEST {
        return Value::from(format!("({bytes} bytes)"));
    }
    value.clone()
}

fn text(path: &[Step<'_>]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Element(at) => out.push_str(&format!("[{at}]")),
            Step::Field(key) if is_plain(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Field(key) => out.push_str(&format!("[{key:?}]")),
        }
    }
    out
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(kind: &str, live: Value, wanted: Value) -> Value {
        let tree = |mut value: Value| {
            value["kind"] = json!(kind);
            if value.get("metadata").is_none() {
                value["metadata"] = json!({});
            }
            value["metadata"]["name"] = json!("x");
            ItemTree::new(value).unwrap()
        };
        let (differences, more) = differences(&tree(live), &tree(wanted));
        assert_eq!(more, 0);
        serde_json::to_value(differences).unwrap()
    }

    #[test]
    fn fields_are_named_with_both_values() {
        for (kind, live, wanted, expected) in [
            (
                "ConfigMap",
                json!({"data": {"a": "1", "b.c": "x", "same": "s"}}),
                json!({"data": {"a": "2", "d": "y", "same": "s"}}),
                json!([
                    {"path": "data.a", "live": "1", "wanted": "2"},
                    {"path": "data[\"b.c\"]", "live": "x"},
                    {"path": "data.d", "wanted": "y"},
                ]),
            ),
            (
                "Service",
                json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}}),
                json!({"spec": {"ports": [{"port": 81}]}}),
                json!([{"path": "spec.ports[0].port", "live": 80, "wanted": 81}]),
            ),
            (
                "Thing",
                json!({"spec": {"list": [1, 2]}}),
                json!({"spec": {"list": [1]}}),
                json!([{"path": "spec.list", "live": [1, 2], "wanted": [1]}]),
            ),
            (
                "Thing",
                json!({"metadata": {"uid": "u", "labels": {"velero.io/restore-name": "old"}}, "status": {"a": 1}}),
                json!({"metadata": {"labels": {"velero.io/restore-name": "new"}}}),
                json!([]),
            ),
            (
                "Thing",
                json!({"spec": {"big": "x".repeat(1000)}}),
                json!({"spec": {"big": 1}}),
                json!([{"path": "spec.big", "live": "(1002 bytes)", "wanted": 1}]),
            ),
        ] {
            assert_eq!(found(kind, live.clone(), wanted), expected, "{live}");
        }
    }

    #[test]
    fn values_of_secrets_are_not_told() {
        let annotation = |text: &str| json!({"annotations": {LAST_APPLIED: text, "note": text}});
        let live =
            json!({"data": {"a": "c2VjcmV0"}, "type": "Opaque", "metadata": annotation("secret")});
        let wanted =
            json!({"data": {"a": "b3RoZXI="}, "type": "x", "metadata": annotation("other")});
        let text = found("Secret", live, wanted);
        assert_eq!(
            text,
            json!([
                {"path": "data.a", "live": HIDDEN, "wanted": HIDDEN},
                {"path": format!("metadata.annotations[{LAST_APPLIED:?}]"), "live": HIDDEN, "wanted": HIDDEN},
                {"path": "metadata.annotations.note", "live": "secret", "wanted": "other"},
                {"path": "type", "live": "Opaque", "wanted": "x"},
            ])
        );
        let all = found(
            "Secret",
            json!({"data": {"a": "c2VjcmV0"}, "metadata": annotation("secret")}),
            json!({}),
        );
        assert!(!all.to_string().contains("ecret\""), "{all}");
    }

    #[test]
    fn no_object_is_told_at_any_length() {
        let keys = |value: &str| -> Value {
            (0..200)
                .map(|n| (format!("k{n:03}"), json!(value)))
                .collect::<Map<String, Value>>()
                .into()
        };
        let tree = |value: &str| {
            ItemTree::new(json!({"metadata": {"name": "x"}, "data": keys(value)})).unwrap()
        };
        let (told, more) = differences(&tree("a"), &tree("b"));
        assert_eq!((told.len(), more), (MOST, 150));
    }
}
