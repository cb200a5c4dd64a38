//! Controllers, commands in containers, HTTP, the sample application, and many objects.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::{Api, AttachParams, DeleteParams, ListParams, PostParams};
use kube::runtime::watcher;
use serde_json::json;
use tokio::io::AsyncReadExt;
use velero_testkit::{ApiServer, Controllers, ExecResult, Fault, FaultAction, ManualClock, world};

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come");
}

#[tokio::test]
async fn the_shop_comes_alive() {
    let server = ApiServer::builder().controllers(Controllers::All).build();
    let count = world::seed(&server.store()).unwrap();
    assert_eq!(count, world::objects().unwrap().len());
    let client = server.client();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "shop");
    until("the web Deployment", async || {
        let status = deployments
            .get("web")
            .await
            .unwrap()
            .status
            .unwrap_or_default();
        status.ready_replicas == Some(2)
    })
    .await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "shop");
    until("the claim", async || {
        claims
            .get("photos")
            .await
            .unwrap()
            .status
            .and_then(|s| s.phase)
            .as_deref()
            == Some("Bound")
    })
    .await;
    let pods: Api<Pod> = Api::namespaced(client, "shop");
    until("all pods", async || {
        let pods = pods.list(&ListParams::default()).await.unwrap();
        pods.items.len() == 6
            && pods.iter().all(|p| {
                matches!(
                    p.status.as_ref().and_then(|s| s.phase.as_deref()),
                    Some("Running" | "Succeeded")
                )
            })
    })
    .await;
    deployments
        .delete("web", &DeleteParams::background())
        .await
        .unwrap();
    until("the end of the pods", async || {
        pods.list(&ListParams::default().labels("app=web"))
            .await
            .unwrap()
            .items
            .is_empty()
    })
    .await;
}

#[tokio::test]
async fn the_shop_is_created_call_by_call() {
    let server = ApiServer::new();
    let client = server.client();
    for tree in world::objects().unwrap() {
        let discovery = kube::discovery::Discovery::new(client.clone())
            .run_aggregated()
            .await
            .unwrap();
        let object: kube::api::DynamicObject = serde_json::from_value(tree).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types
            .api_version
            .split_once('/')
            .unwrap_or(("", &types.api_version));
        let gvk = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
        let (resource, _) = discovery.resolve_gvk(&gvk).unwrap();
        let api: Api<kube::api::DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        api.create(&PostParams::default(), &object).await.unwrap();
    }
}

fn with_exec() -> ApiServer {
    let server = ApiServer::builder()
        .exec(|request| match request.command.as_slice() {
            [echo, text] if echo == "echo" => {
                ExecResult::output(format!("{}: {text}\n", request.container))
            }
            _ => ExecResult::failure(3, "no such command"),
        })
        .build();
    server
        .store()
        .seed("{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {containers: [{name: c, image: x}]}}")
        .unwrap();
    server
}

async fn echo(client: kube::Client) -> (String, String, Option<String>) {
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let mut outputs = Vec::new();
    let mut last = None;
    for command in [vec!["echo", "hi"], vec!["false"]] {
        let mut running = pods
            .exec("p", command, &AttachParams::default())
            .await
            .unwrap();
        let mut text = String::new();
        running
            .stdout()
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        let status = running.take_status().unwrap().await.unwrap();
        outputs.push(text);
        last = status
            .details
            .and_then(|d| d.causes)
            .and_then(|c| c.first()?.message.clone());
    }
    (outputs.remove(0), outputs.remove(0), last)
}

#[tokio::test]
async fn commands_run_in_process() {
    let got = echo(with_exec().client()).await;
    assert_eq!(got, ("c: hi\n".into(), String::new(), Some("3".into())));
}

#[tokio::test]
async fn commands_run_over_http() {
    let server = with_exec();
    let serving = server
        .serve(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let config = kube::Config::new(serving.url().parse().unwrap());
    let client = kube::Client::try_from(config).unwrap();
    assert_eq!(echo(client.clone()).await.0, "c: hi\n");
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    assert!(maps.get("kube-root-ca.crt").await.is_ok());
    server.faults().add(
        Fault::new(FaultAction::ConnectionReset)
            .verb("get")
            .times(1),
    );
    assert!(maps.get("kube-root-ca.crt").await.is_err());
    assert!(maps.get("kube-root-ca.crt").await.is_ok());
    assert!(serving.kubeconfig_yaml().contains(&serving.url()));
    serving.shutdown().await;
    assert!(maps.get("kube-root-ca.crt").await.is_err());
}

#[tokio::test]
async fn exec_without_a_handler_is_not_implemented() {
    let server = ApiServer::new();
    server
        .store()
        .seed("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: x}]}}")
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(server.client(), "default");
    let refused = pods
        .exec("p", ["true"], &AttachParams::default())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, kube::Error::Api(s) if s.code == 501 && s.message.contains("pods/exec"))
    );
}

