//! Lists, pages, selectors, and other forms of answers.

use http::Method;
use serde_json::{Value, json};

use super::{Cx, Failure, ensure, same, suite};

suite!(
    pages_share_a_version,
    pages_show_the_state_of_the_first,
    bad_tokens_are_refused,
    items_are_in_order,
    items_of_built_in_kinds_have_no_kind,
    labels_select,
    bad_label_selectors_are_refused,
    fields_select,
    bad_field_selectors_are_refused,
    lists_span_namespaces,
    metadata_alone,
    tables,
);

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|i| i["metadata"]["name"].as_str())
        .map(str::to_owned)
        .collect()
}

async fn ten(cx: &Cx) -> Result<String, Failure> {
    for index in 0..10 {
        cx.config_map(&format!("m{index}")).await?;
    }
    Ok(format!(
        "{}?labelSelector=app",
        cx.path("/api/v1", "configmaps")
    ))
}

async fn pages_share_a_version(cx: Cx) -> Result<(), Failure> {
    ten(&cx).await?;
    let path = cx.path("/api/v1", "configmaps");
    let total = names(&cx.get(&path).await?).len();
    let first = cx.get(&format!("{path}?limit=4")).await?;
    same!(names(&first).len(), 4, "items of the first page");
    same!(
        first["metadata"]["remainingItemCount"],
        json!(total - 4),
        "remainingItemCount"
    );
    let mut seen = names(&first);
    let mut page = first.clone();
    while let Some(token) = page["metadata"]["continue"]
        .as_str()
        .filter(|t| !t.is_empty())
    {
        page = cx.get(&format!("{path}?limit=4&continue={token}")).await?;
        same!(
            page["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"],
            "version of a later page"
        );
        seen.extend(names(&page));
    }
    same!(seen.len(), total, "items of all pages");
    ensure!(
        page["metadata"].get("remainingItemCount").is_none(),
        "the last page has something after it"
    );
    Ok(())
}

async fn pages_show_the_state_of_the_first(cx: Cx) -> Result<(), Failure> {
    let path = ten(&cx).await?;
    let first = cx.get(&format!("{path}&limit=5")).await?;
    ensure!(
        first["metadata"].get("remainingItemCount").is_none(),
        "a selected list counts what remains"
    );
    cx.delete(&cx.path("/api/v1", "configmaps/m9"), json!({}))
        .await?;
    cx.config_map("m55").await?;
    let token = first["metadata"]["continue"].as_str().unwrap_or_default();
    let rest = cx.get(&format!("{path}&limit=50&continue={token}")).await?;
    same!(
        names(&rest),
        ["m5", "m6", "m7", "m8", "m9"],
        "the second page"
    );
    Ok(())
}

async fn bad_tokens_are_refused(cx: Cx) -> Result<(), Failure> {
    let path = format!(
        "{}?limit=1&continue=nonsense",
        cx.path("/api/v1", "configmaps")
    );
    let refused = cx.refused(400, Method::GET, &path, Value::Null).await?;
    same!(refused.reason, "BadRequest", "reason");
    Ok(())
}

async fn items_are_in_order(cx: Cx) -> Result<(), Failure> {
    for name in ["b", "a-b", "a", "a.b", "c"] {
        cx.config_map(name).await?;
    }
    let list = cx
        .get(&format!(
            "{}?labelSelector=app",
            cx.path("/api/v1", "configmaps")
        ))
        .await?;
    same!(names(&list), ["a", "a-b", "a.b", "b", "c"], "order");
    same!(list["kind"], "ConfigMapList", "kind");
    Ok(())
}

async fn items_of_built_in_kinds_have_no_kind(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let list = cx.get(&cx.path("/api/v1", "configmaps")).await?;
    ensure!(list["items"][0].get("kind").is_none(), "an item has a kind");
    ensure!(
        list["items"][0].get("apiVersion").is_none(),
        "an item has an apiVersion"
    );
    Ok(())
}

async fn labels_select(cx: Cx) -> Result<(), Failure> {
    for name in ["one", "two", "three"] {
        cx.config_map(name).await?;
    }
    let path = cx.path("/api/v1", "configmaps");
    for (selector, want) in [
        ("app%3Done", vec!["one"]),
        ("app%3D%3Done", vec!["one"]),
        ("app%20in%20(one,two)", vec!["one", "two"]),
        ("app,app!%3Done", vec!["three", "two"]),
        ("app,app%20notin%20(one,two)", vec!["three"]),
        ("!app,none", vec![]),
    ] {
        let list = cx.get(&format!("{path}?labelSelector={selector}")).await?;
        same!(names(&list), want, selector);
    }
    Ok(())
}

