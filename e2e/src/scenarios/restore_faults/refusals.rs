//! Creations that the API server refuses for a while: load, webhooks without a server, a namespace that goes.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use futures::future::join_all;
use http::{Request, StatusCode};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use velero_restore::RestoreOptions;

use super::{Faults, clean, count, eprint_line, lines, map, maps, object, restore, service};
use crate::{
    eventually,
    gate::{Gate, none, plain_client},
    narrow::{NARROW, narrow},
    site::SOON,
};

const SERVICES: &str = "/services?";

impl Faults<'_> {
    /// Priority and fairness refuses creations for some seconds, while others use up what the user may have.
    pub(super) async fn storm(&self) -> Result<()> {
        self.kubectl.apply(&narrow(&["create"]), &[]).await?;
        let client = plain_client(&self.plane.kubeconfig_for(NARROW, None)?).await?;
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
    pub(super) async fn webhook_of_the_archive(&self) -> Result<()> {
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
    pub(super) async fn webhook_of_the_cluster(&self) -> Result<()> {
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
    pub(super) async fn namespace(&self) -> Result<()> {
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
