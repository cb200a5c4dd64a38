//! Reading and writing custom resources for commands.

use anyhow::{Result, anyhow};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use velero_cluster::NoAnswer;
use velero_core::api::VeleroKind;

/// Who commands say they are in `managedFields`.
pub(crate) const FIELD_MANAGER: &str = "velero-cli";
/// How many names the API server may make up for one object.
const NAMES_TRIED: usize = 5;

/// What a call of the API server came to, in one line.
pub(crate) fn explain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow!("{}", status.message),
        kube::Error::Api(status) => {
            anyhow!("the api server answered {} {}", status.code, status.reason)
        }
        other => match NoAnswer::find(&other) {
            Some(found) => anyhow!("{found}"),
            None => anyhow!("cannot reach the api server: {}", innermost(&other)),
        },
    }
}

/// The last cause: what is in front of it is about layers of the library.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// Whether an object is missing, rather than the call having failed.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn is_taken(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// The custom resources of one kind in Velero's namespace.
#[derive(Debug, Clone)]
pub(crate) struct Objects<K> {
    api: Api<K>,
    namespace: String,
}

impl<K: VeleroKind> Objects<K> {
    pub(crate) fn new(client: kube::Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    /// Reads one; an error when it does not exist.
    pub(crate) async fn get(&self, name: &str) -> Result<K> {
        self.find(name).await?.ok_or_else(|| {
            anyhow!(
                "{}.velero.io {name:?} not found in namespace {:?}",
                K::PLURAL,
                self.namespace
            )
        })
    }

    /// Reads one that may not exist.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<K>> {
        match self.api.get(name).await {
            Ok(object) => Ok(Some(object)),
            // A missing kind is also 404, but says so otherwise.
            Err(error) if is_not_found(&error) && names_an_object(&error) => Ok(None),
            Err(error) => Err(explain(error)),
        }
    }

    /// Lists those that a selector matches; all of them when it is empty.
    pub(crate) async fn list(&self, selector: &str) -> Result<Vec<K>> {
        let mut params = ListParams::default().limit(500);
        if !selector.is_empty() {
            params = params.labels(selector);
        }
        let mut found = Vec::new();
        loop {
            let page = self.api.list(&params).await.map_err(explain)?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// Creates one. Where the API server makes up the name, it is asked again if it made up one that is taken.
    pub(crate) async fn create(&self, object: &K) -> Result<K> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made_up = object.meta().name.is_none();
        for _ in 1..NAMES_TRIED {
            match self.api.create(&params, object).await {
                Err(error) if made_up && is_taken(&error) => {}
                outcome => return outcome.map_err(explain),
            }
        }
        self.api.create(&params, object).await.map_err(explain)
    }

    /// Sets an annotation of one.
    pub(crate) async fn annotate(&self, name: &str, key: &str, value: &str) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        self.patch(name, &patch).await
    }

    /// Merges fields into one.
    pub(crate) async fn patch(&self, name: &str, fields: &Value) -> Result<()> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = self.api.patch(name, &params, &Patch::Merge(fields)).await;
        patched.map(drop).map_err(explain)
    }

    /// Deletes one.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.api
            .delete(name, &DeleteParams::default())
            .await
            .map(drop)
            .map_err(explain)
    }
}

fn names_an_object(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.details.as_ref().is_some_and(|details| !details.name.is_empty()))
}
