use super::*;
use serde_json::json;

fn uid(number: usize) -> String {
    format!("5b930955-227a-4bc9-86de-{number:012}")
}

/// What users have made.
fn made() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop", "uid": uid(1),
            "labels": {"app": "web", "velero.io/backup-name": "b"}, "annotations": {"note": "x"},
            "managedFields": [
                {"manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:00Z",
                 "fieldsV1": {"f:spec": {"f:ports": {}}, "f:metadata": {"f:labels": {".": {}, "f:app": {}}}}},
                {"manager": "kcm", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}}]},
            "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "selector": {"app": "web"},
                "ports": [{"port": 80, "nodePort": 30000}, {"port": 81, "big": 9007199254740993i64}]},
            "status": {"loadBalancer": {}}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"},
            "data": {"uid": "not metadata", "status": "open"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "by-hand", "managedFields":
                [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:csi": {}}}}]},
            "spec": {"claimRef": {"namespace": "shop", "name": "photos"}, "csi": {"volumeHandle": "by-hand"}}}),
    ]
}

/// What controllers have made of it: a claim and its volume, a Job, slices and addresses.
fn made_of_it() -> Vec<Value> {
    let service = json!({"kind": "Service", "name": "web", "uid": uid(1)});
    let owned = format!("k:{{\"uid\":\"{}\"}}", uid(1));
    let last_change = "endpoints.kubernetes.io/last-change-trigger-time";
    let pod = json!({"kind": "Pod", "namespace": "shop", "name": "web-1", "uid": uid(2)});
    vec![
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop", "uid": uid(2)},
            "spec": {"nodeName": "n1", "containers": [{"name": "main"}]}, "status": {"podIP": "10.1.0.1"}}),
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "shop",
                "annotations": {last_change: "2026-01-01T00:00:00Z"}, "managedFields": [{"manager": "kcm", "fieldsV1":
                    {"f:metadata": {"f:annotations": {".": {}, format!("f:{last_change}"): {}}}, "f:subsets": {}}}]},
            "subsets": [{"addresses": [{"ip": "10.1.0.1", "nodeName": "n1", "targetRef": pod}], "ports": [{"port": 80}]}]}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "web-abcde", "generateName": "web-", "namespace": "shop", "ownerReferences": [service],
                "labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    "kubernetes.io/service-name": "web"},
                "managedFields": [{"manager": "kcm", "fieldsV1": {"f:metadata": {"f:generateName": {},
                    "f:ownerReferences": {".": {}, owned: {}}}}}]},
            "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": "n1", "targetRef": pod}], "ports": [{"port": 80}]}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.0.0.1", "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}},
            "spec": {"parentRef": {"resource": "services", "namespace": "shop", "name": "web"}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop", "uid": uid(3),
                "annotations": {"pv.kubernetes.io/bind-completed": "yes", "mine": "yes"}, "managedFields": [
                {"manager": "kwok", "operation": "Update", "fieldsV1": {"f:spec": {"f:volumeName": {}, "f:volumeMode": {}},
                    "f:metadata": {"f:annotations": {"f:pv.kubernetes.io/bind-completed": {}, "f:mine": {}}}}},
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:resources": {}}}}]},
            "spec": {"volumeName": format!("pvc-{}", uid(3))}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("pvc-{}", uid(3)), "uid": uid(4),
                "managedFields": [{"manager": "kwok", "operation": "Apply", "fieldsV1": {"f:spec": {"f:csi": {}}}},
                    {"manager": "kcm", "operation": "Update", "fieldsV1": {"f:spec": {"f:claimRef": {}}}}]},
            "spec": {"claimRef": {"namespace": "shop", "name": "data", "uid": uid(3), "resourceVersion": "7"},
                "csi": {"volumeHandle": uid(3)}}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "later", "namespace": "shop",
            "labels": {"controller-uid": uid(9), "batch.kubernetes.io/controller-uid": uid(9), "app": "job"}},
            "spec": {"suspend": true}}),
    ]
}

