//! Actions that change what somebody has configured.

use super::*;

pub(super) fn changes(pairs: &[(&str, &str)]) -> Vec<ImageChange> {
    let change = |(old, new): &(&str, &str)| ImageChange {
        old: (*old).to_owned(),
        new: (*new).to_owned(),
    };
    pairs.iter().map(change).collect()
}

#[test]
fn images_get_other_names() {
    for (pairs, image, expected) in [
        (
            &[("1.1.1.1:5000", "2.2.2.2:3000")][..],
            "1.1.1.1:5000/abc:test",
            "2.2.2.2:3000/abc:test",
        ),
        (
            &[("abc", "myproject")],
            "1.1.1.1:5000/abc:test",
            "1.1.1.1:5000/myproject:test",
        ),
        (&[("a", "b")], "a.io/a/a:a", "b.io/b/b:b"),
        (&[("x", "1"), ("a", "2"), ("a.io", "3")], "a.io/c", "2.io/c"),
        (&[("nope", "1")], "a.io/c", "a.io/c"),
        (&[("", "1")], "a.io/c", "a.io/c"),
    ] {
        let action = ChangeImageName::new(changes(pairs));
        let pods = |image: &str| {
            json!({"containers": [{"name": "a", "image": image}, {"name": "none"}, "odd"], "initContainers": [{"image": image}],
                "ephemeralContainers": [{"image": "a.io/c"}]})
        };
        let item = |kind: &str, image: &str| match kind {
            "Pod" => json!({"kind": kind, "spec": pods(image)}),
            "CronJob" => {
                json!({"kind": kind, "spec": {"jobTemplate": {"spec": {"template": {"spec": pods(image)}}}}})
            }
            _ => json!({"kind": kind, "spec": {"template": {"spec": pods(image)}}}),
        };
        for kind in [
            "Pod",
            "Deployment",
            "ReplicationController",
            "Job",
            "CronJob",
        ] {
            check(&action, item(kind, image), item(kind, expected));
        }
        check(&action, json!({"kind": "Pod"}), json!({"kind": "Pod"}));
    }
}

#[test]
fn storage_classes_get_other_names() {
    let classes = [("old", "fast"), ("bad", "missing")];
    let classes = classes.map(|(old, new)| (old.to_owned(), new.to_owned()));
    let action = ChangeStorageClass::new(classes.into());
    let claim = |class: Value| json!({"kind": "PersistentVolumeClaim", "spec": {"storageClassName": class}});
    let set = |class: Value| json!({"kind": "StatefulSet", "spec": {"volumeClaimTemplates": [claim(class), {"spec": {}}], "storageClassName": "old"}});
    let volume =
        |class: Value| json!({"kind": "PersistentVolume", "spec": {"storageClassName": class}});
    for (old, new) in [
        ("old", "fast"),
        ("other", "other"),
        ("", ""),
        ("fast", "fast"),
    ] {
        check(&action, claim(json!(old)), claim(json!(new)));
        check(&action, volume(json!(old)), volume(json!(new)));
        check(&action, set(json!(old)), set(json!(new)));
    }
    check(&action, claim(Value::Null), claim(Value::Null));
    check(
        &action,
        json!({"kind": "StatefulSet"}),
        json!({"kind": "StatefulSet"}),
    );
    for item in [claim(json!("bad")), volume(json!("bad")), set(json!("bad"))] {
        let error = try_run(&action, json!({}), item).unwrap_err();
        assert_eq!(
            error.to_string(),
            "storage class \"missing\", which takes the place of \"bad\", is not in the cluster"
        );
    }
}

#[test]
fn a_storage_class_is_looked_up_once() {
    let classes = [("old", "fast"), ("slow", "fast"), ("bad", "missing")];
    let classes = classes.map(|(old, new)| (old.to_owned(), new.to_owned()));
    let (action, cluster) = (ChangeStorageClass::new(classes.into()), Accounts::default());
    let looks = |class: &str| {
        let claim = json!({"kind": "PersistentVolumeClaim", "spec": {"storageClassName": class}});
        let outcome = run_in(&cluster, &action, json!({}), claim);
        (outcome.is_ok(), cluster.2.load(Ordering::Relaxed))
    };
    let seen = ["old", "old", "slow", "bad", "bad", "old", "other"].map(looks);
    // One that is missing may come yet.
    let expected = [
        (true, 1),
        (true, 1),
        (true, 1),
        (false, 2),
        (false, 3),
        (true, 3),
        (true, 3),
    ];
    assert_eq!(seen, expected);
}

fn init_hook(resources: Value) -> InitRestoreHook {
    InitRestoreHook::compile(&serde_json::from_value(json!({"resources": resources})).unwrap())
        .unwrap()
}

