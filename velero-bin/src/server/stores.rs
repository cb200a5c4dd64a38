//! From a BackupStorageLocation, and the Secrets it points to, to a store.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Secret, SecretKeySelector};
use kube::Api;
use velero_core::api::{BackupStorageLocation, BackupStorageLocationSpec};
use velero_persistence::{BackupStore, Location, LocationConfig};

use super::objects::{ApiError, Objects};

/// Why a location cannot be used. The texts go into its status.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Both ways to give a certificate are used.
    #[error("objectStorage.caCert and objectStorage.caCertRef are both set; keep one")]
    BothCertificates,
    /// A secret, or the key in it, is missing.
    #[error("{field}: secret {secret:?} {problem}")]
    Secret {
        /// The field that points to it.
        field: &'static str,
        /// Its name.
        secret: String,
        /// What is missing.
        problem: String,
    },
    /// The API server did not give a secret.
    #[error("{field}: {source}")]
    Api {
        /// The field that points to the secret.
        field: &'static str,
        /// The cause.
        source: ApiError,
    },
    /// The store, or its settings.
    #[error(transparent)]
    Store(#[from] velero_persistence::Error),
    /// The store gave no answer in time.
    #[error("the store gave no answer in {} s", .0.as_secs())]
    Timeout(Duration),
}

/// Longest a store may take to be opened and looked at, above the deadlines of its single requests.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Warnings about locations that this process has logged: stores are opened every minute.
static SAID: Said = Said(Mutex::new(BTreeSet::new()));

/// Namespace and name of a location, and the warning.
struct Said(Mutex<BTreeSet<(String, String, String)>>);

impl Said {
    /// Notes a warning; whether it is the first time.
    fn is_news(&self, namespace: &str, location: &str, warning: &str) -> bool {
        let entry = (
            namespace.to_owned(),
            location.to_owned(),
            warning.to_owned(),
        );
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(entry)
    }
}

/// Opens the store of a location. Secrets are read anew each time, so that changed credentials take effect.
pub(super) async fn open(
    objects: &Objects,
    location: &BackupStorageLocation,
) -> Result<BackupStore, StoreError> {
    let config = config_of(objects, &location.spec).await?;
    let place = Location::from_config(&config)?;
    let name = location.metadata.name.as_deref().unwrap_or_default();
    for warning in place.warnings() {
        if SAID.is_news(objects.namespace(), name, warning) {
            tracing::warn!(location = name, "{warning}");
        }
    }
    match tokio::time::timeout(OPEN_TIMEOUT, place.open()).await {
        Ok(opened) => Ok(BackupStore::new(objects.fence().store(&opened?)?)),
        Err(_) => Err(StoreError::Timeout(OPEN_TIMEOUT)),
    }
}

impl StoreError {
    /// Whether the same may succeed later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Api { source, .. } => source.is_retryable(),
            Self::Store(source) => source.is_retryable(),
            Self::Timeout(_) => true,
            Self::BothCertificates | Self::Secret { .. } => false,
        }
    }
}

/// Opens the store of a location and checks that it can be one.
pub(super) async fn check(
    objects: &Objects,
    location: &BackupStorageLocation,
) -> Result<(), StoreError> {
    let store = open(objects, location).await?;
    match tokio::time::timeout(OPEN_TIMEOUT, store.validate()).await {
        Ok(valid) => Ok(valid?),
        Err(_) => Err(StoreError::Timeout(OPEN_TIMEOUT)),
    }
}

async fn config_of(
    objects: &Objects,
    spec: &BackupStorageLocationSpec,
) -> Result<LocationConfig, StoreError> {
    let storage = &spec.object_storage;
    if storage.ca_cert.is_some() && storage.ca_cert_ref.is_some() {
        return Err(StoreError::BothCertificates);
    }
    let ca_cert = match &storage.ca_cert_ref {
        Some(selector) => read_secret(objects, "objectStorage.caCertRef", selector).await?,
        None => storage
            .ca_cert
            .as_ref()
            .map(|bytes| bytes.0.clone())
            .filter(|bytes| !bytes.is_empty()),
    };
    let credentials = match &spec.credential {
        Some(selector) => read_secret(objects, "credential", selector).await?,
        None => None,
    };
    let customer_key = match spec
        .config
        .get("customerKeyEncryptionSecret")
        .and_then(|text| text.split_once('/'))
    {
        Some((secret, key)) => {
            let selector = SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                optional: None,
            };
            read_secret(objects, "config.customerKeyEncryptionSecret", &selector).await?
        }
        None => None,
    };
    Ok(LocationConfig {
        provider: spec.provider.clone(),
        bucket: storage.bucket.clone(),
        prefix: storage.prefix.clone(),
        config: spec.config.clone(),
        ca_cert,
        credentials,
        customer_key,
    })
}

/// Looks whether a secret that something points to is there, with its key.
pub(super) async fn check_secret(
    objects: &Objects,
    field: &'static str,
    selector: &SecretKeySelector,
) -> Result<(), StoreError> {
    read_secret(objects, field, selector).await.map(drop)
}

async fn read_secret(
    objects: &Objects,
    field: &'static str,
    selector: &SecretKeySelector,
) -> Result<Option<Vec<u8>>, StoreError> {
    let api = Api::<Secret>::namespaced(objects.client().clone(), objects.namespace());
    let missing = |problem: String| match selector.optional {
        Some(true) => Ok(None),
        _ => Err(StoreError::Secret {
            field,
            secret: selector.name.clone(),
            problem,
        }),
    };
    if selector.name.is_empty() {
        return missing("has no name".to_owned());
    }
    let found = objects
        .call(
            "get",
            format!("Secret {:?}", selector.name),
            api.get_opt(&selector.name),
        )
        .await;
    let Some(secret) = found.map_err(|source| StoreError::Api { field, source })? else {
        return missing(format!(
            "does not exist in namespace {}",
            objects.namespace()
        ));
    };
    match secret.data.unwrap_or_default().remove(&selector.key) {
        Some(bytes) => Ok(Some(bytes.0)),
        None => missing(format!("has no key {:?}", selector.key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_news_once_for_each_location() {
        let said = Said(Mutex::default());
        for (location, warning, news) in [
            ("a", "w", true),
            ("a", "w", false),
            ("b", "w", true),
            ("a", "v", true),
            ("b", "w", false),
        ] {
            assert_eq!(said.is_news("velero", location, warning), news);
        }
    }
}