fn sample() -> Vec<Value> {
    [made(), made_of_it()].concat()
}

/// A world that a real control plane served.
fn recorded() -> Vec<Value> {
    let file = include_str!("../../fixtures/demo/source-state.json");
    let objects: BTreeMap<String, Value> = serde_json::from_str(file).unwrap();
    objects.into_values().collect()
}

/// Leaves that may differ, but tell an identity: changed alone, without what refers to it, they show.
const IDENTITIES: &[(&str, &str)] = &[
    ("EndpointSlice", "metadata.generateName"),
    ("PersistentVolumeClaim", "metadata.uid"),
    ("Pod", "metadata.uid"),
    ("Pod", "spec.nodeName"),
    ("Pod", "status.podIP"),
    ("Service", "metadata.uid"),
    ("Service", "spec.clusterIPs.0"),
];

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
        .filter(|entry| {
            entry.kind == "*" || entry.kind.split('|').collect::<Vec<_>>().contains(&kind)
        })
        .any(|entry| entry.path.len() <= path.len() && leads_to(entry.path, path, object))
}

fn leads_to(wanted: &[&str], path: &[String], mut value: &Value) -> bool {
    wanted.iter().zip(path).all(|(wanted, step)| {
        let list = value.is_array();
        value = match step.parse::<usize>() {
            Ok(at) if list => &value[at],
            _ => &value[step.as_str()],
        };
        match wanted
            .strip_prefix('[')
            .map(|rest| rest.trim_end_matches(']'))
        {
            Some("") => list,
            Some(mark) => {
                let (field, values) = mark.split_once('=').unwrap();
                list && values.split('|').any(|wanted| value[field] == wanted)
            }
            None => wanted.split('|').any(|wanted| wanted == step),
        }
    })
}

/// Whether an owner of fields owns nothing but fields that may differ; then the whole entry may.
fn owns_only_what_may_differ(kind: &str, path: &[String], object: &Value) -> bool {
    if path.len() < 4 || path[1] != "managedFields" {
        return false;
    }
    let mut owned = Vec::new();
    let mut way = [&path[..3], &["fieldsV1".to_owned()]].concat();
    let fields = at(&mut object.clone(), &way).clone();
    leaves(&fields, &mut way, &mut owned);
    owned.iter().all(|path| may_differ(kind, path, object))
}

/// The state without the leaf, and without maps and lists that have become empty.
fn without(mut state: Vec<Value>, number: usize, path: &[String]) -> Vec<Value> {
    for length in (1..=path.len()).rev() {
        let (last, parent) = path[..length].split_last().unwrap();
        let is_empty = match at(&mut state[number], parent) {
            Value::Array(elements) => {
                elements.remove(last.parse::<usize>().unwrap());
                elements.is_empty()
            }
            Value::Object(fields) => {
                fields.remove(last);
                fields.is_empty()
            }
            _ => unreachable!(),
        };
        if !is_empty {
            break;
        }
    }
    state
}

#[test]
fn the_same_state_has_no_differences_in_any_order() {
    let mut turned = sample();
    turned.reverse();
    assert_eq!(compare(&sample(), &turned, ALLOWED), []);
}

#[test]
fn every_object_that_is_dropped_or_added_is_found() {
    for whole in [sample(), recorded()] {
        for dropped in 0..whole.len() {
            let mut fewer = whole.clone();
            fewer.remove(dropped);
            let missing = |found: &Difference| matches!(found, Difference::Missing { .. });
            assert!(compare(&whole, &fewer, ALLOWED).iter().any(missing));
            let unexpected = |found: &Difference| matches!(found, Difference::Unexpected { .. });
            assert!(compare(&fewer, &whole, ALLOWED).iter().any(unexpected));
        }
    }
}

