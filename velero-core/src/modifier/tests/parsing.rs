//! What is wrong with rules is told, all of it, with its place.

use std::collections::BTreeMap;

use super::ResourceModifiers;

fn faults(yaml: &str) -> Vec<String> {
    ResourceModifiers::parse(yaml).err().unwrap_or_default()
}

/// A document with one rule that has this below its conditions, and these patches.
fn rule(conditions: &str, patches: &str) -> String {
    format!(
        "version: v1\nresourceModifierRules:\n- conditions: {{groupResource: pods{conditions}}}\n  {patches}\n"
    )
}

const GOOD: &str = "patches: [{operation: remove, path: /a}]";

#[test]
fn good_documents() {
    for yaml in [
        rule("", GOOD),
        rule("", GOOD).replace("v1", "V1"),
        rule("", GOOD).replace("groupResource", "GroupResource").replace("patches", "PATCHES"),
        rule("", "patches: [{operation: REPLACE, path: /a, value: 5}, {operation: test, path: /a}]"),
        rule("", "patches: [{operation: copy, from: /a, path: /b, value: '{'}]"),
        rule("", "patches: []\n  mergePatches: [{patchData: '{\"a\": 1}'}]"),
        rule("", "strategicPatches:\n  - patchData: |\n      spec:\n        a: null\n"),
        rule(", namespaces: [a, 'b*'], resourceNameRegex: '^a.*$', labelSelector: {matchLabels: {a: b}}, matches: [{path: /a, value: 1}]", GOOD),
        r#"{"version":"v1","resourceModifierRules":[{"conditions":{"groupResource":"*.apps"},"patches":[{"operation":"add","path":"/spec/template/spec/containers/0","value":"{\"name\": \"nginx\"}"},{"operation":"copy","from":"/spec/template/spec/containers/0","path":"/spec/template/spec/containers/1"}]}]}"#.into(),
    ] {
        assert_eq!(faults(&yaml), [""; 0], "{yaml}");
        assert_eq!(ResourceModifiers::parse(&yaml).unwrap().len(), 1);
    }
}