fn init_names(outcome: &RestoreOutcome) -> Vec<String> {
    let containers = outcome.item.array_at("/spec/initContainers").iter();
    containers
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn init_containers_of_a_spec() {
    let container =
        |name: &str| json!({"name": name, "image": "i", "command": ["c"], "env": [{"name": "e"}]});
    let step = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| container(name)).collect();
        json!({"init": {"initContainers": containers}})
    };
    let hook = init_hook(json!([
        {"name": "all", "postHooks": [step(&["a", "b"]), {}, step(&["c"])]},
        {"name": "shop", "includedNamespaces": ["shop"], "postHooks": [step(&["shop"])]},
        {"name": "copy", "includedNamespaces": ["copy"], "postHooks": [step(&["copy"])]},
        {"name": "not-copy", "excludedNamespaces": ["co*"], "postHooks": [step(&["not-copy"])]},
        {"name": "labels", "labelSelector": {"matchLabels": {"app": "web"}}, "postHooks": [step(&["web"])]},
    ]));
    let pod = |labels: Value, there: Value| {
        json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": "p", "labels": labels},
            "spec": {"containers": [], "initContainers": there}})
    };
    let mapped = json!({"namespaceMapping": {"shop": "copy"}});
    let front = |name: &str| json!([{"name": name}, {"name": "own"}]);
    for (spec, labels, there, expected) in [
        (
            json!({}),
            json!({}),
            json!([]),
            &["a", "b", "c", "shop", "not-copy"][..],
        ),
        // A mapped namespace is meant by its new name.
        (
            mapped.clone(),
            json!({}),
            json!([]),
            &["a", "b", "c", "copy"],
        ),
        (
            mapped.clone(),
            json!({"app": "web"}),
            json!([{"name": "own"}]),
            &["a", "b", "c", "copy", "web", "own"],
        ),
        // Whoever waits for volumes stays in front, but only from there.
        (
            mapped.clone(),
            json!({}),
            front("restore-wait"),
            &["restore-wait", "a", "b", "c", "copy", "own"],
        ),
        (
            mapped.clone(),
            json!({}),
            front("restic-wait"),
            &["restic-wait", "a", "b", "c", "copy", "own"],
        ),
        (
            mapped.clone(),
            json!({}),
            json!([{"name": "own"}, {"name": "restore-wait"}]),
            &["a", "b", "c", "copy", "own", "restore-wait"],
        ),
        // What an earlier restore has put there is not there twice.
        (
            mapped,
            json!({}),
            front("b"),
            &["a", "b", "c", "copy", "own"],
        ),
    ] {
        let outcome = run(&hook, spec.clone(), pod(labels, there.clone()));
        assert_eq!(init_names(&outcome), expected, "{spec} {there}");
        let added = outcome.item.at("/spec/initContainers").unwrap();
        let added = added
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["name"] == json!("a"));
        assert_eq!(added, Some(&container("a")), "nothing of it is lost");
    }
    let unchanged = json!({"kind": "Pod", "metadata": {"namespace": "x", "name": "p"}, "spec": {"containers": []}});
    check(&init_hook(json!([])), unchanged.clone(), unchanged);
}

#[test]
fn init_containers_of_annotations() {
    const IMAGE: &str = "init.hook.restore.velero.io/container-image";
    const NAME: &str = "init.hook.restore.velero.io/container-name";
    const COMMAND: &str = "init.hook.restore.velero.io/command";
    let hook = init_hook(
        json!([{"name": "all", "postHooks": [{"init": {"initContainers": [{"name": "spec", "image": "i", "command": ["c"]}]}}]}]),
    );
    let first = |annotations: Value| {
        let pod = json!({"kind": "Pod", "metadata": {"namespace": "x", "name": "p", "annotations": annotations}, "spec": {"containers": []}});
        let outcome = run(&hook, json!({}), pod);
        assert_eq!(
            init_names(&outcome).len(),
            1,
            "annotations replace the spec"
        );
        outcome.item.at("/spec/initContainers/0").unwrap().clone()
    };
    for (annotations, expected) in [
        (
            json!({IMAGE: "busybox", NAME: "n", COMMAND: "[\"/bin/sh\", \"-c\"]"}),
            json!({"image": "busybox", "name": "n", "command": ["/bin/sh", "-c"]}),
        ),
        (
            json!({IMAGE: "busybox", NAME: "n", COMMAND: "/usr/bin/foo --x"}),
            json!({"image": "busybox", "name": "n", "command": ["/usr/bin/foo --x"]}),
        ),
        (
            json!({IMAGE: "busybox", NAME: "n", COMMAND: "[\"broken\", "}),
            json!({"image": "busybox", "name": "n", "command": ["[\"broken\", "]}),
        ),
        // Without a command, which the peer panics about, the image's own one runs.
        (
            json!({IMAGE: "busybox", NAME: "n"}),
            json!({"image": "busybox", "name": "n"}),
        ),
        (
            json!({IMAGE: "busybox", NAME: "n", COMMAND: ""}),
            json!({"image": "busybox", "name": "n"}),
        ),
        (
            json!({NAME: "n", COMMAND: "c"}),
            json!({"name": "spec", "image": "i", "command": ["c"]}),
        ),
    ] {
        assert_eq!(first(annotations.clone()), expected, "{annotations}");
    }
    let made = |command: &str| {
        let container = first(json!({IMAGE: "busybox", COMMAND: command}));
        container["name"].as_str().unwrap().to_owned()
    };
    let name = made("c");
    let hex = name.strip_prefix("velero-restore-init-").unwrap();
    assert!(
        hex.len() == 8 && hex.chars().all(|c| c.is_ascii_hexdigit()),
        "{name}"
    );
    assert!(name == made("c") && name != made("d"));
}

#[test]
fn names_are_those_of_all_actions() {
    let config = ActionConfig {
        images: changes(&[("a", "b")]),
        storage_classes: [("slow".to_owned(), "fast".to_owned())].into(),
        ..ActionConfig::default()
    };
    let actions = crate::actions::configured(&config, InitRestoreHook::default());
    let names: Vec<&str> = actions.iter().map(|action| action.name()).collect();
    assert_eq!(built_in_names(), names);
}
