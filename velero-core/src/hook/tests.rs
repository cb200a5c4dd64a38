use super::*;
use crate::ApiResource;
use serde_json::{Value, json};

fn annotations(value: Value) -> BTreeMap<String, String> {
    serde_json::from_value(value).unwrap()
}

fn rules(resources: Value) -> Result<BackupHookRules, Vec<String>> {
    let pods = ApiResource {
        version: "v1".into(),
        kind: "Pod".into(),
        plural: "pods".into(),
        singular: "pod".into(),
        short_names: vec!["po".into()],
        namespaced: true,
        preferred: true,
        ..ApiResource::default()
    };
    let hooks: BackupHooks = serde_json::from_value(json!({"resources": resources})).unwrap();
    BackupHookRules::compile(&hooks, &Catalog::new(vec![pods], Vec::new()))
}

#[test]
fn annotations_of_all_prefixes() {
    use HookPhase::{Post, Pre};
    for (given, phase, command) in [
        (
            json!({"pre.hook.backup.velero.io/command": "sync"}),
            Pre,
            Some("sync"),
        ),
        (
            json!({"hook.backup.velero.io/command": "old"}),
            Pre,
            Some("old"),
        ),
        (
            json!({"hook.backup.velero.io/command": "old", "pre.hook.backup.velero.io/command": "new"}),
            Pre,
            Some("new"),
        ),
        (json!({"pre.hook.backup.velero.io/command": ""}), Pre, None),
        (
            json!({"pre.hook.backup.velero.io/container": "c"}),
            Pre,
            None,
        ),
        (
            json!({"pre.hook.backup.velero.io/command": "sync"}),
            Post,
            None,
        ),
        (json!({"hook.backup.velero.io/command": "old"}), Post, None),
        (
            json!({"post.hook.backup.velero.io/command": "thaw"}),
            Post,
            Some("thaw"),
        ),
        (
            json!({"post.hook.backup.velero.io/command": "thaw"}),
            Pre,
            None,
        ),
    ] {
        let found = hook_of_annotations(&annotations(given.clone()), phase);
        let found = found.map(|(call, _)| call.command.join(" "));
        assert_eq!(found.as_deref(), command, "{given} {phase}");
    }
}

#[test]
fn old_keys_are_read_as_a_set() {
    let given = annotations(json!({
        "hook.backup.velero.io/command": "old", "hook.backup.velero.io/container": "a",
        "hook.backup.velero.io/on-error": "Fail", "pre.hook.backup.velero.io/container": "b"
    }));
    let (call, _) = hook_of_annotations(&given, HookPhase::Pre).unwrap();
    assert_eq!(
        (call.container.as_deref(), call.fails_pod()),
        (Some("a"), true)
    );
}

