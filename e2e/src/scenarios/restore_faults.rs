//! What goes wrong between a restore and a real API server: the run ends, all that can be restored is, and the result says
//! what is missing.

use std::{
    io::Cursor,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::future::{BoxFuture, join_all};
use http::{Request, Response, StatusCode};
use kube::{
    Client,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use velero_restore::{
    Cluster, RestoreEngine, RestoreOptions, RestoreRequest, RestoreResult, RestoreRun,
    velero_core::{
        GroupResource,
        api::Restore,
        archive::{ArchiveWriter, ArchiveWriterOptions, ItemPath},
        result::{Record, Severity},
    },
};

use super::backup_faults::narrow;
use crate::{Component, Context, ControlPlane, Kubectl, Options, eventually, site::SOON};

/// Objects of one kind that are created while something happens.
const OBJECTS: usize = 1500;
/// Longest time for one restore, whatever happens in it.
const DEADLINE: Duration = Duration::from_secs(150);
const MAPS: &str = "/configmaps?";
const SERVICES: &str = "/services?";

/// Looks at a write before it is sent.
type Gate = Arc<dyn Fn(String) -> BoxFuture<'static, ()> + Send + Sync>;

/// One fault after the other; the API server that is killed is one of its own.
pub(super) async fn run(cx: &Context) -> Result<()> {
    restart(cx).await.context("restart of the API server")?;
    let options = Options {
        nodes: 0,
        scheduler: false,
        audit: false,
        ..Options::default()
    };
    let plane = cx.control_plane(options).await?;
    let faults = Faults {
        kubectl: Kubectl::new(&plane)?,
        client: client(plane.kubeconfig()).await?,
        plane: &plane,
    };
    faults.definitions().await.context("definitions")?;
    faults.storm().await.context("refusals")?;
    faults
        .webhook_of_the_archive()
        .await
        .context("a webhook that comes along")?;
    faults
        .webhook_of_the_cluster()
        .await
        .context("a webhook that is there")?;
    faults.namespace().await.context("a namespace that goes")?;
    faults.sizes_and_kinds().await.context("sizes and kinds")?;
    plane.stop().await;
    Ok(())
}

struct Faults<'a> {
    plane: &'a ControlPlane,
    kubectl: Kubectl,
    client: Client,
}

/// A client that does not try again by itself.
async fn client(kubeconfig: &Path) -> Result<Client> {
    let (file, options) = (
        Kubeconfig::read_from(kubeconfig)?,
        KubeConfigOptions::default(),
    );
    let mut config = kube::Config::from_custom_kubeconfig(file, &options).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

fn none() -> Gate {
    Arc::new(|_| Box::pin(async {}))
}

fn lines(result: &RestoreResult) -> Vec<String> {
    result.records.iter().map(Record::line).collect()
}

fn clean(result: &RestoreResult) -> Result<()> {
    ensure!(result.records.is_empty(), "{:?}", lines(result));
    Ok(())
}

fn text<'a>(item: &'a Value, at: &str) -> &'a str {
    item.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// An archive of objects; kinds are named as Kubernetes does.
fn archive(items: &[Value]) -> Result<Vec<u8>> {
    let mut writer = ArchiveWriter::new(Vec::new(), ArchiveWriterOptions::default())?;
    for item in items {
        let kind = text(item, "/kind").to_lowercase();
        let plural = match kind.as_str() {
            "ingress" => "ingresses".to_owned(),
            _ => format!("{kind}s"),
        };
        let group = text(item, "/apiVersion")
            .split_once('/')
            .map_or("", |(group, _)| group);
        let (namespace, name) = (
            text(item, "/metadata/namespace"),
            text(item, "/metadata/name"),
        );
        let path = ItemPath::new(GroupResource::new(group, plural), namespace, name);
        writer.append(&path, "v1", true, item.to_string().as_bytes())?;
    }
    Ok(writer.finish()?)
}

fn object(version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

fn map(namespace: &str, name: &str) -> Value {
    let mut map = object("v1", "ConfigMap", namespace, name);
    map["data"] = json!({"name": name});
    map
}

fn maps(namespace: &str, count: usize) -> Vec<Value> {
    (0..count)
        .map(|n| map(namespace, &format!("m{n:04}")))
        .collect()
}

fn service(namespace: &str) -> Value {
    let mut service = object("v1", "Service", namespace, "web");
    service["spec"] = json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"app": "web"}});
    service
}

