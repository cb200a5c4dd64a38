//! The operator's custom resources in the API server: typed reads, and writes of the fields that changed.

use std::fmt;
use std::time::Duration;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, Client};
use serde_json::{Value, json};
use velero_core::api::{VeleroKind, merge};

use super::election::Fence;
use super::events::Events;
use super::settings::Settings;
use super::versions::Versions;

/// How often a write is tried over what others have changed meanwhile.
const PATCH_ATTEMPTS: usize = 8;

/// Who our writes come from, as the API server records it.
pub(super) const FIELD_MANAGER: &str = "velero-server";

/// A call about a custom resource that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {what}: {message}")]
pub struct ApiError {
    verb: &'static str,
    what: String,
    message: String,
    /// HTTP code, 0 when no answer came.
    code: u16,
}

impl ApiError {
    pub(super) fn gone<K: VeleroKind>(name: &str) -> Self {
        Self {
            verb: "get",
            what: what::<K>(name),
            message: "it does not exist any more".to_owned(),
            code: 404,
        }
    }

    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// The object is there already, or has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.code == 409
    }

    /// The same call can succeed later: no answer, too many calls, or a failure of the server itself.
    pub fn is_retryable(&self) -> bool {
        self.code == 0 || self.code == 429 || self.code >= 500
    }
}

/// Whether a write must find the object as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// It fails with a conflict when anybody has changed the object: for steps that must be taken once.
    Unchanged,
    /// It must be the same object, not another one of that name. What others have changed of it meanwhile stays: it is read
    /// again, and the fields are written over the state that was read.
    SameObject,
}

/// The custom resources of one namespace. A cheap clone.
#[derive(Clone)]
pub(super) struct Objects {
    client: Client,
    fence: Fence,
    namespace: String,
    versions: Versions,
    events: Events,
    timeout: Duration,
    page_size: u32,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Objects {
    /// Those of a namespace; every request passes the fence.
    pub(super) fn new(client: &Client, fence: &Fence, settings: &Settings) -> Self {
        let client = fence.client(client);
        Self {
            events: Events::new(client.clone()),
            client,
            fence: fence.clone(),
            versions: Versions::default(),
            namespace: settings.namespace.clone(),
            timeout: settings.request_timeout,
            page_size: settings.list_options().page_size,
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn fence(&self) -> &Fence {
        &self.fence
    }

    pub(super) fn api<K: VeleroKind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn get<K: VeleroKind>(&self, name: &str) -> Result<Option<K>, ApiError> {
        let api = self.api::<K>();
        self.call("get", what::<K>(name), api.get_opt(name)).await
    }

    /// All objects of a kind.
    pub(super) async fn list<K: VeleroKind>(&self) -> Result<Vec<K>, ApiError> {
        self.list_labelled("").await
    }

    /// All objects of a kind that a label selector matches.
    pub(super) async fn list_labelled<K: VeleroKind>(
        &self,
        selector: &str,
    ) -> Result<Vec<K>, ApiError> {
        let api = self.api::<K>();
        let mut params = ListParams::default().labels(selector).limit(self.page_size);
        let mut all = Vec::new();
        loop {
            let page = self
                .call("list", K::PLURAL.to_owned(), api.list(&params))
                .await?;
            all.extend(page.items.into_iter().map(|mut object| {
                without_managers(object.meta_mut());
                object
            }));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// Writes those fields that differ between two states of an object; nothing is sent when none does.
    ///
    /// Each write names the state of the object that it goes by, so that one which was begun before another server took over
    /// changes nothing. Gives the object as the server has it then.
    pub(super) async fn patch<K: VeleroKind>(
        &self,
        old: &K,
        new: &K,
        lock: Lock,
    ) -> Result<K, ApiError> {
        let name = old.meta().name.clone().unwrap_or_default();
        let encode = |source: serde_json::Error| ApiError {
            verb: "patch",
            what: what::<K>(&name),
            message: source.to_string(),
            code: 400,
        };
        let mut patch = merge::diff(old, new).map_err(encode)?;
        if patch.as_object().is_none_or(serde_json::Map::is_empty) {
            return Ok(new.clone());
        }
        if let Some(uid) = &old.meta().uid {
            patch["metadata"]["uid"] = json!(uid);
        }
        let mut version = match lock {
            Lock::Unchanged => old.meta().resource_version.clone(),
            Lock::SameObject => self.versions.newest(old.meta()),
        };
        let mut attempt = 1;
        loop {
            if let Some(version) = &version {
                patch["metadata"]["resourceVersion"] = json!(version);
            }
            let conflict = match self.send_patch::<K>(&name, &patch).await {
                Err(error) if error.is_conflict() => error,
                outcome => return outcome,
            };
            if lock == Lock::Unchanged || attempt >= PATCH_ATTEMPTS {
                return Err(conflict);
            }
            let Some(found) = self.get::<K>(&name).await? else {
                return Err(ApiError::gone::<K>(&name));
            };
            if found.meta().uid != old.meta().uid {
                return Err(conflict);
            }
            version = found.meta().resource_version.clone();
            attempt += 1;
        }
    }

    async fn send_patch<K: VeleroKind>(&self, name: &str, patch: &Value) -> Result<K, ApiError> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api::<K>();
        let merge = Patch::Merge(patch);
        let call = api.patch(name, &params, &merge);
        let written: K = self.call("patch", what::<K>(name), call).await?;
        self.versions.note(written.meta());
        self.events.of_write(patch, &written);
        Ok(written)
    }

    /// Creates an object from its JSON, so that fields which the type does not know reach the server.
    pub(super) async fn create<K: VeleroKind>(&self, object: &Value) -> Result<K, ApiError> {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let url = K::url_path(&(), Some(&self.namespace));
        let failed = |message: String| ApiError {
            verb: "create",
            what: what::<K>(&name),
            message,
            code: 400,
        };
        let body = serde_json::to_vec(object).map_err(|error| failed(error.to_string()))?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let mut request = kube::core::Request::new(url)
            .create(&params, body)
            .map_err(|error| failed(error.to_string()))?;
        request.extensions_mut().insert("create");
        self.call("create", what::<K>(&name), self.client.request(request))
            .await
    }

    /// Deletes an object; one that is gone already, or has another uid by now, is no error.
    pub(super) async fn delete<K: VeleroKind>(&self, object: &K) -> Result<(), ApiError> {
        let name = object.meta().name.clone().unwrap_or_default();
        let preconditions = Preconditions {
            uid: object.meta().uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let api = self.api::<K>();
        match self
            .call("delete", what::<K>(&name), api.delete(&name, &params))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a call under the deadline, with an error of one line.
    pub(super) async fn call<T>(
        &self,
        verb: &'static str,
        what: String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        self.call_for(self.timeout, verb, what, call).await
    }

    /// The same under another deadline.
    pub(super) async fn call_for<T>(
        &self,
        timeout: Duration,
        verb: &'static str,
        what: String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        let (message, code) = match tokio::time::timeout(timeout, call).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(kube::Error::Api(status))) => (status.message.clone(), status.code),
            Ok(Err(error)) => (velero_core::result::chain(&error), 0),
            Err(_) => (format!("no answer in {} s", timeout.as_secs_f64()), 0),
        };
        Err(ApiError {
            verb,
            what,
            message,
            code,
        })
    }
}

/// Leaves out who has written which field, which is most of what an object holds, and nobody here asks for it.
pub(super) fn without_managers(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
}

fn what<K: VeleroKind>(name: &str) -> String {
    format!("{} {name:?}", K::KIND)
}

#[cfg(test)]
mod tests;