#[tokio::test]
async fn truncated_and_late_answers() {
    let server = ApiServer::new();
    let maps: Api<ConfigMap> = Api::all(server.client());
    server
        .faults()
        .add(Fault::new(FaultAction::Truncate(20)).verb("list").times(1));
    assert!(maps.list(&ListParams::default()).await.is_err());
    server.faults().clear();
    server
        .faults()
        .add(Fault::new(FaultAction::Slow(Duration::from_millis(60))).verb("list"));
    let begun = Instant::now();
    maps.list(&ListParams::default()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(60));
    server.faults().clear();
    server.faults().add(
        Fault::new(FaultAction::ConnectionReset)
            .verb("create")
            .after()
            .times(1),
    );
    let body: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "lost"}})).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    assert!(maps.create(&PostParams::default(), &body).await.is_err());
    assert!(
        maps.get("lost").await.is_ok(),
        "the call was carried out though its answer was lost"
    );
}

#[tokio::test]
async fn compaction_expires_tokens_and_watches() {
    let server = ApiServer::new();
    world::seed_config_maps(&server.store(), 10, 1, 20).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "ns-0");
    let first = maps.list(&ListParams::default().limit(3)).await.unwrap();
    let version = first.metadata.resource_version.clone().unwrap();
    let token = first.metadata.continue_.unwrap();
    maps.delete("map-0000001", &DeleteParams::default())
        .await
        .unwrap();
    server.compact();
    let gone = maps
        .list(&ListParams::default().limit(3).continue_token(&token))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = gone else {
        panic!("{gone}")
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let params = kube::api::WatchParams::default();
    let mut events = Box::pin(maps.watch(&params, &version).await.unwrap());
    let event = futures::StreamExt::next(&mut events)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(event, kube::api::WatchEvent::Error(s) if s.code == 410));
}

#[tokio::test]
async fn reflectors_work() {
    let server = ApiServer::new();
    world::seed_config_maps(&server.store(), 3, 1, 20).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "ns-0");
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut events = Box::pin(watcher(maps.clone(), config.labels("app")));
        let mut seen = 0;
        while let Some(event) = futures::StreamExt::next(&mut events).await {
            match event.unwrap() {
                watcher::Event::InitApply(_) => seen += 1,
                watcher::Event::InitDone => break,
                _ => {}
            }
        }
        assert_eq!(seen, 3);
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_cluster() {
    let build = || {
        let clock = ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap());
        let server = ApiServer::builder().seed(7).clock(clock).build();
        world::seed(&server.store()).unwrap();
        server.store().all()
    };
    assert_eq!(build(), build());
}

#[tokio::test]
async fn definitions_and_namespaces_can_take_their_time() {
    let server = ApiServer::builder()
        .crd_delay(Duration::from_millis(30))
        .namespace_delay(Duration::from_millis(30))
        .build();
    let store = server.store();
    let crd = world::objects()
        .unwrap()
        .into_iter()
        .find(|o| o["kind"] == "CustomResourceDefinition")
        .unwrap();
    store.seed_value(crd).unwrap();
    let find = || {
        store.get(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            None,
            "offers.shop.example.io",
        )
    };
    assert!(find().unwrap()["status"]["conditions"].is_null());
    until("the definition", async || {
        find().unwrap()["status"]["conditions"].is_array()
    })
    .await;
    let spaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(server.client());
    store
        .seed("{apiVersion: v1, kind: ConfigMap, metadata: {name: m, namespace: late}}")
        .unwrap();
    spaces
        .delete("late", &DeleteParams::default())
        .await
        .unwrap();
    assert!(spaces.get_opt("late").await.unwrap().is_some());
    until("the end of the namespace", async || {
        spaces.get_opt("late").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn many_objects() {
    let server = ApiServer::new();
    let begun = Instant::now();
    world::seed_config_maps(&server.store(), 20_000, 50, 200).unwrap();
    let seeded = begun.elapsed();
    let begun = Instant::now();
    let client = server.client();
    let (mut count, mut token) = (0, String::new());
    loop {
        let path = format!("/api/v1/configmaps?limit=500&labelSelector=app&continue={token}");
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let text = client.request_text(request).await.unwrap();
        count += text.matches("\"index\":").count();
        let head = &text[..text.find("\"items\"").unwrap()];
        token = head
            .split("\"continue\":\"")
            .nth(1)
            .map_or(String::new(), |t| t.split('"').next().unwrap().to_owned());
        if token.is_empty() {
            break;
        }
    }
    println!("seeded in {seeded:?}, listed in {:?}", begun.elapsed());
    assert!(count >= 20_000, "{count}");
}
