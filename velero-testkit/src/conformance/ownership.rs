//! Owners of fields, and server-side apply.

use serde_json::{Value, json};

use super::cx::PatchKind;
use super::{Cx, Failure, ensure, same, suite};

suite!(
    new_objects_have_one_owner,
    lists_with_keys_are_owned_item_by_item,
    defaults_belong_to_the_creator,
    changed_fields_change_their_owner,
    removed_fields_have_no_owner,
    the_same_manager_has_one_entry,
    status_is_owned_through_its_subresource,
    managed_fields_can_be_replaced,
    managed_fields_can_be_cleared,
    managed_fields_of_new_objects_are_not_kept,
    managed_fields_survive_clients_that_drop_them,
    apply_creates,
    apply_needs_a_manager,
    apply_conflicts,
    apply_takes_by_force,
    apply_removes_what_it_no_longer_has,
    apply_shares_fields,
    apply_leaves_items_of_others,
    apply_checks_the_version,
    apply_again_changes_nothing,
);

fn entries(tree: &Value) -> Vec<(String, String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let list = tree["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    list.map(|e| {
        (
            text(&e["manager"]),
            text(&e["operation"]),
            text(&e["subresource"]),
        )
    })
    .collect()
}

fn fields(tree: &Value, manager: &str) -> Value {
    let list = tree["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    list.into_iter()
        .find(|e| e["manager"] == manager)
        .map(|e| e["fieldsV1"].clone())
        .unwrap_or_default()
}

fn entry(manager: &str, operation: &str, subresource: &str) -> (String, String, String) {
    (manager.into(), operation.into(), subresource.into())
}

async fn apply(cx: &Cx, manager: &str, data: Value, force: bool) -> Result<Value, Failure> {
    let path = cx.path("/api/v1", "configmaps/one");
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data});
    cx.patch(
        &format!("{path}?fieldManager={manager}&force={force}"),
        PatchKind::Apply,
        body,
    )
    .await
}

async fn new_objects_have_one_owner(cx: Cx) -> Result<(), Failure> {
    let path = format!("{}?fieldManager=me", cx.path("/api/v1", "configmaps"));
    let body = json!({"metadata": {"name": "one", "labels": {"x": "y"}, "finalizers": ["a.b/c"]}, "data": {"a": "1"}});
    let made = cx.create(&path, body).await?;
    same!(entries(&made), [entry("me", "Update", "")], "entries");
    let want = json!({
        "f:data": {".": {}, "f:a": {}},
        "f:metadata": {
            "f:finalizers": {".": {}, "v:\"a.b/c\"": {}},
            "f:labels": {".": {}, "f:x": {}},
        },
    });
    same!(fields(&made, "me"), want, "fields");
    let one = &made["metadata"]["managedFields"][0];
    same!(one["apiVersion"], "v1", "apiVersion");
    same!(one["fieldsType"], "FieldsV1", "fieldsType");
    same!(one["time"], made["metadata"]["creationTimestamp"], "time");
    cx.patch(
        &cx.path("/api/v1", "configmaps/one"),
        PatchKind::Merge,
        json!({"metadata": {"finalizers": null}}),
    )
    .await?;
    Ok(())
}

async fn lists_with_keys_are_owned_item_by_item(cx: Cx) -> Result<(), Failure> {
    let path = format!("{}?fieldManager=me", cx.path("/api/v1", "services"));
    let body = json!({"metadata": {"name": "one"}, "spec": {"selector": {"a": "b"}, "ports": [{"name": "x", "port": 80}]}});
    let made = cx.create(&path, body).await?;
    let want = json!({"f:spec": {
        "f:internalTrafficPolicy": {},
        "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {
            ".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {},
        }},
        "f:selector": {}, "f:sessionAffinity": {}, "f:type": {},
    }});
    same!(fields(&made, "me"), want, "fields");
    Ok(())
}

async fn defaults_belong_to_the_creator(cx: Cx) -> Result<(), Failure> {
    let path = format!(
        "{}?fieldManager=me",
        cx.path("/apis/apps/v1", "deployments")
    );
    let body = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}},
    }});
    let made = cx.create(&path, body).await?;
    let want = json!({"f:spec": {
        "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
        "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
        "f:template": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
                    "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
                }},
                "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                "f:terminationGracePeriodSeconds": {},
            },
        },
    }});
    same!(fields(&made, "me"), want, "fields");
    Ok(())
}

async fn changed_fields_change_their_owner(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    cx.create(
        &format!("{path}?fieldManager=me"),
        json!({"metadata": {"name": "one"}, "data": {"a": "1", "b": "1"}}),
    )
    .await?;
    let patch = json!({"data": {"a": "2", "c": "1"}});
    let changed = cx
        .patch(
            &format!("{path}/one?fieldManager=you"),
            PatchKind::Merge,
            patch,
        )
        .await?;
    same!(
        fields(&changed, "me"),
        json!({"f:data": {".": {}, "f:b": {}}}),
        "fields of the first"
    );
    same!(
        fields(&changed, "you"),
        json!({"f:data": {"f:a": {}, "f:c": {}}}),
        "fields of the second"
    );
    Ok(())
}