/// Restores objects with the library. `gate` sees each write first; answers with the code `refusal` are counted.
async fn restore(
    client: &Client,
    items: &[Value],
    gate: Gate,
    refusal: u16,
    options: RestoreOptions,
) -> Result<(RestoreResult, usize)> {
    let refusals = Arc::new(AtomicUsize::new(0));
    let (counter, inner) = (Arc::clone(&refusals), client.clone());
    let gated = tower::service_fn(move |request: Request<Body>| {
        let (gate, counter, inner) = (Arc::clone(&gate), Arc::clone(&counter), inner.clone());
        async move {
            if request.method() == http::Method::POST {
                gate(request.uri().to_string()).await;
            }
            let response: Response<Body> = inner.send(request).await?;
            if response.status().as_u16() == refusal {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<_, kube::Error>(response)
        }
    });
    let cluster = Cluster::connect(Client::new(gated, "default")).await?;
    let engine = RestoreEngine::new(cluster).options(options);
    let restore: Restore = serde_json::from_value(
        json!({"metadata": {"name": "r", "namespace": "velero"}, "spec": {"backupName": "b"}}),
    )?;
    let request = RestoreRequest::resolve(restore)?;
    let run = engine.run(
        &request,
        Cursor::new(archive(items)?),
        RestoreRun::default(),
    );
    let result = tokio::time::timeout(DEADLINE, run)
        .await
        .context("the restore does not end")??;
    Ok((result, refusals.load(Ordering::SeqCst)))
}

async fn count(client: &Client, uri: &str) -> Result<usize> {
    let request = Request::get(uri).body(Vec::new())?;
    let list: Value = client.request(request).await?;
    let items = list["items"].as_array().context("no list")?;
    Ok(items
        .iter()
        .filter(|item| text(item, "/metadata/name") != "kube-root-ca.crt")
        .count())
}

/// The API server is killed while objects are created, and comes back.
async fn restart(cx: &Context) -> Result<()> {
    let mut plane = cx.control_plane(Options::bare()).await?;
    let client = client(plane.kubeconfig()).await?;
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let gate: Gate = Arc::new(move |uri| {
        counter.fetch_add(usize::from(uri.contains(MAPS)), Ordering::SeqCst);
        Box::pin(async {})
    });
    let items: Vec<Value> = ["one", "two"]
        .iter()
        .flat_map(|name| maps(name, OBJECTS))
        .collect();
    let restored = restore(&client, &items, gate, 0, RestoreOptions::default());
    let outage = async {
        eventually("objects are being created", DEADLINE, || async {
            Ok((seen.load(Ordering::SeqCst) > OBJECTS / 2).then_some(()))
        })
        .await?;
        plane.kill(Component::ApiServer);
        tokio::time::sleep(Duration::from_secs(2)).await;
        plane.restart(Component::ApiServer).await
    };
    let (restored, outage) = tokio::join!(restored, outage);
    outage?;
    let (result, _) = restored?;
    clean(&result)?;
    ensure!(
        result.counts.created as usize == items.len() + 2,
        "{:?}",
        result.counts
    );
    for name in ["one", "two"] {
        let there = count(&client, &format!("/api/v1/namespaces/{name}/configmaps")).await?;
        ensure!(there == OBJECTS, "{there} objects in namespace {name}");
    }
    plane.stop().await;
    Ok(())
}

impl Faults<'_> {
    /// Many definitions at once, which discovery shows one after the other, and an object of each.
    async fn definitions(&self) -> Result<()> {
        let mut items = Vec::new();
        for n in 0..40 {
            let (plural, kind) = (format!("kind{n}s"), format!("Kind{n}"));
            let mut definition = object(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                "",
                &format!("{plural}.slow.example.com"),
            );
            definition["spec"] = json!({
                "group": "slow.example.com", "scope": "Namespaced",
                "names": {"plural": plural, "singular": format!("kind{n}"), "kind": kind, "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
            });
            items.push(definition);
            items.push(object("slow.example.com/v1", &kind, "slow", "a"));
        }
        let (result, _) =
            restore(&self.client, &items, none(), 0, RestoreOptions::default()).await?;
        clean(&result)?;
        ensure!(result.counts.created == 81, "{:?}", result.counts);
        Ok(())
    }

    /// Priority and fairness refuses creations for some seconds, while others use up what the user may have.
    async fn storm(&self) -> Result<()> {
        self.kubectl.apply(&narrow(&["create"]), &[]).await?;
        let client = client(&self.plane.kubeconfig_for("narrow", None)?).await?;
        let admitted =
            || async { Ok((rehearse(&client).await? == StatusCode::CREATED).then_some(())) };
        eventually("the user may create", SOON, admitted).await?;
        let ends = tokio::spawn(crowd(client.clone()));
        // One call passes at a time, and each second one costs the second that the API server asks for.
        let items = maps("storm", 60);
        let restored = restore(&client, &items, none(), 429, RestoreOptions::default()).await;
        ends.await?;
        let (result, refusals) = restored?;
        ensure!(refusals > 0, "no call was refused");
        clean(&result)?;
        let there = count(&self.client, "/api/v1/namespaces/storm/configmaps").await?;
        ensure!(there == items.len(), "{there} objects");
        for kind in [
            "flowschema",
            "prioritylevelconfiguration",
            "clusterrolebinding",
        ] {
            self.kubectl.ok(&["delete", kind, "narrow"]).await?;
        }
        Ok(())
    }

    /// A webhook lies in the archive, whose service is in it too: it must not keep the others out.
    async fn webhook_of_the_archive(&self) -> Result<()> {
        let mut items = vec![webhook("brought", "hooked")];
        items.extend(maps("hooked", 50));
        items.push(service("hooked"));
        let (result, _) =
            restore(&self.client, &items, none(), 0, RestoreOptions::default()).await?;
        clean(&result)?;
        let there = count(&self.client, "/api/v1/namespaces/hooked/configmaps").await?;
        ensure!(there == 50, "{there} objects");
        let delete = ["delete", "validatingwebhookconfiguration", "brought"];
        self.kubectl.ok(&delete).await.map(drop)
    }

    /// A webhook is in the cluster, and its service is not: what it refuses is tried again when all else is done.
    async fn webhook_of_the_cluster(&self) -> Result<()> {
        self.kubectl
            .apply(&[webhook("there", "guarded")], &[])
            .await?;
        self.kubectl.ok(&["create", "namespace", "guarded"]).await?;
        let refused = || async {
            let status = self.try_map("guarded").await?;
            Ok((status == StatusCode::INTERNAL_SERVER_ERROR).then_some(()))
        };
        eventually("the webhook is asked", SOON, refused).await?;
        let mut items = maps("guarded", 10);
        items.extend(maps("free", 50));
        items.push(service("free"));
        let (result, _) =
            restore(&self.client, &items, none(), 0, RestoreOptions::default()).await?;
        let said = lines(&result);
        ensure!(
            said.len() == 10
                && said
                    .iter()
                    .all(|line| line.contains("failed calling webhook")
                        && line.contains("/configmaps name: /m00")),
            "{said:?}"
        );
        ensure!(count(&self.client, "/api/v1/namespaces/free/configmaps").await? == 50);

        // Once more; the webhook goes when the last kind is at its turn.
        let kubectl = self.kubectl.clone();
        let gate: Gate = Arc::new(move |uri| {
            let (turn, kubectl) = (uri.contains(SERVICES), kubectl.clone());
            Box::pin(async move {
                let delete = ["delete", "validatingwebhookconfiguration", "there"];
                if turn && let Err(error) = kubectl.ok(&delete).await {
                    eprint_line(&format!("cannot delete: {error:#}"));
                }
                if turn {
                    // The API server takes a moment to know.
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            })
        });
        let (result, _) = restore(&self.client, &items, gate, 0, RestoreOptions::default()).await?;
        clean(&result)?;
        let there = count(&self.client, "/api/v1/namespaces/guarded/configmaps").await?;
        ensure!(there == 10, "{there} objects");
        Ok(())
    }

    /// A namespace is held while it is deleted: its own items wait, the others do not.
    async fn namespace(&self) -> Result<()> {
        let mut held = map("stuck", "held");
        held["metadata"]["finalizers"] = json!(["example.com/hold"]);
        let stuck = object("v1", "Namespace", "", "stuck");
        self.kubectl.apply(&[stuck.clone(), held], &[]).await?;
        let delete = ["delete", "namespace", "stuck", "--wait=false"];
        self.kubectl.ok(&delete).await?;
        let mut items = vec![stuck];
        items.extend(maps("stuck", 20));
        items.extend(maps("moving", 20));
        items.push(service("moving"));
        let impatient = RestoreOptions::default().terminating_timeout(Duration::from_secs(3));
        let (result, _) = restore(&self.client, &items, none(), 0, impatient).await?;
        let said = lines(&result);
        ensure!(
            said.len() == 21
                && said
                    .iter()
                    .all(|line| line.contains("namespace stuck is still being deleted after 3s")),
            "{said:?}"
        );
        ensure!(count(&self.client, "/api/v1/namespaces/moving/configmaps").await? == 20);

        // Once more; it is let go when an object of the last kind was restored.
        let kubectl = self.kubectl.clone();
        let gate: Gate = Arc::new(move |uri| {
            let (turn, kubectl) = (uri.contains(SERVICES), kubectl.clone());
            Box::pin(async move {
                let free = [
                    "patch",
                    "configmap",
                    "held",
                    "-n",
                    "stuck",
                    "--type=merge",
                    "-p",
                    r#"{"metadata":{"finalizers":null}}"#,
                ];
                if turn && let Err(error) = kubectl.ok(&free).await {
                    eprint_line(&format!("cannot free: {error:#}"));
                }
            })
        });
        let (result, _) = restore(&self.client, &items, gate, 0, RestoreOptions::default()).await?;
        clean(&result)?;
        let there = count(&self.client, "/api/v1/namespaces/stuck/configmaps").await?;
        ensure!(there == 20, "{there} objects");
        Ok(())
    }

    /// Objects that are too large for the request, for their kind and for the store, and a kind that has moved on.
    async fn sizes_and_kinds(&self) -> Result<()> {
        let sized = |name: &str, bytes: usize| {
            let mut big = map("sizes", name);
            big["data"]["text"] = "x".repeat(bytes).into();
            big
        };
        let mut stored = object("slow.example.com/v1", "Kind0", "sizes", "store");
        stored["text"] = "x".repeat(2 << 20).into();
        let mut items = maps("sizes", 20);
        items.extend([sized("request", 4 << 20), sized("kind", 3 << 19), stored]);
        items.push(object("extensions/v1beta1", "Ingress", "sizes", "old"));
        let (result, _) =
            restore(&self.client, &items, none(), 0, RestoreOptions::default()).await?;
        let said = lines(&result);
        let errors = |name: &str, text: &str| {
            let name = format!("name: /{name} ");
            let errors = result
                .records
                .iter()
                .filter(|r| r.severity == Severity::Error);
            errors
                .map(Record::line)
                .filter(|line| line.contains(&name) && line.contains(text))
                .count()
        };
        ensure!(
            said.len() == 4
                && errors("request", "limit is 3145728") == 1
                && errors("kind", "Too long") == 1
                && errors("store", "too large") == 1
                && errors("old", "it serves Ingress as networking.k8s.io/v1") == 1,
            "{said:?}"
        );
        ensure!(count(&self.client, "/api/v1/namespaces/sizes/configmaps").await? == 20);
        Ok(())
    }

    /// How the API server takes a map, without keeping it.
    async fn try_map(&self, namespace: &str) -> Result<StatusCode> {
        let uri = format!("/api/v1/namespaces/{namespace}/configmaps?dryRun=All");
        Ok(self.client.send(post(&uri, namespace)?).await?.status())
    }
}

fn post(uri: &str, namespace: &str) -> Result<Request<Body>> {
    let body = serde_json::to_vec(&map(namespace, "rehearsal"))?;
    let request = Request::post(uri).header("content-type", "application/json");
    Ok(request.body(Body::from(body))?)
}

/// Creates a map without keeping it.
async fn rehearse(client: &Client) -> Result<StatusCode> {
    let uri = "/api/v1/namespaces/default/configmaps?dryRun=All";
    Ok(client.send(post(uri, "default")?).await?.status())
}

/// Twelve that create all the time, for six seconds.
async fn crowd(client: Client) {
    let one = || async {
        loop {
            let _status = rehearse(&client).await;
        }
    };
    let all = join_all((0..12).map(|_| one()));
    let _over: Result<Vec<()>, _> = tokio::time::timeout(Duration::from_secs(6), all).await;
}

/// A webhook for the maps of one namespace, whose service is nowhere.
fn webhook(name: &str, namespace: &str) -> Value {
    let mut webhook = object(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "",
        name,
    );
    webhook["webhooks"] = json!([{
        "name": "maps.faults.example.com", "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 5,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "nobody", "namespace": namespace, "path": "/"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
    }]);
    webhook
}

#[allow(clippy::print_stderr)]
fn eprint_line(text: &str) {
    eprintln!("{text}");
}
