//! The certificates that downloads trust beside those of the system.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use velero_core::api::{BackupStorageLocation, SecretKeySelector};

use super::objects::explain;
use super::{Environment, console};

/// Reads the bundle of the flag, or of the config file, and that of the location.
///
/// # Errors
/// When the file cannot be read and the location has none. With one it is a warning.
pub(super) async fn bundles(
    environment: &Environment,
    client: Client,
    flag: Option<&OsString>,
    location: Option<&BackupStorageLocation>,
) -> Result<Vec<Vec<u8>>> {
    let of_location = match location {
        Some(location) => of_location(environment, client, location).await,
        None => None,
    };
    let path = match flag {
        Some(path) => Some(PathBuf::from(path)),
        None => environment.config.cacert.clone(),
    };
    let mut bundles = Vec::new();
    if let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) {
        match std::fs::read(&path) {
            Ok(bundle) => bundles.push(bundle),
            Err(error) => {
                let fault = format!("cannot read the CA bundle {}: {error}", path.display());
                if of_location.is_none() {
                    return Err(anyhow!(fault));
                }
                console::note(format_args!(
                    "warning: {fault}; the certificates of the location are used"
                ));
            }
        }
    }
    bundles.extend(of_location);
    Ok(bundles)
}

/// The certificates of a location. What cannot be read is a warning: the download tells whether it was needed.
async fn of_location(
    environment: &Environment,
    client: Client,
    location: &BackupStorageLocation,
) -> Option<Vec<u8>> {
    let storage = &location.spec.object_storage;
    let Some(reference) = &storage.ca_cert_ref else {
        let inline = storage.ca_cert.as_ref().map(|pem| pem.0.clone());
        return inline.filter(|pem| !pem.is_empty());
    };
    let secrets: Api<Secret> = Api::namespaced(client, &environment.namespace());
    match read(&secrets, reference).await {
        Ok(bundle) => Some(bundle),
        Err(error) => {
            console::note(format_args!(
                "warning: the certificates of backup storage location {:?} cannot be read: {error}",
                location.metadata.name.as_deref().unwrap_or_default()
            ));
            None
        }
    }
}

async fn read(secrets: &Api<Secret>, reference: &SecretKeySelector) -> Result<Vec<u8>> {
    let (name, key) = (&reference.name, &reference.key);
    let secret = secrets.get(name).await.map_err(explain)?;
    let value = secret.data.and_then(|mut data| data.remove(key));
    value
        .map(|value| value.0)
        .ok_or_else(|| anyhow!("the secret {name:?} has no key {key:?}"))
}
