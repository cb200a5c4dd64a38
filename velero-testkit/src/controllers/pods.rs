//! Pods run as soon as they are there.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{NODE, save};
use crate::registry::Resource;
use crate::server::Inner;
use crate::store::{State, Stored};

/// Places a pod on the node and starts (or, in a Job, ends) its containers.
pub(super) fn run(
    inner: &Arc<Inner>,
    state: &mut State,
    resource: &Arc<Resource>,
    live: &Arc<Stored>,
) {
    let mut tree = live.full(resource);
    if tree["status"]["phase"] != "Pending" {
        return;
    }
    if tree["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
        tree["spec"]["nodeName"] = NODE.into();
    }
    let now = crate::clock::seconds(inner.now());
    let restart = tree["spec"]["restartPolicy"].as_str().unwrap_or("Always");
    let ends = restart != "Always";
    let statuses = |list: &str, done: bool| -> Vec<Value> {
        let containers = tree["spec"][list].as_array().into_iter().flatten();
        containers.map(|c| container(c, done, &now)).collect()
    };
    let (own, init) = (
        statuses("containers", ends),
        statuses("initContainers", true),
    );
    let ready = if ends { "False" } else { "True" };
    let reason = if ends {
        json!("PodCompleted")
    } else {
        Value::Null
    };
    let condition = |kind: &str, status: &str| {
        let mut value = json!({"type": kind, "status": status, "lastTransitionTime": now});
        if status == "False" {
            value["reason"] = reason.clone();
        }
        value
    };
    let last = live
        .uid
        .bytes()
        .fold(0_u32, |sum, b| (sum * 31 + u32::from(b)) % 64_000)
        + 2;
    let ip = format!("10.244.{}.{}", last / 256, last % 256);
    let qos = tree["status"]["qosClass"].clone();
    let mut status = json!({
        "phase": if ends { "Succeeded" } else { "Running" }, "qosClass": qos, "startTime": now,
        "hostIP": "127.0.0.1", "podIP": ip, "podIPs": [{"ip": ip}], "containerStatuses": own,
        "conditions": [
            condition("Initialized", "True"), condition("Ready", ready), condition("ContainersReady", ready),
            condition("PodScheduled", "True"),
        ],
    });
    if !init.is_empty() {
        status["initContainerStatuses"] = init.into();
    }
    tree["status"] = status;
    save(inner, state, resource, live, tree);
}

fn container(spec: &Value, done: bool, now: &str) -> Value {
    let name = spec["name"].as_str().unwrap_or_default();
    let state = if done {
        json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}})
    } else {
        json!({"running": {"startedAt": now}})
    };
    json!({
        "name": name, "image": spec["image"], "imageID": "", "containerID": format!("testkit://{name}"),
        "ready": !done, "started": !done, "restartCount": 0, "state": state,
    })
}
