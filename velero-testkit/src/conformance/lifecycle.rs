//! Status, generations, finalizers, owners, namespaces.

use http::Method;
use serde_json::{Value, json};

use super::cx::PatchKind;
use super::{Cx, Failure, ensure, same, suite};

suite!(
    new_objects_have_no_status_of_the_client,
    updates_do_not_touch_status,
    status_updates_touch_nothing_else,
    generations_follow_the_spec,
    finalizers_hold_an_object,
    finalizers_are_not_added_to_what_goes,
    dependents_go_with_their_owner,
    dependents_with_another_owner_stay,
    orphans_stay,
    foreground_deletion_waits_for_dependents,
    namespaces_are_furnished,
    namespaces_have_a_label_and_a_finalizer,
    namespaces_terminate,
    the_default_namespace_stays,
);

fn workload() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 0, "paused": true, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}},
        },
        "status": {"replicas": 7, "readyReplicas": 7},
    })
}

async fn new_objects_have_no_status_of_the_client(cx: Cx) -> Result<(), Failure> {
    let made = cx
        .create(&cx.path("/apis/apps/v1", "deployments"), workload())
        .await?;
    same!(made["status"], json!({}), "status");
    same!(made["metadata"]["generation"], 1, "generation");
    Ok(())
}

/// A kind whose status nobody else writes.
async fn service(cx: &Cx) -> Result<(Value, String), Failure> {
    let body = json!({"metadata": {"name": "one"}, "spec": {"ports": [{"port": 80}]}});
    let made = cx.create(&cx.path("/api/v1", "services"), body).await?;
    Ok((made, cx.path("/api/v1", "services/one")))
}

fn condition() -> Value {
    json!([{"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
}

async fn updates_do_not_touch_status(cx: Cx) -> Result<(), Failure> {
    let (_, path) = service(&cx).await?;
    let patch = json!({"status": {"conditions": condition()}, "metadata": {"labels": {"x": "y"}}});
    let changed = cx.patch(&path, PatchKind::Merge, patch).await?;
    ensure!(
        changed["status"].get("conditions").is_none(),
        "status: {}",
        changed["status"]
    );
    same!(changed["metadata"]["labels"]["x"], "y", "label");
    Ok(())
}

async fn status_updates_touch_nothing_else(cx: Cx) -> Result<(), Failure> {
    let (made, path) = service(&cx).await?;
    let mut body = made.clone();
    body["status"]["conditions"] = condition();
    body["spec"]["sessionAffinity"] = "ClientIP".into();
    let changed = cx.update(&format!("{path}/status"), &body).await?;
    same!(changed["status"]["conditions"], condition(), "conditions");
    same!(changed["spec"], made["spec"], "spec");
    let read = cx.get(&format!("{path}/status")).await?;
    same!(read["status"], changed["status"], "status read");
    Ok(())
}

async fn generations_follow_the_spec(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/apis/networking.k8s.io/v1", "networkpolicies");
    let made = cx
        .create(
            &path,
            json!({"metadata": {"name": "one"}, "spec": {"podSelector": {}}}),
        )
        .await?;
    same!(made["metadata"]["generation"], 1, "generation at first");
    let one = format!("{path}/one");
    let labelled = cx
        .patch(
            &one,
            PatchKind::Merge,
            json!({"metadata": {"labels": {"a": "b"}}}),
        )
        .await?;
    same!(
        labelled["metadata"]["generation"],
        1,
        "generation after a label"
    );
    let patch = json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}});
    let changed = cx.patch(&one, PatchKind::Merge, patch).await?;
    same!(
        changed["metadata"]["generation"],
        2,
        "generation after a change of spec"
    );
    Ok(())
}

async fn finalizers_hold_an_object(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    cx.create(
        &path,
        json!({"metadata": {"name": "one", "finalizers": ["a.b/c"]}}),
    )
    .await?;
    let one = format!("{path}/one");
    let going = cx.delete(&one, json!({})).await?;
    same!(going["kind"], "ConfigMap", "kind of the answer");
    ensure!(
        going["metadata"]["deletionTimestamp"].is_string(),
        "no deletionTimestamp"
    );
    same!(
        going["metadata"]["deletionGracePeriodSeconds"],
        0,
        "deletionGracePeriodSeconds"
    );
    let again = cx.delete(&one, json!({})).await?;
    same!(
        again["metadata"]["deletionTimestamp"],
        going["metadata"]["deletionTimestamp"],
        "deletionTimestamp"
    );
    let changed = cx
        .patch(&one, PatchKind::Merge, json!({"data": {"a": "b"}}))
        .await?;
    same!(changed["data"]["a"], "b", "data while it goes");
    cx.patch(
        &one,
        PatchKind::Merge,
        json!({"metadata": {"finalizers": null}}),
    )
    .await?;
    ensure!(
        cx.try_get(&one).await?.is_none(),
        "the object stays without finalizers"
    );
    Ok(())
}

async fn finalizers_are_not_added_to_what_goes(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    cx.create(
        &path,
        json!({"metadata": {"name": "one", "finalizers": ["a.b/c"]}}),
    )
    .await?;
    let one = format!("{path}/one");
    cx.delete(&one, json!({})).await?;
    let patch = json!({"metadata": {"finalizers": ["a.b/c", "d.e/f"]}});
    let refused = cx.refused_patch(422, &one, PatchKind::Merge, patch).await?;
    ensure!(
        refused.message.contains("no new finalizers can be added"),
        "{}",
        refused.message
    );
    cx.patch(
        &one,
        PatchKind::Merge,
        json!({"metadata": {"finalizers": null}}),
    )
    .await?;
    Ok(())
}