async fn removed_fields_have_no_owner(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    cx.create(
        &format!("{path}?fieldManager=me"),
        json!({"metadata": {"name": "one"}, "data": {"a": "1"}}),
    )
    .await?;
    let changed = cx
        .patch(
            &format!("{path}/one?fieldManager=you"),
            PatchKind::Merge,
            json!({"data": null}),
        )
        .await?;
    same!(
        entries(&changed),
        Vec::<(String, String, String)>::new(),
        "entries"
    );
    Ok(())
}

async fn the_same_manager_has_one_entry(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    cx.create(
        &format!("{path}?fieldManager=me"),
        json!({"metadata": {"name": "one"}, "data": {"a": "1"}}),
    )
    .await?;
    let patch = json!({"data": {"b": "1"}});
    let changed = cx
        .patch(
            &format!("{path}/one?fieldManager=me"),
            PatchKind::Merge,
            patch,
        )
        .await?;
    same!(entries(&changed), [entry("me", "Update", "")], "entries");
    same!(
        fields(&changed, "me"),
        json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}),
        "fields"
    );
    Ok(())
}

async fn status_is_owned_through_its_subresource(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "services");
    let body = json!({"metadata": {"name": "one"}, "spec": {"ports": [{"port": 80}]}});
    cx.create(&format!("{path}?fieldManager=me"), body).await?;
    let patch = json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]}});
    let changed = cx
        .patch(
            &format!("{path}/one/status?fieldManager=me"),
            PatchKind::Merge,
            patch,
        )
        .await?;
    same!(
        entries(&changed),
        [entry("me", "Update", ""), entry("me", "Update", "status")],
        "entries"
    );
    let second = &changed["metadata"]["managedFields"][1]["fieldsV1"];
    ensure!(
        second["f:status"]["f:conditions"]["k:{\"type\":\"Ready\"}"].is_object(),
        "fields: {second}"
    );
    Ok(())
}

async fn managed_fields_can_be_replaced(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let made = cx
        .create(
            &format!("{path}?fieldManager=me"),
            json!({"metadata": {"name": "one"}, "data": {"a": "1", "b": "1"}}),
        )
        .await?;
    let part = |manager: &str, operation: &str, key: &str| {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "v1", "time": "2020-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {key: {}}},
        })
    };
    let patch = json!({"metadata": {
        "uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"],
        "managedFields": [part("x", "Apply", "f:a"), part("y", "Update", "f:b")],
    }});
    let changed = cx
        .patch(
            &format!("{path}/one?fieldManager=me"),
            PatchKind::Merge,
            patch.clone(),
        )
        .await?;
    same!(
        changed["metadata"]["managedFields"],
        patch["metadata"]["managedFields"],
        "managedFields"
    );
    Ok(())
}

async fn managed_fields_can_be_cleared(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let changed = cx
        .patch(
            &path,
            PatchKind::Merge,
            json!({"metadata": {"managedFields": [{}]}}),
        )
        .await?;
    ensure!(
        changed["metadata"].get("managedFields").is_none(),
        "managedFields: {}",
        changed["metadata"]
    );
    let later = cx
        .patch(&path, PatchKind::Merge, json!({"data": {"z": "1"}}))
        .await?;
    ensure!(
        later["metadata"].get("managedFields").is_none(),
        "owners are recorded again"
    );
    Ok(())
}

async fn managed_fields_of_new_objects_are_not_kept(cx: Cx) -> Result<(), Failure> {
    let body = json!({
        "metadata": {"name": "one", "managedFields": [
            {"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:data": {"f:a": {}, "f:gone": {}}}},
        ]},
        "data": {"a": "1"},
    });
    let made = cx
        .create(
            &format!("{}?fieldManager=me", cx.path("/api/v1", "configmaps")),
            body,
        )
        .await?;
    same!(
        fields(&made, "me"),
        json!({"f:data": {".": {}, "f:a": {}}}),
        "fields of the creator"
    );
    same!(
        fields(&made, "x"),
        json!({"f:data": {"f:gone": {}}}),
        "fields of the given manager"
    );
    Ok(())
}

