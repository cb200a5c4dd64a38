//! Creating, reading, updating and deleting.

use http::Method;
use serde_json::{Value, json};

use super::{Cx, Failure, ensure, same, suite};

suite!(
    create_returns_server_fields,
    create_of_a_taken_name_is_refused,
    create_with_a_version_is_refused,
    create_without_a_name_is_refused,
    create_generates_names,
    create_in_a_missing_namespace_is_refused,
    create_in_another_namespace_is_refused,
    create_keeps_no_given_uid,
    create_checks_names,
    create_checks_labels,
    create_of_another_kind_is_refused,
    dry_run_keeps_nothing,
    strict_validation_refuses_unknown_fields,
    unknown_fields_are_dropped,
    values_of_the_wrong_type_are_refused,
    unknown_paths_are_not_found,
    missing_objects_are_not_found,
    update_raises_the_version,
    update_of_an_old_version_is_refused,
    update_without_a_version_wins,
    update_without_a_change_keeps_the_version,
    update_of_another_name_is_refused,
    update_of_a_missing_object_is_refused,
    update_keeps_what_the_server_set,
    delete_answers_with_a_status,
    delete_checks_the_uid,
    delete_checks_the_version,
    delete_collection_takes_what_is_selected,
    methods_that_are_not_allowed,
);

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

async fn create_returns_server_fields(cx: Cx) -> Result<(), Failure> {
    let made = cx.config_map("one").await?;
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
    ] {
        ensure!(
            !made["metadata"][field].is_null(),
            "metadata.{field} is missing"
        );
    }
    ensure!(
        made["metadata"].get("generation").is_none(),
        "a ConfigMap has a generation"
    );
    ensure!(
        made["metadata"].get("selfLink").is_none(),
        "there is a selfLink"
    );
    same!(made["kind"], "ConfigMap", "kind");
    same!(made["apiVersion"], "v1", "apiVersion");
    same!(
        cx.get(&cx.path("/api/v1", "configmaps/one")).await?,
        made,
        "what get returns"
    );
    Ok(())
}

async fn create_of_a_taken_name_is_refused(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps");
    let refused = cx
        .refused(
            409,
            Method::POST,
            &path,
            json!({"metadata": {"name": "one"}}),
        )
        .await?;
    same!(refused.reason, "AlreadyExists", "reason");
    same!(
        refused.message,
        "configmaps \"one\" already exists",
        "message"
    );
    same!(
        refused.body["details"],
        json!({"name": "one", "kind": "configmaps"}),
        "details"
    );
    Ok(())
}

async fn create_with_a_version_is_refused(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "one", "resourceVersion": "1"}});
    let refused = cx
        .refused(500, Method::POST, &cx.path("/api/v1", "configmaps"), body)
        .await?;
    same!(
        refused.message,
        "resourceVersion should not be set on objects to be created",
        "message"
    );
    Ok(())
}

async fn create_without_a_name_is_refused(cx: Cx) -> Result<(), Failure> {
    let refused = cx
        .refused(
            422,
            Method::POST,
            &cx.path("/api/v1", "configmaps"),
            json!({"metadata": {}}),
        )
        .await?;
    same!(refused.reason, "Invalid", "reason");
    ensure!(
        refused.message.contains("name or generateName is required"),
        "message: {}",
        refused.message
    );
    Ok(())
}

async fn create_generates_names(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let body = json!({"metadata": {"generateName": "gen-"}});
    let one = cx.create(&path, body.clone()).await?;
    let two = cx.create(&path, body).await?;
    let name = text(&one, "/metadata/name");
    ensure!(
        name.starts_with("gen-") && name.len() == 9,
        "generated name is {name}"
    );
    ensure!(
        name != text(&two, "/metadata/name"),
        "two generated names are {name}"
    );
    same!(one["metadata"]["generateName"], "gen-", "generateName");
    Ok(())
}

