use super::*;
use serde_json::json;

fn sample() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop", "uid": "1",
            "labels": {"app": "web", "velero.io/backup-name": "b"}, "annotations": {"note": "x"},
            "ownerReferences": [{"kind": "Shop", "name": "s", "uid": "2"}],
            "managedFields": [
                {"manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:00Z",
                 "fieldsV1": {"f:spec": {"f:ports": {}}, "f:metadata": {"f:labels": {".": {}, "f:app": {}}}}},
                {"manager": "kcm", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}}]},
            "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"},
                "ports": [{"port": 80, "nodePort": 30000}, {"port": 81, "big": 9007199254740993i64}]},
            "status": {"loadBalancer": {}}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"},
            "data": {"uid": "not metadata", "status": "open"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}}),
    ]
}

/// The ways to all leaves: values that are neither object nor list, and empty ones of those.
fn leaves(value: &Value, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => fields.iter().for_each(|(field, value)| {
            path.push(field.clone());
            leaves(value, path, out);
            path.pop();
        }),
        Value::Array(elements) if !elements.is_empty() => {
            elements.iter().enumerate().for_each(|(at, value)| {
                path.push(at.to_string());
                leaves(value, path, out);
                path.pop();
            })
        }
        _ => out.push(path.clone()),
    }
}

fn at<'a>(mut value: &'a mut Value, path: &[String]) -> &'a mut Value {
    for step in path {
        value = match value {
            Value::Array(elements) => &mut elements[step.parse::<usize>().unwrap()],
            other => &mut other[step.as_str()],
        };
    }
    value
}

/// Says the same as the comparer should, in another way.
fn may_differ(kind: &str, path: &[String], object: &Value) -> bool {
    ALLOWED
        .iter()
        .filter(|entry| entry.kind == "*" || entry.kind == kind)
        .any(|entry| {
            entry.path.len() <= path.len()
                && entry
                    .path
                    .iter()
                    .zip(path)
                    .all(|(wanted, step)| match *wanted {
                        "[]" => step.parse::<usize>().is_ok(),
                        "[subresource=status]" => {
                            object["metadata"]["managedFields"][step.parse::<usize>().unwrap()]
                                ["subresource"]
                                == "status"
                        }
                        wanted => wanted.split('|').any(|wanted| wanted == step),
                    })
        })
}

#[test]
fn the_same_state_has_no_differences_in_any_order() {
    let mut turned = sample();
    turned.reverse();
    assert_eq!(compare(&sample(), &turned, ALLOWED), []);
}

#[test]
fn every_object_that_is_dropped_or_added_is_found() {
    for dropped in 0..sample().len() {
        let mut fewer = sample();
        fewer.remove(dropped);
        assert!(matches!(
            compare(&sample(), &fewer, ALLOWED)[..],
            [Difference::Missing { .. }]
        ));
        assert!(matches!(
            compare(&fewer, &sample(), ALLOWED)[..],
            [Difference::Unexpected { .. }]
        ));
    }
}

#[test]
fn every_leaf_that_changes_or_goes_is_found_unless_it_is_listed() {
    let mut checked = 0;
    for (number, object) in sample().iter().enumerate() {
        let mut paths = Vec::new();
        leaves(object, &mut Vec::new(), &mut paths);
        for path in paths {
            let mut changed = sample();
            *at(&mut changed[number], &path) = json!("something else");
            let mut gone = sample();
            let (last, parent) = path.split_last().unwrap();
            match at(&mut gone[number], parent) {
                Value::Array(elements) => drop(elements.remove(last.parse::<usize>().unwrap())),
                Value::Object(fields) => drop(fields.remove(last)),
                _ => unreachable!(),
            }
            let allowed = may_differ(object["kind"].as_str().unwrap(), &path, object);
            for (what, state) in [("changed", changed), ("gone", gone)] {
                let found = compare(&sample(), &state, ALLOWED);
                // Without its mark an entry of the status is an entry like any other.
                let mark = path.last().is_some_and(|last| last == "subresource");
                assert_eq!(
                    found.is_empty(),
                    allowed && !mark,
                    "{path:?} {what}: {found:?}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked}");
}

#[test]
fn provisioned_volumes_are_named_by_their_claims() {
    let state = |uid: &str| {
        let mut objects = [
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("pvc-{uid}")},
                "spec": {"claimRef": {"namespace": "shop", "name": "data", "uid": uid}, "csi": {"volumeHandle": uid}}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "made-by-hand"},
                "spec": {"claimRef": {"namespace": "shop", "name": "photos", "uid": uid}, "csi": {"volumeHandle": "by-hand"}}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
                "spec": {"volumeName": format!("pvc-{uid}")}}),
        ];
        name_volumes_by_claim(&mut objects);
        objects
    };
    assert_eq!(state("1")[0]["metadata"]["name"], "pvc:shop/data");
    assert_eq!(state("1")[2]["spec"]["volumeName"], "pvc:shop/data");
    assert_eq!(state("1")[1]["metadata"]["name"], "made-by-hand");
    assert_eq!(state("1")[1]["spec"]["csi"]["volumeHandle"], "by-hand");
    assert_eq!(compare(&state("1"), &state("2"), ALLOWED), []);
}

#[test]
fn the_list_is_short_and_names_fields() {
    assert!(ALLOWED.len() <= 25, "{}", ALLOWED.len());
    for entry in ALLOWED {
        assert!(!entry.reason.is_empty());
        let several = entry.path.iter().position(|step| step.contains('|'));
        assert!(
            several.is_none_or(|at| at + 1 == entry.path.len()),
            "{entry:?}"
        );
        let below = matches!(
            entry.path[0],
            "spec" | "data" | "stringData" | "binaryData" | "rules" | "subjects"
        );
        assert!(
            !below || (entry.path.len() > 1 && entry.kind != "*"),
            "{entry:?}"
        );
    }
}

#[test]
fn what_a_restore_adds_to_an_object_without_labels_may_differ() {
    let before = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", "managedFields":
        [{"manager": "m", "fieldsV1": {"f:data": {}}}]}});
    let after = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n",
        "labels": {"velero.io/restore-name": "r"}, "managedFields":
        [{"manager": "m", "fieldsV1": {"f:data": {}, "f:metadata": {"f:labels": {".": {}, "f:velero.io/restore-name": {}}}}}]}});
    assert_eq!(compare(&[before], &[after], ALLOWED), []);
    let bare = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": "n"}});
    let mut labelled = bare.clone();
    labelled["metadata"]["labels"] = json!({"velero.io/restore-name": "r"});
    labelled["metadata"]["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:velero.io/restore-name": {}}}}}]);
    assert_eq!(compare(&[bare], &[labelled], ALLOWED), []);
}
