//! The objects of a server, reached without a call.

use std::sync::Arc;

use serde_json::Value;

use crate::convert;
use crate::error::Error;
use crate::objects::meta;
use crate::query::FieldValidation;
use crate::server::Inner;
use crate::status::ApiError;
use crate::verbs::{self, CreateOptions};

/// Direct access to the objects of a server, for setting tests up and looking at what they left.
///
/// Nothing here counts as a call, and no fault acts on it.
///
/// ```
/// use velero_testkit::ApiServer;
/// let store = ApiServer::new().store();
/// store.seed("
/// apiVersion: v1
/// kind: ConfigMap
/// metadata: {name: greeting, namespace: shop}
/// data: {hello: world}
/// ").unwrap();
/// let map = store.get("v1", "ConfigMap", Some("shop"), "greeting").unwrap();
/// assert_eq!(map["data"]["hello"], "world");
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("resource_version", &self.resource_version())
            .finish_non_exhaustive()
    }
}

/// Splits text into YAML documents (JSON is one document).
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    all.retain(|d| {
        d.lines()
            .any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'))
    });
    all
}

/// Parses every document of a text; `List` objects are taken apart.
pub(crate) fn parse_all(text: &str) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    for (index, document) in documents(text).iter().enumerate() {
        let as_json = document
            .trim_start()
            .starts_with('{')
            .then(|| serde_json::from_str(document).ok());
        let parsed: Result<Value, String> = match as_json.flatten() {
            Some(tree) => Ok(tree),
            None => serde_saphyr::from_str(document).map_err(|e| e.to_string().replace('\n', " ")),
        };
        let mut tree = parsed.map_err(|reason| Error::Parse { index, reason })?;
        let is_list = tree["kind"].as_str().is_some_and(|k| k.ends_with("List"));
        match crate::objects::remove(&mut tree, "items") {
            Some(Value::Array(items)) if is_list => found.extend(items),
            Some(other) => {
                tree["items"] = other;
                found.push(tree);
            }
            None => found.push(tree),
        }
    }
    Ok(found)
}

impl Store {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Puts the objects of a YAML (or JSON) text into the server; `List` objects are taken apart.
    ///
    /// Objects are completed as by a `create` call, but keep the `status`, `uid` and times that they have, and
    /// namespaces that are missing are made. Returns how many objects were put in.
    ///
    /// # Errors
    /// When a document does not parse, or when the server refuses an object.
    pub fn seed(&self, text: &str) -> Result<usize, Error> {
        let objects = parse_all(text)?;
        let count = objects.len();
        for (index, tree) in objects.into_iter().enumerate() {
            self.seed_value(tree).map_err(|e| at(e, index))?;
        }
        Ok(count)
    }

    /// Puts one object in, as [`Store::seed`] does, and returns it as kept.
    ///
    /// # Errors
    /// When it is no Kubernetes object, its kind is not served, or the server refuses it.
    pub fn seed_value(&self, mut tree: Value) -> Result<Value, Error> {
        let text = |key: &str| tree[key].as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let object = format!("{kind} {}", meta(&tree, "name"));
        let refused = |e: ApiError| Error::Refused {
            object: object.clone(),
            code: e.code,
            message: e.message,
        };
        let mut state = self.inner.lock();
        let Some(resource) = state.registry.by_kind(&api_version, &kind) else {
            let reason = format!(
                "apiVersion {api_version:?} and kind {kind:?} name no resource of the server"
            );
            return Err(Error::NotAnObject { index: 0, reason });
        };
        verbs::shape(&resource, &mut tree, FieldValidation::Ignore).map_err(refused)?;
        let tree = convert::to_storage(&resource, tree);
        let namespace = resource.namespaced.then(|| match meta(&tree, "namespace") {
            "" => "default".to_owned(),
            given => given.to_owned(),
        });
        let options = CreateOptions {
            manager: "seed".into(),
            seed: true,
            ..CreateOptions::default()
        };
        if let Some(namespace) = namespace
            .as_deref()
            .filter(|ns| state.get("namespaces", ns).is_none())
        {
            let Some(namespaces) = state.registry.by_kind("v1", "Namespace") else {
                return Err(refused(ApiError::no_such_path()));
            };
            let made = serde_json::json!({"metadata": {"name": namespace}});
            verbs::create_tree(&self.inner, &mut state, &namespaces, None, made, &options)
                .map_err(refused)?;
        }
        let stored = verbs::create_tree(
            &self.inner,
            &mut state,
            &resource,
            namespace.as_deref(),
            tree,
            &options,
        )
        .map_err(refused)?;
        let kept = state.get(&resource.table, &stored.key).unwrap_or(stored);
        Ok(kept.full(&resource))
    }

    /// The object of that name, as a `get` call would return it.
    #[must_use]
    pub fn get(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Value> {
        let state = self.inner.lock();
        let resource = state.registry.by_kind(api_version, kind)?;
        let namespace = namespace.filter(|_| resource.namespaced);
        let stored = state.get(&resource.table, &super::key(namespace, name))?;
        Some(convert::from_storage(&resource, stored.full(&resource)))
    }

    /// Every object of a kind, in all namespaces or in one.
    #[must_use]
    pub fn list(&self, api_version: &str, kind: &str, namespace: Option<&str>) -> Vec<Value> {
        let state = self.inner.lock();
        let Some(resource) = state.registry.by_kind(api_version, kind) else {
            return Vec::new();
        };
        let prefix = super::prefix(namespace.filter(|_| resource.namespaced));
        let found = state.range(&resource.table, &prefix);
        found
            .map(|o| convert::from_storage(&resource, o.full(&resource)))
            .collect()
    }

    /// Every object of the server, kind by kind.
    #[must_use]
    pub fn all(&self) -> Vec<Value> {
        let state = self.inner.lock();
        let mut found = Vec::new();
        for table in state.table_names() {
            if let Some(resource) = state.registry.by_table(&table) {
                found.extend(state.range(&table, "").map(|o| o.full(&resource)));
            }
        }
        found
    }

    /// Number of objects of every kind together.
    #[must_use]
    pub fn count(&self) -> usize {
        let state = self.inner.lock();
        state
            .table_names()
            .iter()
            .filter_map(|t| state.table(t))
            .map(|t| t.objects.len())
            .sum()
    }

    /// Removes an object as if it had never been there: no finalizers, no dependents. Returns whether it was there.
    pub fn remove(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> bool {
        let mut state = self.inner.lock();
        let Some(resource) = state.registry.by_kind(api_version, kind) else {
            return false;
        };
        let namespace = namespace.filter(|_| resource.namespaced);
        state
            .remove(&resource, &super::key(namespace, name))
            .is_some()
    }

    /// The version of the last write.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.inner.lock().rv
    }
}

fn at(error: Error, document: usize) -> Error {
    match error {
        Error::NotAnObject { reason, .. } => Error::NotAnObject {
            index: document,
            reason,
        },
        other => other,
    }
}