async fn create_in_a_missing_namespace_is_refused(cx: Cx) -> Result<(), Failure> {
    let path = "/api/v1/namespaces/there-is-no-such-namespace/configmaps";
    let refused = cx
        .refused(
            404,
            Method::POST,
            path,
            json!({"metadata": {"name": "one"}}),
        )
        .await?;
    same!(refused.reason, "NotFound", "reason");
    same!(
        refused.message,
        "namespaces \"there-is-no-such-namespace\" not found",
        "message"
    );
    same!(
        refused.body["details"],
        json!({"name": "there-is-no-such-namespace", "kind": "namespaces"}),
        "details"
    );
    Ok(())
}

async fn create_in_another_namespace_is_refused(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "one", "namespace": "other"}});
    let refused = cx
        .refused(400, Method::POST, &cx.path("/api/v1", "configmaps"), body)
        .await?;
    same!(refused.reason, "BadRequest", "reason");
    ensure!(
        refused.message.contains("does not match the namespace"),
        "message: {}",
        refused.message
    );
    Ok(())
}

async fn create_keeps_no_given_uid(cx: Cx) -> Result<(), Failure> {
    let uid = "11111111-2222-3333-4444-555555555555";
    let body = json!({"metadata": {
        "name": "one", "uid": uid, "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7,
        "deletionTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x",
    }});
    let made = cx.create(&cx.path("/api/v1", "configmaps"), body).await?;
    ensure!(
        made["metadata"]["uid"] != uid,
        "the uid is that of the body"
    );
    ensure!(
        made["metadata"]["creationTimestamp"] != "2001-01-01T00:00:00Z",
        "the time is that of the body"
    );
    ensure!(
        made["metadata"].get("deletionTimestamp").is_none(),
        "there is a deletionTimestamp"
    );
    Ok(())
}

async fn create_checks_names(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    for name in ["Upper", "under_score", "-dash", "a..b"] {
        let refused = cx
            .refused(
                422,
                Method::POST,
                &path,
                json!({"metadata": {"name": name}}),
            )
            .await?;
        same!(
            refused.body["details"]["causes"][0]["field"],
            "metadata.name",
            "field"
        );
        ensure!(
            refused
                .message
                .starts_with(&format!("ConfigMap \"{name}\" is invalid")),
            "{}",
            refused.message
        );
    }
    let services = cx.path("/api/v1", "services");
    let body = json!({"metadata": {"name": "with.dot"}, "spec": {"ports": [{"port": 80}]}});
    cx.refused(422, Method::POST, &services, body).await?;
    let roles = cx.path("/apis/rbac.authorization.k8s.io/v1", "roles");
    cx.create(
        &roles,
        json!({"metadata": {"name": "system:Mixed"}, "rules": []}),
    )
    .await?;
    Ok(())
}

async fn create_checks_labels(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    for labels in [
        json!({"a b": "c"}),
        json!({"a": "b c"}),
        json!({"UPPER/": "x"}),
    ] {
        let body = json!({"metadata": {"name": "one", "labels": labels}});
        let refused = cx.refused(422, Method::POST, &path, body).await?;
        same!(
            refused.body["details"]["causes"][0]["field"],
            "metadata.labels",
            "field"
        );
    }
    Ok(())
}

async fn create_of_another_kind_is_refused(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}});
    cx.refused(400, Method::POST, &path, body).await?;
    let body = json!({"apiVersion": "apps/v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
    cx.refused(400, Method::POST, &path, body).await?;
    Ok(())
}

async fn dry_run_keeps_nothing(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let made = cx
        .create(
            &format!("{path}?dryRun=All"),
            json!({"metadata": {"name": "one"}}),
        )
        .await?;
    ensure!(
        made["metadata"]["uid"].is_string(),
        "a dry run gives no uid"
    );
    ensure!(
        cx.try_get(&format!("{path}/one")).await?.is_none(),
        "the object of a dry run is there"
    );
    cx.config_map("two").await?;
    let two = format!("{path}/two?dryRun=All");
    cx.patch(
        &two,
        super::cx::PatchKind::Merge,
        json!({"data": {"a": "2"}}),
    )
    .await?;
    cx.delete(&format!("{path}/two"), json!({"dryRun": ["All"]}))
        .await?;
    same!(
        cx.get(&format!("{path}/two")).await?["data"]["a"],
        "1",
        "data after dry runs"
    );
    cx.refused(
        409,
        Method::POST,
        &format!("{path}?dryRun=All"),
        json!({"metadata": {"name": "two"}}),
    )
    .await?;
    Ok(())
}

async fn strict_validation_refuses_unknown_fields(cx: Cx) -> Result<(), Failure> {
    let path = format!(
        "{}?fieldValidation=Strict",
        cx.path("/api/v1", "configmaps")
    );
    let body = json!({"metadata": {"name": "one"}, "datum": {"a": "b"}});
    let refused = cx.refused(400, Method::POST, &path, body).await?;
    ensure!(
        refused
            .message
            .contains("strict decoding error: unknown field \"datum\""),
        "{}",
        refused.message
    );
    Ok(())
}

async fn unknown_fields_are_dropped(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "one", "colour": "red"}, "datum": {"a": "b"}});
    let made = cx.create(&cx.path("/api/v1", "configmaps"), body).await?;
    ensure!(
        made.get("datum").is_none() && made["metadata"].get("colour").is_none(),
        "unknown fields stay: {made}"
    );
    Ok(())
}

