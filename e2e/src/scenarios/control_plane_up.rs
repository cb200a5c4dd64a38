//! The control plane does what the other scenarios rely on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, PersistentVolumeClaim, Pod, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{AttachParams, ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::{AuditFilter, Component, Context, ControlPlane, Options, S3Server, eventually};

const NAMESPACE: &str = "shop";
const REPLICAS: usize = 3;
const SOON: Duration = Duration::from_secs(60);

/// Starts everything and checks that it is alive.
pub(super) async fn run(cx: &Context) -> Result<()> {
    let mut plane = cx.control_plane(Options::default()).await?;
    let client = plane.client_as("probe/1").await?;
    let version = client.apiserver_version().await?.git_version;
    ensure!(
        version.starts_with("v1."),
        "the server says its version is {version:?}"
    );

    create(
        &Api::<Namespace>::all(client.clone()),
        json!({"metadata": {"name": NAMESPACE}}),
    )
    .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    eventually("ServiceAccount default", SOON, || async {
        Ok(accounts.get_opt("default").await?)
    })
    .await?;
    claim_binds(&client).await?;
    let pod = deployment_runs(&client).await?;
    exec_answers(&client, &pod).await?;
    audit_counts(&plane).await?;
    strangers_are_refused(&plane).await?;

    plane.kill(Component::ApiServer);
    ensure!(
        client.apiserver_version().await.is_err(),
        "a killed API server answered"
    );
    plane.restart(Component::ApiServer).await?;
    client
        .apiserver_version()
        .await
        .context("the API server did not come back")?;
    object_store_answers(cx).await?;

    let dir = plane.dir().to_owned();
    let pids: Vec<_> = [Component::Etcd, Component::ApiServer, Component::Kwok]
        .into_iter()
        .filter_map(|component| plane.pid(component))
        .collect();
    ensure!(pids.len() == 3, "expected three process ids, got {pids:?}");
    let kept = cx.keeps();
    plane.stop().await;
    for pid in pids {
        ensure!(
            !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "process {pid} is still there"
        );
    }
    ensure!(kept || !dir.exists(), "{} is still there", dir.display());
    Ok(())
}

async fn claim_binds(client: &Client) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), NAMESPACE);
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    create(&claims, json!({"metadata": {"name": "data"}, "spec": spec})).await?;
    eventually("claim data is Bound", SOON, || async {
        let phase = claims
            .get("data")
            .await?
            .status
            .and_then(|status| status.phase);
        Ok((phase.as_deref() == Some("Bound")).then_some(()))
    })
    .await
}

/// Returns the name of one of the pods.
async fn deployment_runs(client: &Client) -> Result<String> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let object = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{
                        "name": "web", "image": "web:1",
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }],
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
                },
            },
        },
    });
    create(&deployments, object).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    eventually("pods of web are Running", SOON, || async {
        let list = pods
            .list(&ListParams::default().labels("app=web"))
            .await?
            .items;
        let running = |pod: &Pod| {
            pod.status
                .as_ref()
                .and_then(|status| status.phase.as_deref())
                == Some("Running")
        };
        let all = list.len() == REPLICAS && list.iter().all(running);
        Ok(all
            .then(|| list.into_iter().next().and_then(|pod| pod.metadata.name))
            .flatten())
    })
    .await
}

async fn exec_answers(client: &Client, pod: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let params = AttachParams::default().container("web").stderr(false);
    let mut process = pods
        .exec(pod, ["echo", "hello from a hook"], &params)
        .await?;
    let mut output = String::new();
    let mut stdout = process.stdout().context("exec gave no stdout")?;
    tokio::time::timeout(SOON, stdout.read_to_string(&mut output)).await??;
    ensure!(output == "hello from a hook\n", "exec printed {output:?}");
    process.join().await?;
    Ok(())
}

async fn audit_counts(plane: &ControlPlane) -> Result<()> {
    let audit = plane.audit().context("no audit log")?;
    let counts = audit.counts(&AuditFilter::objects_of("probe/"))?;
    let made = |resource: &str| {
        let key = ("create".to_owned(), resource.to_owned(), 201);
        counts.get(&key).copied().unwrap_or(0)
    };
    for resource in ["namespaces", "persistentvolumeclaims", "deployments.apps"] {
        ensure!(
            made(resource) == 1,
            "expected one create of {resource} in the audit log, got {counts:?}"
        );
    }
    let nameless = audit.writes_without_field_manager(&AuditFilter::objects_of("probe/"))?;
    ensure!(
        nameless.len() == 3,
        "expected three writes without a field manager, got {nameless:?}"
    );
    let all = audit.count(&AuditFilter::all_of("probe/"))?;
    let objects: usize = counts.values().sum();
    ensure!(
        all > objects,
        "discovery calls are missing from the audit log: {all} calls, {objects} of them for objects"
    );
    let later = audit.from_now()?;
    ensure!(
        later.count(&AuditFilter::all_of("probe/"))? == 0,
        "the log from now on is not empty"
    );
    ensure!(
        later.calls_an_object("probe/", 1).is_err(),
        "no call at all must be an error"
    );
    Ok(())
}

async fn strangers_are_refused(plane: &ControlPlane) -> Result<()> {
    let config =
        kube::config::Kubeconfig::read_from(plane.kubeconfig_for("mallory", Some("strangers"))?)?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    let pods: Api<Pod> = Api::namespaced(Client::try_from(config)?, NAMESPACE);
    match pods.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        other => anyhow::bail!(
            "a user without rights listed pods: {:?}",
            other.map(|list| list.items.len())
        ),
    }
}

async fn object_store_answers(cx: &Context) -> Result<()> {
    let server = S3Server::start(cx.scratch().join("s3")).await?;
    let bucket = server.create_bucket("velero")?;
    ensure!(bucket.is_dir(), "{} is not a folder", bucket.display());
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await;
    ensure!(stream.is_ok(), "{} does not answer", server.endpoint());
    server.stop().await;
    Ok(())
}

async fn create<K>(api: &Api<K>, object: serde_json::Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let object: K = serde_json::from_value(object)?;
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}
