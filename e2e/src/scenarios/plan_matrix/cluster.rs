//! The cluster as its administrator sees it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use http::{Method, Request, StatusCode};
use kube::{Client, client::Body};
use serde_json::Value;

use super::SOON;
use crate::{eventually, state};

/// Calls with all rights.
pub(super) struct Cluster {
    client: Client,
}

/// `metadata.namespace`; empty for what lives in none.
pub(super) fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// `v1/ConfigMap shop/settings`, with another namespace.
pub(super) fn key_of(object: &Value, namespace: &str) -> String {
    let (version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    let name = name_of(object);
    match namespace {
        "" => format!("{version}/{kind} {name}"),
        namespace => format!("{version}/{kind} {namespace}/{name}"),
    }
}

fn collection(object: &Value) -> String {
    let (version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    let root = if version.contains('/') { "apis" } else { "api" };
    let kind = kind.to_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    match namespace_of(object) {
        "" => format!("/{root}/{version}/{plural}"),
        namespace => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
    }
}

fn path(object: &Value) -> String {
    format!("{}/{}", collection(object), name_of(object))
}

impl Cluster {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        let kind = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .body(Body::from(bytes))?;
        let answer = self.client.send(request).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect_bytes().await?;
        let value = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok((status, value))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Creates an object; one that is there gets its fields.
    pub(super) async fn put(&self, object: &Value) -> Result<()> {
        let (status, answer) = self
            .call(Method::POST, &collection(object), Some(object))
            .await?;
        if status == StatusCode::CONFLICT {
            return self.patch(object, object).await;
        }
        ensure!(
            status.is_success(),
            "cannot create {}: {answer}",
            path(object)
        );
        Ok(())
    }

    pub(super) async fn patch(&self, object: &Value, patch: &Value) -> Result<()> {
        let (status, answer) = self.call(Method::PATCH, &path(object), Some(patch)).await?;
        ensure!(
            status.is_success(),
            "cannot patch {}: {answer}",
            path(object)
        );
        Ok(())
    }

    pub(super) async fn get(&self, object: &Value) -> Result<Option<Value>> {
        let (status, answer) = self.call(Method::GET, &path(object), None).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer)),
            _ => anyhow::bail!("cannot get {}: {answer}", path(object)),
        }
    }

    /// Asks for an object's deletion.
    pub(super) async fn delete(&self, object: &Value) -> Result<()> {
        let (status, answer) = self.call(Method::DELETE, &path(object), None).await?;
        // An object of a kind that was deleted with its definition.
        let is_done = status.is_success() || status == StatusCode::NOT_FOUND;
        ensure!(is_done, "cannot delete {}: {answer}", path(object));
        Ok(())
    }

    /// Waits until an object is not there.
    pub(super) async fn gone(&self, object: &Value) -> Result<()> {
        let what = format!("{} is gone", path(object));
        eventually(&what, SOON, || async {
            Ok(self.get(object).await?.is_none().then_some(()))
        })
        .await
    }

    /// Waits until of a namespace that goes only what finalizers hold is left.
    pub(super) async fn held(&self, namespace: &Value) -> Result<()> {
        let what = format!("{} is held by finalizers alone", path(namespace));
        eventually(&what, SOON, || async {
            let live = self.get(namespace).await?.unwrap_or_default();
            let conditions = live["status"]["conditions"].as_array();
            let is_held = conditions.into_iter().flatten().any(|condition| {
                condition["type"] == "NamespaceFinalizersRemaining" && condition["status"] == "True"
            });
            Ok(is_held.then_some(()))
        })
        .await
    }

    /// Waits until a definition is served.
    pub(super) async fn served(&self, definition: &Value) -> Result<()> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let path = format!(
            "/apis/{}/{}/{}",
            text(&spec["group"]),
            text(&spec["versions"][0]["name"]),
            text(&spec["names"]["plural"])
        );
        let what = format!("{path} is served");
        eventually(&what, SOON, || async {
            let (status, _) = self.call(Method::GET, &path, None).await?;
            Ok(status.is_success().then_some(()))
        })
        .await
    }

    /// Waits until a namespace has what every cluster puts into it.
    pub(super) async fn ready(&self, namespace: &Value) -> Result<()> {
        let name = name_of(namespace);
        for path in [
            format!("/api/v1/namespaces/{name}/serviceaccounts/default"),
            format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt"),
        ] {
            let what = format!("{path} is there");
            eventually(&what, SOON, || async {
                let (status, _) = self.call(Method::GET, &path, None).await?;
                Ok(status.is_success().then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until claims of a namespace that name a volume have it.
    pub(super) async fn bound(&self, namespace: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
        let what = format!("claims in {namespace} are bound");
        eventually(&what, SOON, || async {
            let (status, answer) = self.call(Method::GET, &path, None).await?;
            ensure!(status.is_success(), "{answer}");
            let claims = answer["items"].as_array().context("no items")?;
            let is_open = |claim: &&Value| {
                claim["spec"]["volumeName"].is_string() && claim["status"]["phase"] != "Bound"
            };
            Ok(claims.iter().find(is_open).is_none().then_some(()))
        })
        .await
    }

    /// Waits until an object is refused, tried out alone.
    pub(super) async fn refused(&self, object: &Value) -> Result<()> {
        let path = format!("{}?dryRun=All", collection(object));
        let what = format!("{path} is refused");
        eventually(&what, SOON, || async {
            let (status, _) = self.call(Method::POST, &path, Some(object)).await?;
            Ok(
                (status == StatusCode::FORBIDDEN || status == StatusCode::UNPROCESSABLE_ENTITY)
                    .then_some(()),
            )
        })
        .await
    }

    /// The version of each object, but for those that change by themselves.
    pub(super) async fn versions(&self) -> Result<BTreeMap<String, String>> {
        let objects = state::read(&self.client).await?;
        let versions = objects.iter().filter(|object| {
            !matches!(
                text(object, "kind"),
                "Lease" | "Event" | "HorizontalPodAutoscaler" | "APIService"
            )
        });
        Ok(versions
            .map(|object| {
                let version = object["metadata"]["resourceVersion"].as_str();
                let key = key_of(object, namespace_of(object));
                (key, version.unwrap_or_default().to_owned())
            })
            .collect())
    }

    /// Waits until nothing changes any more.
    pub(super) async fn at_rest(&self) -> Result<()> {
        let mut last = self.versions().await?;
        for _ in 0..60 {
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            let now = self.versions().await?;
            if now == last {
                return Ok(());
            }
            last = now;
        }
        anyhow::bail!("the cluster does not come to rest")
    }
}
