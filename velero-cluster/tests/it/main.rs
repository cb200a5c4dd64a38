//! Tests against the in-process API server.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod calls;
mod contact;
mod discovery;
mod exec;
mod lists;
mod watch;
mod writes;

use std::time::Duration;

use velero_cluster::velero_core::{ApiResource, GroupResource};
use velero_cluster::{Cluster, ClusterOptions};
use velero_testkit::ApiServer;

/// A cluster with `count` ConfigMaps `m0000`... in each of the given namespaces.
fn server_with(namespaces: &[&str], count: usize) -> ApiServer {
    let server = ApiServer::new();
    for ns in namespaces {
        if *ns != "default" {
            seed(
                &server,
                serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}}),
            );
        }
        for at in 0..count {
            seed(&server, config_map(ns, &format!("m{at:04}"), at));
        }
    }
    server.calls().reset();
    server
}

fn config_map(namespace: &str, name: &str, at: usize) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, "labels": {"parity": if at.is_multiple_of(2) { "even" } else { "odd" }}},
        "data": {"at": at.to_string()}
    })
}

fn seed(server: &ApiServer, value: serde_json::Value) {
    server.store().seed_value(value).unwrap();
}

async fn connect(server: &ApiServer) -> Cluster {
    connect_with(server, ClusterOptions::default()).await
}

async fn connect_with(server: &ApiServer, options: ClusterOptions) -> Cluster {
    let cluster = Cluster::connect_with(server.client(), options)
        .await
        .unwrap();
    server.calls().reset();
    cluster
}

fn short() -> ClusterOptions {
    ClusterOptions::default().timeouts(Duration::from_millis(200), Duration::from_millis(900))
}

fn core(cluster: &Cluster, plural: &str) -> ApiResource {
    cluster
        .catalog()
        .get(&GroupResource::core(plural))
        .unwrap()
        .clone()
}