#[test]
fn bad_documents() {
    for (yaml, want) in [
        (String::new(), "it is empty"),
        ("a: [".into(), "it is no yaml document"),
        ("- a".into(), "is no mapping"),
        ("version: v1".into(), "resourceModifierRules: there is none"),
        (
            "version: v1\nresourceModifierRules: []".into(),
            "resourceModifierRules: there is none",
        ),
        (
            rule("", GOOD).replace("v1", "v2"),
            "version: \"v2\" is not known; write v1",
        ),
        (
            rule("", GOOD).replace("version: v1\n", ""),
            "version: it is missing",
        ),
        (
            rule("", GOOD).replace("version: v1", "version: v1\nVersion: v1"),
            "version: it is there twice; keep one",
        ),
        (
            format!("{}versions: v1", rule("", GOOD)),
            "versions: unknown key",
        ),
        (
            rule("", &format!("{GOOD}\n  patch: []")),
            "resourceModifierRules[0].patch: unknown key",
        ),
        (
            rule("", GOOD).replace("{groupResource: pods}", "{}"),
            "resourceModifierRules[0].conditions.groupResource: it is missing",
        ),
        (
            rule("", GOOD).replace("pods", "''"),
            "resourceModifierRules[0].conditions.groupResource: it is missing",
        ),
        (
            rule("", GOOD).replace("conditions: {groupResource: pods}", ""),
            "resourceModifierRules[0].conditions.groupResource: it is missing",
        ),
        (
            rule("", GOOD).replace("pods", "'[a'"),
            "resourceModifierRules[0].conditions.groupResource: \"[a\" is no pattern",
        ),
        (
            rule(", namespaces: ['a[']", GOOD),
            "resourceModifierRules[0].conditions.namespaces: \"a[\" is no pattern",
        ),
        (
            rule(", resourceNameRegex: '[a-z'", GOOD),
            "resourceModifierRules[0].conditions.resourceNameRegex: \"[a-z\" is no regular expression: unclosed",
        ),
        (
            rule(
                ", labelSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}",
                GOOD,
            ),
            "resourceModifierRules[0].conditions.labelSelector: ",
        ),
        (
            rule(", labelSelector: {app: web}", GOOD),
            "resourceModifierRules[0].conditions.labelSelector.app: unknown key",
        ),
        (
            rule(", matches: [{value: a}]", GOOD),
            "resourceModifierRules[0].conditions.matches[0].path: it is missing",
        ),
        (
            rule(", matches: [{path: spec/a}]", GOOD),
            "resourceModifierRules[0].conditions.matches[0].path: \"spec/a\" does not begin with a slash",
        ),
        (
            rule("", "patches: [{operation: remove, path: spec/a}]"),
            "resourceModifierRules[0].patches[0].path: \"spec/a\" does not begin with a slash",
        ),
        (
            rule("", "patches: [{operation: move, from: spec/a, path: /a}]"),
            "resourceModifierRules[0].patches[0].from: \"spec/a\" does not begin with a slash",
        ),
        (
            rule("", ""),
            "resourceModifierRules[0]: it has no patches; a rule has either patches, mergePatches or strategicPatches",
        ),
        (
            rule(
                "",
                &format!("{GOOD}\n  mergePatches: [{{patchData: '{{}}'}}]"),
            ),
            "resourceModifierRules[0]: it has patches and mergePatches; a rule has either",
        ),
        (
            rule(
                "",
                "patches: [{operation: remove, path: /a}, {operation: patch, path: /a}]",
            ),
            "resourceModifierRules[0].patches[1].operation: \"patch\" is no operation; write add, remove, replace, test, move, copy",
        ),
        (
            rule("", "patches: [{path: /a}]"),
            "resourceModifierRules[0].patches[0].operation: it is missing",
        ),
        (
            rule("", "patches: [{operation: remove}]"),
            "resourceModifierRules[0].patches[0].path: it is missing",
        ),
        (
            rule("", "patches: [{operation: move, path: /a}]"),
            "resourceModifierRules[0].patches[0].from: it is missing",
        ),
        (
            rule("", "patches: [{operation: add, path: /a, value: {b: c}}]"),
            "resourceModifierRules[0].patches[0].value: it is no text; put quotes around it",
        ),
        (
            rule("", "patches: [{operation: add, path: /a, value: '{b'}]"),
            "resourceModifierRules[0].patches[0].value: \"{b\" is read as json",
        ),
        (
            rule("", "mergePatches: [{}]"),
            "resourceModifierRules[0].mergePatches[0].patchData: it is empty",
        ),
        (
            rule("", "mergePatches: [{patchData: {a: b}}]"),
            "resourceModifierRules[0].mergePatches[0].patchData: it is no text; write it as text",
        ),
        (
            rule("", "mergePatches: [{patchData: '[]'}]"),
            "resourceModifierRules[0].mergePatches[0].patchData: it is no mapping",
        ),
        (
            rule("", "strategicPatches: [{patchData: 'a: b:'}]"),
            "resourceModifierRules[0].strategicPatches[0].patchData: it is no yaml document",
        ),
    ] {
        let faults = faults(&yaml);
        assert!(
            faults.len() == 1 && faults[0].contains(want) && !faults[0].contains('\n'),
            "{yaml}\n{faults:?} does not hold {want:?}"
        );
    }
}

#[test]
fn all_faults_are_told() {
    let yaml = "version: v2\nresourceModifierRules:\n- conditions: {}\n  patches: [{operation: add}]\n- conditions: {groupResource: '['}\n";
    let places: Vec<String> = faults(yaml)
        .iter()
        .map(|fault| fault.split(": ").next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        places,
        [
            "version",
            "resourceModifierRules[0].conditions.groupResource",
            "resourceModifierRules[0].patches[0].path",
            "resourceModifierRules[1].conditions.groupResource",
            "resourceModifierRules[1]",
        ]
    );
}

#[test]
fn config_maps_have_one_key() {
    let data = |keys: &[&str]| -> BTreeMap<String, String> {
        keys.iter()
            .map(|key| ((*key).to_owned(), rule("", GOOD)))
            .collect()
    };
    let read = |data: BTreeMap<String, String>| {
        ResourceModifiers::from_config_map("velero", "rules", &data)
    };
    assert!(read(data(&["any.yaml"])).is_ok());
    for keys in [&[][..], &["a", "b"]] {
        let faults = read(data(keys)).unwrap_err();
        assert!(faults[0].contains("exactly one"), "{faults:?}");
    }
    let bad = BTreeMap::from([("k".to_owned(), rule("", GOOD).replace("v1", "v3"))]);
    assert_eq!(
        read(bad).unwrap_err(),
        ["resource modifier ConfigMap velero/rules, key k: version: \"v3\" is not known; write v1"]
    );
}