#[test]
fn every_leaf_that_changes_or_goes_is_found_unless_it_is_listed() {
    let (mut listed, mut checked) = (0, 0);
    for (whole, ways) in [(sample(), 2), (recorded(), 1)] {
        for (number, object) in whole.iter().enumerate() {
            let kind = object["kind"].as_str().unwrap();
            let mut paths = Vec::new();
            leaves(object, &mut Vec::new(), &mut paths);
            for path in paths {
                let mut changed = whole.clone();
                *at(&mut changed[number], &path) = json!("something else");
                let gone = without(whole.clone(), number, &path);
                for (what, state) in [("changed", changed), ("gone", gone)]
                    .into_iter()
                    .take(ways)
                {
                    // An entry for some elements of a list says nothing once their mark is another.
                    let marked = path.len() == 4 && path[1] == "managedFields";
                    let listed_in = |object: &Value| {
                        may_differ(kind, &path, object)
                            || owns_only_what_may_differ(kind, &path, object)
                    };
                    let may_differ = listed_in(object) && (!marked || listed_in(&state[number]));
                    let found = compare(&whole, &state, ALLOWED);
                    if !may_differ {
                        assert_ne!(found, [], "{kind} {path:?} {what}");
                    } else if !IDENTITIES.contains(&(kind, &path.join("."))) {
                        assert_eq!(found, [], "{kind} {path:?} {what}");
                        listed += 1;
                    }
                    checked += 1;
                }
            }
        }
    }
    assert!(listed > 100 && checked > 1200, "{listed} of {checked}");
}

#[test]
fn an_identity_that_changes_without_what_refers_to_it_is_found() {
    for (kind, path) in IDENTITIES {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let mut changed = sample();
        let number = changed.iter().position(|o| o["kind"] == *kind).unwrap();
        *at(&mut changed[number], &path) = json!("something else");
        assert_ne!(compare(&sample(), &changed, ALLOWED), [], "{kind} {path:?}");
    }
}

#[test]
fn identities_that_change_everywhere_are_equal() {
    let text = serde_json::to_string(&sample()).unwrap();
    let elsewhere = text
        .replace("5b930955", "6c041066")
        .replace("10.0.0.1", "10.0.7.7")
        .replace("10.1.0.1", "10.1.7.7")
        .replace("\"n1\"", "\"n2\"")
        .replace("web-abcde", "web-fghij");
    let elsewhere: Vec<Value> = serde_json::from_str(&elsewhere).unwrap();
    assert_eq!(compare(&sample(), &elsewhere, ALLOWED), []);
}

#[test]
fn a_slice_beside_that_of_the_controller_is_found() {
    let mut more = sample();
    let mut slice = more
        .iter()
        .find(|object| object["kind"] == "EndpointSlice")
        .unwrap()
        .clone();
    slice["metadata"]["name"] = json!("web-zzzzz");
    more.push(slice.clone());
    assert_eq!(
        compare(&sample(), &more, ALLOWED)[0].to_string(),
        "discovery.k8s.io/v1/EndpointSlice shop/<slice 2 of Service shop/web, IPv4>: was not there before"
    );
    // A name that a user gave is no identity.
    slice["metadata"]["generateName"] = Value::Null;
    let (mut before, mut after) = (sample(), sample());
    before.push(slice.clone());
    slice["metadata"]["name"] = json!("web-yyyyy");
    after.push(slice);
    assert_eq!(compare(&before, &after, ALLOWED).len(), 2);
}

#[test]
fn entries_are_needed_that_excuse_something() {
    let mut after = sample();
    let pod = after.iter_mut().find(|o| o["kind"] == "Job").unwrap();
    pod["metadata"]["labels"]["controller-uid"] = json!(uid(10));
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    let needed: Vec<&str> = needed(&sample(), &after, ALLOWED)
        .iter()
        .map(|entry| entry.kind)
        .collect();
    assert_eq!(needed, ["*", "Job"]);
}

#[test]
fn the_list_is_short_and_names_fields() {
    assert!(ALLOWED.len() <= 25, "{}", ALLOWED.len());
    for entry in ALLOWED {
        assert!(!entry.reason.is_empty());
        let several = entry
            .path
            .iter()
            .position(|step| step.contains('|') && !step.starts_with('['));
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
