use proptest::prelude::*;
use serde_json::{Value, json};
use velero_core::api::merge;

#[track_caller]
fn applies(target: Value, patch: Value, expected: Value) {
    let mut merged = target;
    merge::apply(&mut merged, &patch);
    assert_eq!(merged, expected);
}

/// The cases of RFC 7396, appendix A.
#[test]
fn applies_as_the_rfc_says() {
    applies(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
    applies(
        json!({"a": "b"}),
        json!({"b": "c"}),
        json!({"a": "b", "b": "c"}),
    );
    applies(json!({"a": "b"}), json!({"a": null}), json!({}));
    applies(
        json!({"a": "b", "b": "c"}),
        json!({"a": null}),
        json!({"b": "c"}),
    );
    applies(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}));
    applies(json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]}));
    applies(
        json!({"a": {"b": "c"}}),
        json!({"a": {"b": "d", "c": null}}),
        json!({"a": {"b": "d"}}),
    );
    applies(
        json!({"a": [{"b": "c"}]}),
        json!({"a": [1]}),
        json!({"a": [1]}),
    );
    applies(json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"]));
    applies(json!({"a": "b"}), json!(["c"]), json!(["c"]));
    applies(json!({"a": "foo"}), json!(null), json!(null));
    applies(json!({"a": "foo"}), json!("bar"), json!("bar"));
    applies(
        json!({"e": null}),
        json!({"a": 1}),
        json!({"e": null, "a": 1}),
    );
    applies(
        json!([1, 2]),
        json!({"a": "b", "c": null}),
        json!({"a": "b"}),
    );
    applies(
        json!({}),
        json!({"a": {"bb": {"ccc": null}}}),
        json!({"a": {"bb": {}}}),
    );
}

#[test]
fn differences_are_small() {
    let old = json!({"a": {"b": 1, "c": 2}, "gone": [1], "same": {"x": 1}});
    let new = json!({"a": {"b": 1, "c": 3}, "new": {}, "same": {"x": 1}});
    assert_eq!(
        merge::diff(&old, &new).unwrap(),
        json!({"a": {"c": 3}, "gone": null, "new": {}})
    );
    assert_eq!(merge::diff(&old, &old).unwrap(), json!({}));
}

fn json_without_null() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_difference_turns_the_old_into_the_new(
        old in prop::collection::btree_map("[a-d]", json_without_null(), 0..4),
        new in prop::collection::btree_map("[a-d]", json_without_null(), 0..4),
    ) {
        let (mut old, new) = (json!(old), json!(new));
        let patch = merge::diff(&old, &new).unwrap();
        merge::apply(&mut old, &patch);
        prop_assert_eq!(old, new);
    }
}