async fn managed_fields_survive_clients_that_drop_them(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let mut made = cx
        .create(
            &format!("{path}?fieldManager=me"),
            json!({"metadata": {"name": "one"}, "data": {"a": "1"}}),
        )
        .await?;
    if let Some(metadata) = made["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    made["data"]["b"] = "2".into();
    let changed = cx
        .update(&format!("{path}/one?fieldManager=you"), &made)
        .await?;
    same!(
        fields(&changed, "me"),
        json!({"f:data": {".": {}, "f:a": {}}}),
        "fields of the first"
    );
    same!(
        fields(&changed, "you"),
        json!({"f:data": {"f:b": {}}}),
        "fields of the second"
    );
    Ok(())
}

async fn apply_creates(cx: Cx) -> Result<(), Failure> {
    let made = apply(&cx, "me", json!({"a": "1"}), false).await?;
    same!(entries(&made), [entry("me", "Apply", "")], "entries");
    same!(
        fields(&made, "me"),
        json!({"f:data": {"f:a": {}}}),
        "fields"
    );
    Ok(())
}

async fn apply_needs_a_manager(cx: Cx) -> Result<(), Failure> {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
    let path = cx.path("/api/v1", "configmaps/one");
    let refused = cx.refused_patch(422, &path, PatchKind::Apply, body).await?;
    ensure!(
        refused.message.contains("is required for apply patch"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn apply_conflicts(cx: Cx) -> Result<(), Failure> {
    apply(&cx, "me", json!({"a": "1", "b": "1"}), false).await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "2"}});
    let refused = cx
        .refused_patch(
            409,
            &format!("{path}?fieldManager=you"),
            PatchKind::Apply,
            body,
        )
        .await?;
    same!(refused.reason, "Conflict", "reason");
    same!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"me\": .data.a",
        "message"
    );
    let want = json!([{"reason": "FieldManagerConflict", "message": "conflict with \"me\"", "field": ".data.a"}]);
    same!(refused.body["details"]["causes"], want, "causes");
    Ok(())
}

async fn apply_takes_by_force(cx: Cx) -> Result<(), Failure> {
    apply(&cx, "me", json!({"a": "1", "b": "1"}), false).await?;
    let changed = apply(&cx, "you", json!({"a": "2"}), true).await?;
    same!(changed["data"], json!({"a": "2", "b": "1"}), "data");
    same!(
        fields(&changed, "me"),
        json!({"f:data": {"f:b": {}}}),
        "fields of the first"
    );
    same!(
        fields(&changed, "you"),
        json!({"f:data": {"f:a": {}}}),
        "fields of the second"
    );
    Ok(())
}

async fn apply_removes_what_it_no_longer_has(cx: Cx) -> Result<(), Failure> {
    apply(&cx, "me", json!({"a": "1", "b": "1"}), false).await?;
    let path = cx.path("/api/v1", "configmaps/one");
    cx.patch(
        &format!("{path}?fieldManager=you"),
        PatchKind::Merge,
        json!({"data": {"c": "1"}}),
    )
    .await?;
    let changed = apply(&cx, "me", json!({"a": "1"}), false).await?;
    same!(changed["data"], json!({"a": "1", "c": "1"}), "data");
    Ok(())
}

async fn apply_shares_fields(cx: Cx) -> Result<(), Failure> {
    apply(&cx, "me", json!({"a": "1"}), false).await?;
    let both = apply(&cx, "you", json!({"a": "1"}), false).await?;
    same!(fields(&both, "me"), fields(&both, "you"), "fields of both");
    let changed = apply(&cx, "me", json!({"z": "1"}), false).await?;
    same!(
        changed["data"],
        json!({"a": "1", "z": "1"}),
        "data that the other still has"
    );
    Ok(())
}

async fn apply_leaves_items_of_others(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/apis/apps/v1", "deployments/web");
    let body = |containers: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}},
            },
        })
    };
    let one = json!([{"name": "a", "image": "a:1"}]);
    cx.patch(
        &format!("{path}?fieldManager=me"),
        PatchKind::Apply,
        body(one.clone()),
    )
    .await?;
    let side =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s:1"}]}}}});
    cx.patch(
        &format!("{path}?fieldManager=you"),
        PatchKind::Strategic,
        side,
    )
    .await?;
    let two = json!([{"name": "a", "image": "a:2"}]);
    let changed = cx
        .patch(
            &format!("{path}?fieldManager=me"),
            PatchKind::Apply,
            body(two),
        )
        .await?;
    let list = changed["spec"]["template"]["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let images: Vec<&str> = list.iter().filter_map(|c| c["image"].as_str()).collect();
    ensure!(
        images.contains(&"a:2") && images.contains(&"s:1") && images.len() == 2,
        "images are {images:?}"
    );
    Ok(())
}

async fn apply_checks_the_version(cx: Cx) -> Result<(), Failure> {
    let made = apply(&cx, "me", json!({"a": "1"}), false).await?;
    let path = cx.path("/api/v1", "configmaps/one");
    cx.patch(&path, PatchKind::Merge, json!({"data": {"b": "1"}}))
        .await?;
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "one", "resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "2"},
    });
    cx.refused_patch(
        409,
        &format!("{path}?fieldManager=me"),
        PatchKind::Apply,
        body,
    )
    .await?;
    Ok(())
}

async fn apply_again_changes_nothing(cx: Cx) -> Result<(), Failure> {
    let made = apply(&cx, "me", json!({"a": "1"}), false).await?;
    let again = apply(&cx, "me", json!({"a": "1"}), false).await?;
    same!(
        again["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"],
        "version"
    );
    Ok(())
}
