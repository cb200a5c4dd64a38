//! From the custom resource to the settings of a store.

use velero_core::api::BackupStorageLocationSpec;

use super::LocationConfig;

impl From<&BackupStorageLocationSpec> for LocationConfig {
    /// Takes over what the resource itself says.
    ///
    /// What it points to is for the caller to read and put in: the secrets of `credential`, of `objectStorage.caCertRef`
    /// and of `config.customerKeyEncryptionSecret`.
    fn from(spec: &BackupStorageLocationSpec) -> Self {
        let storage = &spec.object_storage;
        Self {
            provider: spec.provider.clone(),
            bucket: storage.bucket.clone(),
            prefix: storage.prefix.clone(),
            config: spec.config.clone(),
            ca_cert: storage.ca_cert.as_ref().map(|pem| pem.0.clone()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_resource_says_is_taken_over() {
        let spec: BackupStorageLocationSpec = serde_json::from_str(
            r#"{"provider":"aws","config":{"region":"r"},
                "objectStorage":{"bucket":"b","prefix":"p","caCert":"UEVN"}}"#,
        )
        .unwrap();
        let config = LocationConfig::from(&spec);
        assert_eq!(
            (
                config.provider.as_str(),
                config.bucket.as_str(),
                config.prefix.as_str()
            ),
            ("aws", "b", "p")
        );
        assert_eq!(config.config["region"], "r");
        assert_eq!(config.ca_cert.as_deref(), Some(&b"PEM"[..]));
        assert_eq!(config.credentials, None);
    }
}
