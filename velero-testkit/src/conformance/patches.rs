//! Patches.

use http::{Method, header};
use serde_json::json;

use super::cx::PatchKind;
use super::{Cx, Failure, ensure, same, suite};

suite!(
    merge_patches_set_and_remove,
    merge_patches_check_the_version,
    merge_patches_cannot_rename,
    json_patches_change,
    json_patches_test,
    strategic_patches_merge_lists_by_key,
    strategic_patches_know_directives,
    strategic_patches_replace_volume_sources,
    patches_of_other_types_are_refused,
    patches_of_missing_objects_are_refused,
);

async fn merge_patches_set_and_remove(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let patch = json!({"data": {"a": null, "b": "2"}, "metadata": {"labels": {"app": null}}});
    let changed = cx
        .patch(
            &cx.path("/api/v1", "configmaps/one"),
            PatchKind::Merge,
            patch,
        )
        .await?;
    same!(changed["data"], json!({"b": "2"}), "data");
    ensure!(
        changed["metadata"].get("labels").is_none(),
        "empty labels stay: {}",
        changed["metadata"]
    );
    Ok(())
}

async fn merge_patches_check_the_version(cx: Cx) -> Result<(), Failure> {
    let made = cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let version = &made["metadata"]["resourceVersion"];
    let patch =
        |value: &str| json!({"metadata": {"resourceVersion": version}, "data": {"a": value}});
    cx.patch(&path, PatchKind::Merge, patch("2")).await?;
    let refused = cx
        .refused_patch(409, &path, PatchKind::Merge, patch("3"))
        .await?;
    same!(refused.reason, "Conflict", "reason");
    let patch = json!({"metadata": {"uid": "11111111-2222-3333-4444-555555555555"}});
    let refused = cx
        .refused_patch(422, &path, PatchKind::Merge, patch)
        .await?;
    same!(
        refused.body["details"]["causes"][0]["field"],
        "metadata.uid",
        "field"
    );
    Ok(())
}

async fn merge_patches_cannot_rename(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    cx.refused_patch(
        400,
        &path,
        PatchKind::Merge,
        json!({"metadata": {"name": "two"}}),
    )
    .await?;
    Ok(())
}

async fn json_patches_change(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let patch = json!([
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "add", "path": "/data/b", "value": "2"},
        {"op": "remove", "path": "/data/a"},
        {"op": "add", "path": "/metadata/labels/x~1y", "value": "z"},
    ]);
    let changed = cx.patch(&path, PatchKind::Json, patch).await?;
    same!(changed["data"], json!({"b": "2"}), "data");
    same!(changed["metadata"]["labels"]["x/y"], "z", "label");
    Ok(())
}

async fn json_patches_test(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let patch = json!([{"op": "test", "path": "/data/a", "value": "9"}]);
    let refused = cx.refused_patch(422, &path, PatchKind::Json, patch).await?;
    same!(refused.reason, "Invalid", "reason");
    let patch = json!([{"op": "remove", "path": "/data/none"}]);
    cx.refused_patch(422, &path, PatchKind::Json, patch).await?;
    Ok(())
}

async fn deployment(cx: &Cx) -> Result<String, Failure> {
    let body = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}],
                    "volumes": [{"name": "v", "emptyDir": {}}],
                },
            },
        },
    });
    cx.create(&cx.path("/apis/apps/v1", "deployments"), body)
        .await?;
    Ok(cx.path("/apis/apps/v1", "deployments/web"))
}

async fn strategic_patches_merge_lists_by_key(cx: Cx) -> Result<(), Failure> {
    let path = deployment(&cx).await?;
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}]}}}});
    let changed = cx.patch(&path, PatchKind::Strategic, patch).await?;
    let containers = changed["spec"]["template"]["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let images: Vec<&str> = containers
        .iter()
        .filter_map(|c| c["image"].as_str())
        .collect();
    same!(images.len(), 3, "containers");
    for image in ["a:1", "b:2", "c:1"] {
        ensure!(images.contains(&image), "images are {images:?}");
    }
    Ok(())
}

async fn strategic_patches_know_directives(cx: Cx) -> Result<(), Failure> {
    let path = deployment(&cx).await?;
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}],
        "containers": [{"name": "a", "$patch": "delete"}, {"name": "c", "image": "c:1"}],
    }}}});
    let changed = cx.patch(&path, PatchKind::Strategic, patch).await?;
    let containers = changed["spec"]["template"]["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let names: Vec<&str> = containers
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect();
    same!(names, ["c", "b"], "containers");
    Ok(())
}

async fn strategic_patches_replace_volume_sources(cx: Cx) -> Result<(), Failure> {
    let path = deployment(&cx).await?;
    let patch = json!({"spec": {"template": {"spec": {"volumes": [
        {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}},
    ]}}}});
    let changed = cx.patch(&path, PatchKind::Strategic, patch).await?;
    let want = json!([{"name": "v", "hostPath": {"path": "/x", "type": ""}}]);
    same!(
        changed["spec"]["template"]["spec"]["volumes"],
        want,
        "volumes"
    );
    Ok(())
}

async fn patches_of_other_types_are_refused(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let headers = [(header::CONTENT_TYPE, "application/json")];
    let (code, _) = cx
        .send(Method::PATCH, &path, &headers, Some(&json!({})))
        .await?;
    same!(code, 415, "code");
    Ok(())
}

async fn patches_of_missing_objects_are_refused(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps/one");
    cx.refused_patch(404, &path, PatchKind::Merge, json!({}))
        .await?;
    Ok(())
}