async fn bad_label_selectors_are_refused(cx: Cx) -> Result<(), Failure> {
    let path = format!(
        "{}?labelSelector=a%20b%20c",
        cx.path("/api/v1", "configmaps")
    );
    cx.refused(400, Method::GET, &path, Value::Null).await?;
    Ok(())
}

async fn fields_select(cx: Cx) -> Result<(), Failure> {
    for name in ["one", "two"] {
        cx.config_map(name).await?;
    }
    let maps = cx.path("/api/v1", "configmaps");
    let list = cx
        .get(&format!("{maps}?fieldSelector=metadata.name%3Dtwo"))
        .await?;
    same!(names(&list), ["two"], "by name");
    let secrets = cx.path("/api/v1", "secrets");
    cx.create(&secrets, json!({"metadata": {"name": "plain"}}))
        .await?;
    cx.create(
        &secrets,
        json!({"metadata": {"name": "own"}, "type": "example.io/own"}),
    )
    .await?;
    let list = cx
        .get(&format!("{secrets}?fieldSelector=type%3Dexample.io%2Fown"))
        .await?;
    same!(names(&list), ["own"], "by type");
    let list = cx
        .get(&format!("{secrets}?fieldSelector=type!%3Dexample.io%2Fown"))
        .await?;
    same!(names(&list), ["plain"], "by another type");
    let list = cx
        .get(&format!(
            "/api/v1/configmaps?fieldSelector=metadata.namespace%3D{}&labelSelector=app",
            cx.namespace
        ))
        .await?;
    same!(names(&list), ["one", "two"], "by namespace");
    Ok(())
}

async fn bad_field_selectors_are_refused(cx: Cx) -> Result<(), Failure> {
    let path = format!(
        "{}?fieldSelector=data.a%3D1",
        cx.path("/api/v1", "configmaps")
    );
    let refused = cx.refused(400, Method::GET, &path, Value::Null).await?;
    ensure!(
        refused.message.contains("is not a known field selector"),
        "{}",
        refused.message
    );
    let path = format!("{}?fieldSelector=spec.x%3D1", cx.path("/api/v1", "pods"));
    let refused = cx.refused(400, Method::GET, &path, Value::Null).await?;
    ensure!(
        refused
            .message
            .contains("field label not supported: spec.x"),
        "{}",
        refused.message
    );
    Ok(())
}

async fn lists_span_namespaces(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let list = cx.get("/api/v1/configmaps").await?;
    let items = list["items"].as_array().into_iter().flatten();
    let spaces: Vec<&str> = items
        .filter_map(|i| i["metadata"]["namespace"].as_str())
        .collect();
    ensure!(
        spaces.contains(&cx.namespace.as_str()) && spaces.contains(&"kube-system"),
        "namespaces: {spaces:?}"
    );
    let missing = cx
        .get("/api/v1/namespaces/there-is-no-such-namespace/configmaps")
        .await?;
    same!(missing["items"], json!([]), "items of a missing namespace");
    Ok(())
}

async fn metadata_alone(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
    let one = cx
        .get_as(&cx.path("/api/v1", "configmaps/one"), accept)
        .await?;
    same!(one["kind"], "PartialObjectMetadata", "kind");
    ensure!(one.get("data").is_none(), "data is there");
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = cx.get_as(&cx.path("/api/v1", "configmaps"), accept).await?;
    same!(
        list["kind"],
        "PartialObjectMetadataList",
        "kind of the list"
    );
    ensure!(
        list["items"][0].get("data").is_none(),
        "data is in the list"
    );
    Ok(())
}

async fn tables(cx: Cx) -> Result<(), Failure> {
    cx.config_map("one").await?;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let path = format!("{}?labelSelector=app", cx.path("/api/v1", "configmaps"));
    let table = cx.get_as(&path, accept).await?;
    same!(table["kind"], "Table", "kind");
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| c["name"].as_str())
        .collect();
    same!(columns, ["Name", "Data", "Age"], "columns");
    same!(table["rows"][0]["cells"][0], "one", "first cell");
    same!(
        table["rows"][0]["object"]["kind"],
        "PartialObjectMetadata",
        "object of a row"
    );
    Ok(())
}
