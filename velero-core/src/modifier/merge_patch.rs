//! JSON merge patches (RFC 7386), with the peer's way to treat null (Go: `evanphx/json-patch` v5, `merge.go`).

use serde_json::{Map, Value};

/// Merges `patch` into `object`: null removes a field, mappings are merged, everything else is put in its place.
///
/// Unlike in the RFC, null also removes fields of mappings within the lists of a patch.
pub(super) fn merge(object: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match (object.get_mut(key), value) {
            (_, Value::Null) => {
                object.remove(key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (Some(Value::Object(_)), other) => {
                object.insert(key.clone(), other.clone());
            }
            (_, other) => {
                object.insert(key.clone(), without_nulls(other));
            }
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of RFC 7386, appendix A, whose object and patch are mappings, and what the peer adds.
    #[test]
    fn examples() {
        for (object, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
            (
                json!({"a": 1}),
                json!({"a": {"b": null, "c": 2}}),
                json!({"a": {"c": 2}}),
            ),
            // Nulls within lists.
            (
                json!({}),
                json!({"a": [{"b": null, "c": 1}, null]}),
                json!({"a": [{"c": 1}, null]}),
            ),
            (
                json!({"a": [1]}),
                json!({"a": [{"b": null}]}),
                json!({"a": [{}]}),
            ),
            (
                json!({"a": {"x": 1}}),
                json!({"a": [{"b": null}]}),
                json!({"a": [{"b": null}]}),
            ),
        ] {
            let (Value::Object(mut merged), Value::Object(patch)) = (object, patch) else {
                unreachable!()
            };
            merge(&mut merged, &patch);
            assert_eq!(Value::Object(merged), want, "{patch:?}");
        }
    }
}