#[test]
fn commands_are_lists_or_one_argument() {
    for (text, expected) in [
        (r#"["/bin/sh", "-c", "a b"]"#, vec!["/bin/sh", "-c", "a b"]),
        ("/bin/echo a b", vec!["/bin/echo a b"]),
        ("[ -f /x ]", vec!["[ -f /x ]"]),
        (r#"["a", 1]"#, vec![r#"["a", 1]"#]),
        (r#" ["a"]"#, vec![r#" ["a"]"#]),
        ("[]", vec![]),
    ] {
        assert_eq!(parse_command(text), expected, "{text}");
    }
}

#[test]
fn modes_and_timeouts_of_annotations() {
    let pre = |key: &str| format!("pre.hook.backup.velero.io/{key}");
    for (mode, timeout, fails, seconds, warns) in [
        ("Fail", "5s", true, 5, None),
        ("Continue", "1m30s", false, 90, None),
        ("", "", false, 30, None),
        (
            "fail",
            "0s",
            false,
            30,
            Some("on-error: \"fail\" is neither "),
        ),
        (
            "Never",
            "5s",
            false,
            5,
            Some("on-error: \"Never\" is neither "),
        ),
        ("Fail", "-3s", true, 30, None),
        (
            "Fail",
            "10",
            true,
            30,
            Some("timeout: \"10\" is no duration"),
        ),
    ] {
        let given = BTreeMap::from([
            (pre("command"), "x".to_owned()),
            (pre("on-error"), mode.to_owned()),
            (pre("timeout"), timeout.to_owned()),
        ]);
        let (call, warnings) = hook_of_annotations(&given, HookPhase::Pre).unwrap();
        let found = (call.fails_pod(), call.timeout.as_secs());
        assert_eq!(found, (fails, seconds), "{mode} {timeout}");
        let warns: Vec<String> = warns.iter().map(|text| pre(text)).collect();
        assert_eq!(warnings.len(), warns.len(), "{warnings:?}");
        for (warning, text) in warnings.iter().zip(&warns) {
            assert!(
                warning.starts_with(&format!("annotation {text}")),
                "{warning}"
            );
        }
    }
}

#[test]
fn annotations_of_a_phase_hide_the_spec_of_that_phase() {
    let both = json!([{"name": "h", "pre": [{"exec": {"command": ["spec"]}}], "post": [{"exec": {"command": ["spec"]}}]}]);
    let rules = rules(both).unwrap();
    let own = annotations(json!({"pre.hook.backup.velero.io/command": "own"}));
    for (phase, command) in [(HookPhase::Pre, "own"), (HookPhase::Post, "spec")] {
        let hooks = rules.of_pod("a", &BTreeMap::new(), &own, phase);
        assert_eq!(hooks.calls[0].command, [command]);
        assert_eq!(hooks.calls.len(), 1);
    }
}

#[test]
fn entries_that_match_run_in_order() {
    let exec = |text: &str| json!({"exec": {"command": [text], "container": "c", "timeout": "7s"}});
    let rules = rules(json!([
            {"name": "one", "includedNamespaces": ["team-*"], "pre": [exec("1a"), exec("1b")]},
            {"name": "two", "excludedNamespaces": ["team-x"], "includedResources": ["po"], "pre": [exec("2")]},
            {"name": "three", "labelSelector": {"matchLabels": {"app": "db"}}, "pre": [exec("3")]},
            {"name": "four", "includedResources": ["deployments"], "pre": [exec("4")]},
            {"name": "five", "excludedResources": ["Pods"], "pre": [exec("5")]},
            {"name": "six", "includedResources": ["*"], "post": [exec("6")]},
        ]))
        .unwrap();
    let db = BTreeMap::from([("app".to_owned(), "db".to_owned())]);
    let none = BTreeMap::new();
    for (namespace, labels, expected) in [
        ("team-a", &none, vec!["1a", "1b", "2"]),
        ("team-x", &none, vec!["1a", "1b"]),
        ("team-x", &db, vec!["1a", "1b", "3"]),
        ("shop", &db, vec!["2", "3"]),
    ] {
        let hooks = rules.of_pod(namespace, labels, &none, HookPhase::Pre);
        let found: Vec<_> = hooks.calls.iter().map(|c| c.command[0].as_str()).collect();
        assert_eq!(found, expected, "{namespace} {labels:?}");
        assert!(hooks.calls.iter().all(|c| c.timeout.as_secs() == 7));
    }
    let post = rules.of_pod("shop", &none, &none, HookPhase::Post);
    assert_eq!(post.calls[0].to_string(), "hook \"six\"[0]");
    assert_eq!(
            rules.notes(),
            ["four", "five"].map(|name| format!(
                "spec.hooks.resources[{}]: hook {name:?} never runs: its includedResources and excludedResources leave out pods",
                if name == "four" { 3 } else { 4 }
            ))
        );
}

#[test]
fn modes_that_are_none_are_noted() {
    let exec = |mode: &str| json!({"exec": {"command": ["a"], "onError": mode}});
    let rules = rules(json!([
        {"name": "h", "pre": [exec("Fail"), exec("fail")], "post": [exec("")]},
    ]))
    .unwrap();
    assert_eq!(
        rules.notes(),
        [
            "spec.hooks.resources[0].pre[1].exec.onError: \"fail\" is neither Continue nor Fail; Continue is taken"
        ]
    );
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    let faults = rules(json!([
        {"name": "ok", "pre": [{"exec": {"command": ["a"]}}]},
        {"name": "bad", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
            "post": [{"exec": {"command": []}}]},
    ]))
    .unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].starts_with("spec.hooks.resources[1].labelSelector: "),
        "{faults:?}"
    );
    assert!(
        faults[1].starts_with("spec.hooks.resources[1].post[0].exec.command: "),
        "{faults:?}"
    );
}

#[test]
fn equal_keys_count_once() {
    let exec = json!({"exec": {"command": ["a"]}});
    let other = json!({"exec": {"command": ["a"], "container": "c"}});
    let rules = rules(json!([
            {"name": "h", "pre": [exec, exec]}, {"name": "h", "pre": [exec]}, {"name": "h", "pre": [other]}, {"name": "i", "pre": [exec]},
        ]))
        .unwrap();
    let hooks = rules.of_pod("a", &BTreeMap::new(), &BTreeMap::new(), HookPhase::Pre);
    assert_eq!(
        (hooks.calls.len(), hooks.count(), hooks.count_of([0, 2, 4])),
        (5, 4, 2)
    );
}