fn owned_by(owners: &[&Value], name: &str) -> Value {
    let references: Vec<Value> = owners
        .iter()
        .map(|o| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"], "blockOwnerDeletion": true}))
        .collect();
    json!({"metadata": {"name": name, "ownerReferences": references}})
}

async fn dependents_go_with_their_owner(cx: Cx) -> Result<(), Failure> {
    let owner = cx.config_map("owner").await?;
    let path = cx.path("/api/v1", "configmaps");
    let child = cx.create(&path, owned_by(&[&owner], "child")).await?;
    cx.create(&path, owned_by(&[&child], "grandchild")).await?;
    cx.delete(
        &format!("{path}/owner"),
        json!({"propagationPolicy": "Background"}),
    )
    .await?;
    cx.gone(&format!("{path}/child")).await?;
    cx.gone(&format!("{path}/grandchild")).await
}

async fn dependents_with_another_owner_stay(cx: Cx) -> Result<(), Failure> {
    let (one, two) = (cx.config_map("one").await?, cx.config_map("two").await?);
    let path = cx.path("/api/v1", "configmaps");
    cx.create(&path, owned_by(&[&one, &two], "child")).await?;
    cx.delete(
        &format!("{path}/one"),
        json!({"propagationPolicy": "Background"}),
    )
    .await?;
    let child = format!("{path}/child");
    cx.until("one owner left", || async {
        let found = cx.get(&child).await?;
        Ok(found["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|o| o.len() == 1))
    })
    .await
}

async fn orphans_stay(cx: Cx) -> Result<(), Failure> {
    let owner = cx.config_map("owner").await?;
    let path = cx.path("/api/v1", "configmaps");
    cx.create(&path, owned_by(&[&owner], "child")).await?;
    cx.delete(
        &format!("{path}/owner"),
        json!({"propagationPolicy": "Orphan"}),
    )
    .await?;
    cx.gone(&format!("{path}/owner")).await?;
    let child = cx.get(&format!("{path}/child")).await?;
    ensure!(
        child["metadata"].get("ownerReferences").is_none(),
        "the owner is still named"
    );
    Ok(())
}

async fn foreground_deletion_waits_for_dependents(cx: Cx) -> Result<(), Failure> {
    let owner = cx.config_map("owner").await?;
    let path = cx.path("/api/v1", "configmaps");
    let mut child = owned_by(&[&owner], "child");
    child["metadata"]["finalizers"] = json!(["a.b/c"]);
    cx.create(&path, child).await?;
    let going = cx
        .delete(
            &format!("{path}/owner"),
            json!({"propagationPolicy": "Foreground"}),
        )
        .await?;
    same!(
        going["metadata"]["finalizers"],
        json!(["foregroundDeletion"]),
        "finalizers"
    );
    let child = format!("{path}/child");
    cx.until("the deletion of the dependent", || async {
        Ok(cx.get(&child).await?["metadata"]["deletionTimestamp"].is_string())
    })
    .await?;
    ensure!(
        cx.try_get(&format!("{path}/owner")).await?.is_some(),
        "the owner did not wait"
    );
    cx.patch(
        &child,
        PatchKind::Merge,
        json!({"metadata": {"finalizers": null}}),
    )
    .await?;
    cx.gone(&format!("{path}/owner")).await
}

async fn namespaces_are_furnished(cx: Cx) -> Result<(), Failure> {
    for rest in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
        let path = cx.path("/api/v1", rest);
        cx.until(rest, || async { Ok(cx.try_get(&path).await?.is_some()) })
            .await?;
    }
    Ok(())
}

async fn namespaces_have_a_label_and_a_finalizer(cx: Cx) -> Result<(), Failure> {
    let found = cx
        .get(&format!("/api/v1/namespaces/{}", cx.namespace))
        .await?;
    same!(
        found["spec"]["finalizers"],
        json!(["kubernetes"]),
        "spec.finalizers"
    );
    same!(found["status"]["phase"], "Active", "phase");
    same!(
        found["metadata"]["labels"]["kubernetes.io/metadata.name"],
        cx.namespace,
        "label"
    );
    Ok(())
}

async fn namespaces_terminate(cx: Cx) -> Result<(), Failure> {
    let maps = cx.path("/api/v1", "configmaps");
    cx.create(
        &maps,
        json!({"metadata": {"name": "held", "finalizers": ["a.b/c"]}}),
    )
    .await?;
    cx.config_map("free").await?;
    let path = format!("/api/v1/namespaces/{}", cx.namespace);
    let going = cx.delete(&path, json!({})).await?;
    same!(going["status"]["phase"], "Terminating", "phase");
    let refused = cx
        .refused(
            403,
            Method::POST,
            &maps,
            json!({"metadata": {"name": "late"}}),
        )
        .await?;
    same!(refused.reason, "Forbidden", "reason");
    same!(
        refused.body["details"]["causes"][0]["reason"],
        "NamespaceTerminating",
        "cause"
    );
    cx.gone(&format!("{maps}/free")).await?;
    ensure!(
        cx.try_get(&path).await?.is_some(),
        "the namespace is gone before it is empty"
    );
    cx.patch(
        &format!("{maps}/held"),
        PatchKind::Merge,
        json!({"metadata": {"finalizers": null}}),
    )
    .await?;
    cx.gone(&path).await
}

async fn the_default_namespace_stays(cx: Cx) -> Result<(), Failure> {
    let refused = cx
        .refused(403, Method::DELETE, "/api/v1/namespaces/default", json!({}))
        .await?;
    ensure!(
        refused
            .message
            .contains("this namespace may not be deleted"),
        "{}",
        refused.message
    );
    Ok(())
}
