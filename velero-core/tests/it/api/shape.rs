//! Our definitions have the shape of the peer's, line by line.
//!
//! The fixture lists the peer's definitions without their texts: a head line for each, its columns, then each property with its
//! type and everything else that is said about it.

use std::fmt::Write as _;

use serde_json::Value;
use velero_core::{
    api::crd,
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};

const PEER: &str = include_str!("../../../../velero-testkit/fixtures/crd-shape.txt");

#[test]
fn definitions_have_the_shape_of_the_peer() {
    let ours: Vec<String> = crd::all().iter().map(shape).collect();
    let ours = ours.join("\n");
    let missing: Vec<&str> = PEER
        .lines()
        .filter(|line| !ours.lines().any(|our| our == *line))
        .collect();
    let surplus: Vec<&str> = ours
        .lines()
        .filter(|line| !PEER.lines().any(|peer| peer == *line))
        .collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing: {missing:#?}\nsurplus: {surplus:#?}"
    );
    for (number, (ours, peer)) in ours.lines().zip(PEER.lines()).enumerate() {
        assert_eq!(ours, peer, "line {}", number + 1);
    }
    assert_eq!(
        ours.trim_end().lines().count(),
        PEER.trim_end().lines().count()
    );
}

/// Writes one definition in the form of the fixture.
fn shape(crd: &CustomResourceDefinition) -> String {
    let crd = serde_json::to_value(crd).unwrap();
    let names = &crd["spec"]["names"];
    let mut out = String::new();
    for version in crd["spec"]["versions"].as_array().unwrap() {
        writeln!(
            out,
            "# {}  {}  {} served={} storage={} kind={} list={} short={} subresources={}",
            text(&crd["metadata"]["name"]),
            text(&crd["spec"]["scope"]),
            text(&version["name"]),
            python_bool(&version["served"]),
            python_bool(&version["storage"]),
            text(&names["kind"]),
            text(&names["listKind"]),
            list(&names["shortNames"]),
            version["subresources"]
                .as_object()
                .map_or(String::new(), |map| {
                    map.keys().cloned().collect::<Vec<_>>().join(",")
                }),
        )
        .unwrap();
        for column in version["additionalPrinterColumns"]
            .as_array()
            .unwrap_or(&Vec::new())
        {
            writeln!(
                out,
                "column {}: {} {} priority={}",
                text(&column["name"]),
                text(&column["jsonPath"]),
                text(&column["type"]),
                column["priority"].as_i64().unwrap_or(0),
            )
            .unwrap();
        }
        let schema = &version["schema"]["openAPIV3Schema"];
        for (name, property) in schema["properties"].as_object().unwrap() {
            if !matches!(name.as_str(), "apiVersion" | "kind") {
                write_property(
                    &mut out,
                    &format!(".{name}"),
                    property,
                    is_required(schema, name),
                );
            }
        }
    }
    out
}

fn write_property(out: &mut String, path: &str, schema: &Value, required: bool) {
    write!(out, "{path}: {}", text(&schema["type"])).unwrap();
    for key in ["enum", "format", "default"] {
        if let Some(value) = schema.get(key) {
            write!(out, " {key}={value}").unwrap();
        }
    }
    if schema["nullable"] == true {
        out.push_str(" nullable");
    }
    for key in ["x-kubernetes-map-type", "x-kubernetes-list-type"] {
        if let Some(value) = schema.get(key) {
            write!(out, " {key}={value}").unwrap();
        }
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        out.push_str(" x-kubernetes-preserve-unknown-fields");
    }
    out.push_str(if required { " required\n" } else { "\n" });
    assert_known_keys(path, schema);
    if let Some(items) = schema.get("items") {
        write_property(out, &format!("{path}[]"), items, false);
    }
    if let Some(values) = schema.get("additionalProperties") {
        write_property(out, &format!("{path}{{}}"), values, false);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        write_property(
            out,
            &format!("{path}.{name}"),
            property,
            is_required(schema, name),
        );
    }
}

/// What the shape does not show must not be there either; `minItems` is checked elsewhere.
fn assert_known_keys(path: &str, schema: &Value) {
    const KNOWN: &[&str] = &[
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "minItems",
        "nullable",
        "properties",
        "required",
        "type",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
    ];
    for key in schema.as_object().unwrap().keys() {
        assert!(KNOWN.contains(&key.as_str()), "{path}: {key}");
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"]
        .as_array()
        .is_some_and(|names| names.iter().any(|required| required == name))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> String {
    let words: Vec<&str> = value.as_array().into_iter().flatten().map(text).collect();
    words.join(",")
}

fn python_bool(value: &Value) -> &'static str {
    if value == true { "True" } else { "False" }
}
