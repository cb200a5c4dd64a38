//! From a BackupStorageLocation, and the Secrets it points to, to a store.

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

/// Opens the store of a location. Secrets are read anew each time, so that changed credentials take effect.
pub(super) async fn open(
    objects: &Objects,
    location: &BackupStorageLocation,
) -> Result<BackupStore, StoreError> {
    let config = config_of(objects, &location.spec).await?;
    let place = Location::from_config(&config)?;
    for warning in place.warnings() {
        tracing::warn!(
            location = location.metadata.name.as_deref().unwrap_or_default(),
            "{warning}"
        );
    }
    match tokio::time::timeout(OPEN_TIMEOUT, BackupStore::open(&place)).await {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(StoreError::Timeout(OPEN_TIMEOUT)),
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
