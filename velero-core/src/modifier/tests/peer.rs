//! What the libraries of the peer make of patches, line by line in `peer.jsonl`.
//!
//! Written by `velero-testkit/patchgen` with evanphx/json-patch 5.9.11 and apimachinery 0.36.3.

use serde_json::{Map, Value};

use super::strategic_patches::merge;
use crate::modifier::json_patch::{self, Failure, Op, Operation, Pointer};
use crate::modifier::merge_patch;

/// The lines of one sort: object, patch, what became of it, and the line.
fn cases(sort: &str) -> Vec<(Value, Value, Value, String)> {
    let lines = include_str!("peer.jsonl").lines();
    let cases = lines.map(|text| {
        let line: Value = serde_json::from_str(text).unwrap();
        (line, text.to_owned())
    });
    cases
        .filter(|(line, _)| line["sort"] == sort)
        .map(|(mut line, text)| {
            let (object, patch) = (line["object"].take(), line["patch"].take());
            (object, patch, line, text)
        })
        .collect()
}

fn mapping(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no mapping"),
    }
}

fn operation(step: &Value) -> Operation {
    let pointer = |key: &str| {
        step[key]
            .as_str()
            .and_then(Pointer::new)
            .unwrap_or_default()
    };
    Operation {
        op: Op::ALL
            .into_iter()
            .find(|op| step["op"] == op.as_str())
            .unwrap(),
        from: pointer("from"),
        path: pointer("path"),
        value: step["value"].clone(),
    }
}

#[test]
fn json_patches() {
    let cases = cases("json");
    assert_eq!(cases.len(), 300);
    for (mut object, patch, line, text) in cases {
        let steps: Vec<Operation> = patch.as_array().unwrap().iter().map(operation).collect();
        let outcome = json_patch::apply(&mut object, &steps);
        match (line["error"].as_str(), outcome) {
            (None, Ok(())) => assert_eq!(object, line["result"], "{text}"),
            (Some("test"), Err((_, Failure::Test))) => {}
            (Some("refused"), Err((_, Failure::Absent(_) | Failure::Wrong(_)))) => {}
            // Where the library panics, ours is known only not to.
            (Some("panic"), _) => {}
            (_, outcome) => panic!("{text}: {outcome:?}"),
        }
    }
}

#[test]
fn merge_patches() {
    let cases = cases("merge");
    assert_eq!(cases.len(), 60);
    for (object, patch, line, text) in cases {
        let mut merged = mapping(object);
        merge_patch::merge(&mut merged, &mapping(patch));
        assert_eq!(Value::Object(merged), line["result"], "{text}");
    }
}

#[test]
fn strategic_patches() {
    let cases = cases("strategic");
    assert_eq!(cases.len(), 150);
    for (object, patch, line, text) in cases {
        let (version, kind) = match line["kind"].as_str().unwrap() {
            "Pod" => ("v1", "Pod"),
            kind => ("apps/v1", kind),
        };
        match (
            line["error"].as_str(),
            merge(version, kind, &object, &patch),
        ) {
            (None, Ok(merged)) => {
                let mut want = line["result"].clone();
                without_directives(&mut want);
                assert_eq!(merged, want, "{text}");
            }
            (Some("refused"), Err(_)) => {}
            // A mark that the list is replaced is not missed in the order; there it is when it comes last.
            (Some("refused"), Ok(_)) if text.contains(r#"{"$patch":"replace","name""#) => {}
            // A list without elements has an order.
            (Some("empty"), Ok(_)) => {}
            (_, outcome) => panic!("{text}: {outcome:?}"),
        }
    }
}

/// The library leaves the directives of elements that are new where they are.
fn without_directives(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("$retainKeys");
            map.values_mut().for_each(without_directives);
        }
        Value::Array(list) => list.iter_mut().for_each(without_directives),
        _ => {}
    }
}
