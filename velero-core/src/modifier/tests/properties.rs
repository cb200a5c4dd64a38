//! What holds for any rule and any object.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::strategic_patches::merge;
use crate::modifier::ResourceModifiers;
use crate::modifier::json_patch::{self, Op, Operation, Pointer};
use crate::modifier::value;

const KEYS: [&str; 13] = [
    "metadata",
    "finalizers",
    "spec",
    "containers",
    "name",
    "env",
    "args",
    "nodeSelector",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/args",
    "$deleteFromPrimitiveList/finalizers",
];

/// Documents with keys out of the first `keys` of [`KEYS`].
fn document(keys: usize) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!("delete")),
        Just(json!("replace")),
        Just(json!("name")),
        Just(json!("a")),
        Just(json!(1)),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((0..keys, inner), 0..5).prop_map(|fields| {
                let fields = fields
                    .into_iter()
                    .map(|(at, value)| (KEYS[at].to_owned(), value));
                Value::Object(fields.collect())
            }),
        ]
    })
}

fn mapping(value: Value) -> Value {
    if value.is_object() {
        value
    } else {
        Value::Object(Map::new())
    }
}

fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key.starts_with('$') || has_directive(value)),
        Value::Array(list) => list.iter().any(has_directive),
        _ => false,
    }
}

proptest! {
    #[test]
    fn any_text_is_rules_or_faults(text in "\\PC{0,60}") {
        let rules = ResourceModifiers::parse(&text);
        prop_assert!(rules.is_ok_and(|rules| !rules.is_empty()) || ResourceModifiers::parse(&text).is_err_and(|f| !f.is_empty()));
        let _ = value::read(&text);
    }

    #[test]
    fn json_patches_end(
        mut object in document(8),
        steps in prop::collection::vec((0..6usize, "(/(spec|name|args|-|-?[0-3]|9{30})){1,4}", "(/(spec|name|args|0)){1,3}", document(8)), 1..4),
    ) {
        let steps: Vec<Operation> = steps
            .into_iter()
            .map(|(op, path, from, value)| Operation {
                op: Op::ALL[op],
                from: Pointer::new(&from).unwrap_or_default(),
                path: Pointer::new(&path).unwrap_or_default(),
                value,
            })
            .collect();
        if let Err((at, _)) = json_patch::apply(&mut object, &steps) {
            prop_assert!(at < steps.len());
        }
    }

    #[test]
    fn strategic_patches_leave_no_directive(
        own in any::<bool>(), object in document(8), patch in document(13),
        spec in document(8), change in document(13),
    ) {
        let (version, kind) = if own { ("velero.io/v1", "Backup") } else { ("v1", "Pod") };
        let (mut object, mut patch) = (mapping(object), mapping(patch));
        object["spec"] = mapping(spec);
        patch["spec"] = mapping(change);
        if let Ok(merged) = merge(version, kind, &object, &patch) {
            prop_assert!(!has_directive(&merged), "{merged}");
        }
    }
}
