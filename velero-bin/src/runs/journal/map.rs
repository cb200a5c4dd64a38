//! A journal in a ConfigMap, for restores from stores that nothing can be written to.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use velero_cluster::{Cluster, DeleteOptions, ErrorKind, ListOptions, ListScope, WriteOptions};
use velero_core::api::Restore;
use velero_core::names::{hex, valid_label_name};
use velero_core::result::chain;
use velero_core::{ApiResource, GroupResource, Operator, RawItem, Requirement, Selector};

use super::document::Document;
use super::place::{Written, has_same_holder};
use crate::runs::RunError;

/// Names the restore that a ConfigMap belongs to.
const LABEL: &str = "x.velero.io/restore-journal";
/// The key of its content.
const CONTENT: &str = "journal.json.gz";
/// Most bytes of an unpacked journal.
const LIMIT: u64 = 256 << 20;
/// There in every cluster.
const EVERYWHERE: &str = "default";

/// A ConfigMap as it was last seen.
#[derive(Debug)]
pub(super) struct Map {
    namespace: String,
    name: String,
    uid: String,
    version: String,
}

impl Map {
    fn of(item: &RawItem) -> Self {
        let head = item.head();
        Self {
            namespace: head.namespace.clone(),
            name: head.name.clone(),
            uid: head.uid.clone(),
            version: head.resource_version.clone(),
        }
    }
}

/// Where the ConfigMap of a restore can be.
pub(super) struct Maps {
    cluster: Cluster,
    namespaces: Vec<String>,
    name: String,
    identity: String,
    owners: Vec<Value>,
}

impl Maps {
    pub(super) fn new(cluster: Cluster, restore: &Restore, identity: &str) -> Self {
        let name = restore.metadata.name.as_deref().unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(identity.as_bytes());
        hash.update([0]);
        hash.update(name.as_bytes());
        let end = hex(&hash.finalize()[..10]);
        Self {
            cluster,
            namespaces: places(restore.metadata.namespace.as_deref().unwrap_or_default()),
            name: format!("velero-restore-journal-{end}"),
            identity: identity.to_owned(),
            // A Restore of the cluster has a version; it takes the map with it.
            owners: owner(restore).into_iter().collect(),
        }
    }

    pub(super) async fn read(&self) -> Result<Option<(Bytes, Map)>, RunError> {
        let Some(maps) = config_maps(&self.cluster) else {
            return Ok(None);
        };
        for namespace in &self.namespaces {
            match self.cluster.get(&maps, namespace, &self.name).await {
                Ok(Some(found)) => {
                    let bytes =
                        content(&found).map_err(|fault| RunError::Validation(vec![fault]))?;
                    return Ok(Some((bytes, Map::of(&found))));
                }
                Ok(None) => {}
                Err(error) if error.is_retryable() => return Err(RunError::Cluster(error)),
                // Who may not read it has not written it.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Whether a journal is one of the same restore.
    pub(super) fn are_of(&self, bytes: &Bytes) -> bool {
        Document::parse(bytes).is_ok_and(|document| document.identity == self.identity)
    }

    /// Writes a first journal; `None` when another process is at the same restore.
    pub(super) async fn create(&self, bytes: &Bytes) -> Result<Option<Map>, String> {
        let maps = config_maps(&self.cluster).ok_or("the cluster serves no ConfigMaps")?;
        let mut refused = String::new();
        for namespace in &self.namespaces {
            let body = self.body(namespace, bytes, None)?;
            let options = WriteOptions::default();
            let made = self
                .cluster
                .create(&maps, namespace, &self.name, body, &options)
                .await;
            match made {
                Ok(made) => return Ok(Some(Map::of(&made))),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    // Of a restore that has begun anew.
                    let found = self.cluster.get(&maps, namespace, &self.name).await;
                    let found = found.map_err(|error| chain(&error))?;
                    let found = found.ok_or_else(|| chain(&error))?;
                    if is_at_work(&found, bytes) {
                        return Ok(None);
                    }
                    let mut map = Map::of(&found);
                    return match self.replace(&mut map, bytes).await? {
                        Written::Here => Ok(Some(map)),
                        Written::Lost => Ok(None),
                    };
                }
                Err(error) => refused = chain(&error),
            }
        }
        Err(refused)
    }

    pub(super) async fn replace(&self, map: &mut Map, bytes: &Bytes) -> Result<Written, String> {
        let maps = config_maps(&self.cluster).ok_or("the cluster serves no ConfigMaps")?;
        let body = self.body(&map.namespace, bytes, Some(map))?;
        let options = WriteOptions::default();
        let replaced = self
            .cluster
            .replace(&maps, &map.namespace, &map.name, body, &options)
            .await;
        match replaced {
            Ok(now) => {
                *map = Map::of(&now);
                Ok(Written::Here)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {
                // An answer may have been lost: what is there then is what was sent.
                let found = self.cluster.get(&maps, &map.namespace, &map.name).await;
                let found = found.map_err(|error| chain(&error))?;
                match found {
                    Some(found) if content(&found).is_ok_and(|now| now == *bytes) => {
                        *map = Map::of(&found);
                        Ok(Written::Here)
                    }
                    _ => Ok(Written::Lost),
                }
            }
            Err(error) => Err(chain(&error)),
        }
    }

    pub(super) async fn remove(&self, map: &Map) -> Result<(), String> {
        let maps = config_maps(&self.cluster).ok_or("the cluster serves no ConfigMaps")?;
        let options = DeleteOptions::default().uid(map.uid.as_str());
        let deleted = self
            .cluster
            .delete(&maps, &map.namespace, &map.name, &options)
            .await;
        deleted.map(drop).map_err(|error| chain(&error))
    }

    fn body(&self, namespace: &str, bytes: &Bytes, map: Option<&Map>) -> Result<Bytes, String> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        let written = packed.write_all(bytes);
        let packed = written.and_then(|()| packed.finish());
        let content = ByteString(packed.map_err(|error| error.to_string())?);
        let mut body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": self.name, "namespace": namespace,
                "labels": {LABEL: valid_label_name(&self.identity), "velero.io/exclude-from-backup": "true"},
            },
            "binaryData": {CONTENT: content},
        });
        if !self.owners.is_empty() && namespace != EVERYWHERE {
            body["metadata"]["ownerReferences"] = self.owners.clone().into();
        }
        if let Some(map) = map {
            body["metadata"]["uid"] = map.uid.as_str().into();
            body["metadata"]["resourceVersion"] = map.version.as_str().into();
        }
        Ok(body.to_string().into())
    }
}

