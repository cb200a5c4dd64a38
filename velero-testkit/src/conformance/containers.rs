//! What an API server says of containers before it asks the node they run on.

use http::Method;
use serde_json::{Value, json};

use super::{Cx, Failure, same, suite};

suite!(logs_are_of_one_container, logs_of_unplaced_pods_are_empty);

/// A pod that no scheduler places.
async fn pod(cx: &Cx, name: &str, containers: &[&str]) -> Result<String, Failure> {
    let containers: Vec<Value> = containers
        .iter()
        .map(|name| json!({"name": name, "image": "nginx"}))
        .collect();
    let spec = json!({"schedulerName": "nobody", "containers": containers});
    let path = cx.path("/api/v1", "pods");
    let body = json!({"metadata": {"name": name}, "spec": spec});
    cx.create(&path, body).await?;
    Ok(format!("{path}/{name}/log"))
}

async fn logs_are_of_one_container(cx: Cx) -> Result<(), Failure> {
    let log = pod(&cx, "two", &["a", "b"]).await?;
    let refused = cx.refused(400, Method::GET, &log, Value::Null).await?;
    same!(refused.reason, "BadRequest", "reason without a container");
    same!(
        refused.message,
        "a container name must be specified for pod two, choose one of: [a b]",
        "message without a container"
    );
    let other = format!("{log}?container=c");
    let refused = cx.refused(400, Method::GET, &other, Value::Null).await?;
    same!(
        refused.message,
        "container c is not valid for pod two",
        "message for another container"
    );
    let missing = cx.path("/api/v1", "pods/none/log");
    let refused = cx.refused(404, Method::GET, &missing, Value::Null).await?;
    same!(
        refused.message,
        "pods \"none\" not found",
        "message for no pod"
    );
    Ok(())
}

async fn logs_of_unplaced_pods_are_empty(cx: Cx) -> Result<(), Failure> {
    let log = pod(&cx, "one", &["a"]).await?;
    for path in [log.clone(), format!("{log}?container=a")] {
        let (code, body) = cx.send(Method::GET, &path, &[], None).await?;
        same!((code, body), (204, json!("")), path);
    }
    Ok(())
}