async fn values_of_the_wrong_type_are_refused(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps");
    let refused = cx
        .refused(
            400,
            Method::POST,
            &path,
            json!({"metadata": {"name": "one"}, "data": {"a": 1}}),
        )
        .await?;
    ensure!(
        refused
            .message
            .contains("cannot unmarshal number into Go struct field"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn unknown_paths_are_not_found(cx: Cx) -> Result<(), Failure> {
    for path in [
        cx.path("/api/v1", "gadgets"),
        "/apis/no.such.group/v1/things".to_owned(),
    ] {
        let (code, _) = cx.send(Method::GET, &path, &[], None).await?;
        same!(code, 404, path);
    }
    Ok(())
}

async fn missing_objects_are_not_found(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/apis/apps/v1", "deployments/none");
    let refused = cx.refused(404, Method::GET, &path, Value::Null).await?;
    same!(refused.reason, "NotFound", "reason");
    same!(refused.code, 404, "code");
    same!(
        refused.message,
        "deployments.apps \"none\" not found",
        "message"
    );
    same!(
        refused.body["details"],
        json!({"name": "none", "group": "apps", "kind": "deployments"}),
        "details"
    );
    cx.refused(404, Method::DELETE, &path, json!({})).await?;
    Ok(())
}

async fn update_raises_the_version(cx: Cx) -> Result<(), Failure> {
    let mut made = cx.config_map("one").await?;
    let before: u64 = text(&made, "/metadata/resourceVersion")
        .parse()
        .unwrap_or_default();
    made["data"]["b"] = "2".into();
    let changed = cx
        .update(&cx.path("/api/v1", "configmaps/one"), &made)
        .await?;
    let after: u64 = text(&changed, "/metadata/resourceVersion")
        .parse()
        .unwrap_or_default();
    ensure!(after > before, "version went from {before} to {after}");
    same!(changed["metadata"]["uid"], made["metadata"]["uid"], "uid");
    Ok(())
}

async fn update_of_an_old_version_is_refused(cx: Cx) -> Result<(), Failure> {
    let path = cx.path("/api/v1", "configmaps/one");
    let mut old = cx.config_map("one").await?;
    let mut new = old.clone();
    new["data"]["b"] = "2".into();
    cx.update(&path, &new).await?;
    old["data"]["b"] = "3".into();
    let refused = cx.refused(409, Method::PUT, &path, old).await?;
    same!(refused.reason, "Conflict", "reason");
    ensure!(
        refused.message.contains("the object has been modified"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn update_without_a_version_wins(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let body = json!({"metadata": {"name": "one"}, "data": {"z": "9"}});
    let changed = cx
        .update(&cx.path("/api/v1", "configmaps/one"), &body)
        .await?;
    same!(changed["data"], json!({"z": "9"}), "data");
    ensure!(
        changed["metadata"].get("labels").is_none(),
        "labels stay though the update has none"
    );
    Ok(())
}

async fn update_without_a_change_keeps_the_version(cx: Cx) -> Result<(), Failure> {
    let made = cx.config_map("one").await?;
    let again = cx
        .update(&cx.path("/api/v1", "configmaps/one"), &made)
        .await?;
    same!(
        again["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"],
        "version"
    );
    Ok(())
}

async fn update_of_another_name_is_refused(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let body = json!({"metadata": {"name": "two"}});
    let refused = cx
        .refused(
            400,
            Method::PUT,
            &cx.path("/api/v1", "configmaps/one"),
            body,
        )
        .await?;
    ensure!(
        refused
            .message
            .contains("does not match the name on the URL"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn update_of_a_missing_object_is_refused(cx: Cx) -> Result<(), Failure> {
    let body = json!({"metadata": {"name": "one"}});
    cx.refused(
        404,
        Method::PUT,
        &cx.path("/api/v1", "configmaps/one"),
        body,
    )
    .await?;
    Ok(())
}

async fn update_keeps_what_the_server_set(cx: Cx) -> Result<(), Failure> {
    let made = cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let mut body = made.clone();
    body["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    body["data"]["b"] = "2".into();
    let changed = cx.update(&path, &body).await?;
    same!(
        changed["metadata"]["creationTimestamp"],
        made["metadata"]["creationTimestamp"],
        "creationTimestamp"
    );
    let mut other = changed;
    other["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
    let refused = cx.refused(409, Method::PUT, &path, other).await?;
    ensure!(
        refused.message.contains("UID in precondition"),
        "{}",
        refused.message
    );
    let mut going = made;
    going["metadata"]["resourceVersion"] = "".into();
    going["metadata"]["deletionTimestamp"] = "2001-01-01T00:00:00Z".into();
    let refused = cx.refused(422, Method::PUT, &path, going).await?;
    same!(
        refused.body["details"]["causes"][0]["field"],
        "metadata.deletionTimestamp",
        "field"
    );
    Ok(())
}

async fn delete_answers_with_a_status(cx: Cx) -> Result<(), Failure> {
    let made = cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let answer = cx.delete(&path, json!({})).await?;
    same!(answer["kind"], "Status", "kind");
    same!(answer["status"], "Success", "status");
    let want = json!({"name": "one", "kind": "configmaps", "uid": made["metadata"]["uid"]});
    same!(answer["details"], want, "details");
    ensure!(
        cx.try_get(&path).await?.is_none(),
        "the object is still there"
    );
    Ok(())
}

async fn delete_checks_the_uid(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    let options = json!({"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}});
    let refused = cx.refused(409, Method::DELETE, &path, options).await?;
    same!(refused.reason, "Conflict", "reason");
    Ok(())
}

async fn delete_checks_the_version(cx: Cx) -> Result<(), Failure> {
    let made = cx.config_map("one").await?;
    let path = cx.path("/api/v1", "configmaps/one");
    cx.refused(
        409,
        Method::DELETE,
        &path,
        json!({"preconditions": {"resourceVersion": "1"}}),
    )
    .await?;
    let version = made["metadata"]["resourceVersion"].clone();
    cx.delete(
        &path,
        json!({"preconditions": {"resourceVersion": version}}),
    )
    .await?;
    Ok(())
}

async fn delete_collection_takes_what_is_selected(cx: Cx) -> Result<(), Failure> {
    for name in ["one", "two", "three"] {
        cx.config_map(name).await?;
    }
    let path = cx.path("/api/v1", "configmaps");
    cx.delete(&format!("{path}?labelSelector=app+in+(one,two)"), json!({}))
        .await?;
    ensure!(
        cx.try_get(&format!("{path}/one")).await?.is_none(),
        "one is still there"
    );
    ensure!(
        cx.try_get(&format!("{path}/three")).await?.is_some(),
        "three is gone"
    );
    Ok(())
}

async fn methods_that_are_not_allowed(cx: Cx) -> Result<(), Failure> {
    let refused = cx
        .refused(
            405,
            Method::PUT,
            &cx.path("/api/v1", "configmaps"),
            json!({}),
        )
        .await?;
    same!(refused.reason, "MethodNotAllowed", "reason");
    cx.refused(405, Method::DELETE, "/api/v1/namespaces", json!({}))
        .await?;
    Ok(())
}
