//! What the server says about itself.

use serde_json::{Value, json};

use super::{Cx, Failure, ensure, same, suite};

suite!(
    the_version_is_told,
    groups_are_listed,
    resources_are_listed,
    discovery_is_aggregated,
    openapi_has_write_parameters,
);

async fn the_version_is_told(cx: Cx) -> Result<(), Failure> {
    let version = cx.get("/version").await?;
    same!(version["major"], "1", "major");
    ensure!(
        version["gitVersion"]
            .as_str()
            .is_some_and(|v| v.starts_with("v1.")),
        "gitVersion"
    );
    Ok(())
}

async fn groups_are_listed(cx: Cx) -> Result<(), Failure> {
    same!(
        cx.get("/api").await?["versions"],
        json!(["v1"]),
        "core versions"
    );
    let groups = cx.get("/apis").await?;
    let names: Vec<&str> = groups["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|g| g["name"].as_str())
        .collect();
    for name in [
        "apps",
        "batch",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "apiextensions.k8s.io",
        "policy",
    ] {
        ensure!(names.contains(&name), "{name} is not among {names:?}");
    }
    let apps = cx.get("/apis/apps").await?;
    same!(
        apps["preferredVersion"]["groupVersion"],
        "apps/v1",
        "preferred version"
    );
    Ok(())
}

async fn resources_are_listed(cx: Cx) -> Result<(), Failure> {
    let list = cx.get("/api/v1").await?;
    let resources = list["resources"].as_array().cloned().unwrap_or_default();
    let find = |name: &str| {
        resources
            .iter()
            .find(|r| r["name"] == name)
            .cloned()
            .unwrap_or_default()
    };
    let pods = find("pods");
    same!(pods["kind"], "Pod", "kind");
    same!(pods["singularName"], "pod", "singularName");
    same!(pods["namespaced"], true, "namespaced");
    same!(pods["shortNames"], json!(["po"]), "shortNames");
    same!(pods["categories"], json!(["all"]), "categories");
    let verbs = json!([
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch"
    ]);
    same!(pods["verbs"], verbs, "verbs");
    same!(find("pods/exec")["kind"], "PodExecOptions", "kind of exec");
    same!(
        find("namespaces")["namespaced"],
        false,
        "namespaces are namespaced"
    );
    Ok(())
}

async fn discovery_is_aggregated(cx: Cx) -> Result<(), Failure> {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let list = cx.get_as("/apis", accept).await?;
    same!(list["kind"], "APIGroupDiscoveryList", "kind");
    let groups = list["items"].as_array().cloned().unwrap_or_default();
    let apps = groups
        .iter()
        .find(|g| g["metadata"]["name"] == "apps")
        .cloned()
        .unwrap_or_default();
    let resources = apps["versions"][0]["resources"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = resources
        .iter()
        .find(|r| r["resource"] == "deployments")
        .cloned()
        .unwrap_or_default();
    same!(found["scope"], "Namespaced", "scope");
    same!(found["responseKind"]["kind"], "Deployment", "kind");
    same!(found["singularResource"], "deployment", "singular");
    let core = cx.get_as("/api", accept).await?;
    same!(
        core["items"][0]["versions"][0]["version"],
        "v1",
        "core version"
    );
    Ok(())
}

async fn openapi_has_write_parameters(cx: Cx) -> Result<(), Failure> {
    let index = cx.get("/openapi/v3").await?;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let document = cx.get(&url).await?;
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let parameters: Vec<&Value> = patch["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    ensure!(
        parameters.iter().any(|p| p["name"] == "fieldValidation"),
        "parameters: {parameters:?}"
    );
    same!(
        patch["x-kubernetes-group-version-kind"]["kind"],
        "Deployment",
        "kind"
    );
    ensure!(
        document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object(),
        "no schema"
    );
    Ok(())
}