/// The journals with an identity in a namespace, and in the one that every cluster has. What cannot be listed holds none.
pub(super) async fn find(cluster: &Cluster, namespace: &str, identity: &str) -> Vec<(Bytes, Map)> {
    let mut all = Vec::new();
    let Some(maps) = config_maps(cluster) else {
        return all;
    };
    let selector = Selector::new(vec![Requirement {
        key: LABEL.to_owned(),
        operator: Operator::In,
        values: vec![valid_label_name(identity)],
    }]);
    for namespace in places(namespace) {
        let scope = ListScope::namespace(namespace).labels(selector.clone());
        let mut pages = cluster.pages(&maps, scope, ListOptions::default());
        while let Ok(Some(page)) = pages.next().await {
            let found = page.items.iter();
            all.extend(found.filter_map(|item| Some((content(item).ok()?, Map::of(item)))));
        }
    }
    all
}

/// Whether somebody else may be behind a journal.
fn is_at_work(found: &RawItem, own: &Bytes) -> bool {
    let Ok(content) = content(found) else {
        return false;
    };
    let claim = Document::parse(&content)
        .ok()
        .and_then(|document| document.claim);
    !has_same_holder(&content, own) && claim.is_some_and(|claim| claim.may_live(Timestamp::now()))
}

fn places(namespace: &str) -> Vec<String> {
    match namespace {
        "" | EVERYWHERE => vec![EVERYWHERE.to_owned()],
        namespace => vec![namespace.to_owned(), EVERYWHERE.to_owned()],
    }
}

fn config_maps(cluster: &Cluster) -> Option<ApiResource> {
    let catalog = cluster.catalog();
    catalog.get(&GroupResource::core("configmaps")).cloned()
}

fn owner(restore: &Restore) -> Option<Value> {
    let metadata = &restore.metadata;
    metadata.resource_version.as_ref()?;
    Some(json!({
        "apiVersion": "velero.io/v1", "kind": "Restore",
        "name": metadata.name.as_deref()?, "uid": metadata.uid.as_deref()?,
    }))
}

fn content(item: &RawItem) -> Result<Bytes, String> {
    let object: Value = serde_json::from_slice(item.json()).map_err(|error| error.to_string())?;
    let packed = object["binaryData"][CONTENT].clone();
    let packed: ByteString = serde_json::from_value(packed)
        .map_err(|error| format!("ConfigMap {} holds no journal: {error}", item.head().name))?;
    let mut bytes = Vec::new();
    GzDecoder::new(packed.0.as_slice())
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!("the journal unpacks to more than {LIMIT} bytes"));
    }
    Ok(bytes.into())
}
