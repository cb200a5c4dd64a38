//! Many definitions, as clusters have them on which many operators are installed.

use serde_json::{Map, Value, json};

use super::Body;

const KINDS: usize = 200;
/// Kinds in one API group.
const IN_GROUP: usize = 10;
const PER_KIND: usize = 20;
/// Number of custom resources.
pub(super) const OBJECTS: usize = KINDS * PER_KIND;
/// Fields in the schema of a kind; with their descriptions about 20 KB.
const FIELDS: usize = 100;

/// The definitions.
pub(super) fn definitions() -> Vec<Value> {
    (0..KINDS).map(definition).collect()
}

fn group(kind: usize) -> String {
    format!("g{:02}.bench.example.com", kind / IN_GROUP)
}

fn definition(kind: usize) -> Value {
    let (group, plural) = (group(kind), plural(kind));
    json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": format!("part{kind:03}"), "kind": format!("Part{kind:03}")},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": fields(kind)}},
                }},
            }],
        },
    })
}

fn plural(kind: usize) -> String {
    format!("part{kind:03}s")
}

fn fields(kind: usize) -> Map<String, Value> {
    let field = |n: usize| {
        let about = format!(
            "Field {n} of kind {kind} says how the part number {n} is made, painted and stored, which of the other \
             parts it goes with, and what becomes of it when it is worn out and nobody wants it any more."
        );
        (
            format!("field{n:03}"),
            json!({"type": "string", "description": about}),
        )
    };
    (0..FIELDS).map(field).collect()
}

/// Custom resource number `n`.
pub(super) fn body(space: &str, n: usize) -> Body {
    let (kind, n) = (n % KINDS, n / KINDS);
    let json = format!(
        r#"{{"apiVersion":"{}/v1","kind":"Part{kind:03}","metadata":{{"name":"part-{n:05}"}},"spec":{{"field000":"number {n}","field001":"green","field002":"kept dry"}}}}"#,
        group(kind)
    );
    Body::new(
        &format!("apis/{}/v1", group(kind)),
        space,
        &plural(kind),
        json,
    )
}
