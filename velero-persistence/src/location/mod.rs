//! Where backups live, and how to get there.

mod aws;
mod aws_settings;
mod azure;
mod azure_sas;
mod azure_settings;
mod dotenv;
mod environment;
mod from_api;
mod gcp;
mod gcp_settings;
mod gcp_token;
mod keys;
mod memory;
mod profile;
mod store_url;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use environment::Environment;

use crate::backend::ObjectBackend;
use crate::error::{Error, Result};
use crate::filesystem::FsBackend;
use crate::key;
use crate::options::StoreOptions;
use crate::store::ObjectStore;
use aws_settings::AwsSettings;
use azure_settings::AzureSettings;
use gcp_settings::GcpSettings;

/// The provider names this crate serves itself, without a plugin.
const AWS: [&str; 2] = ["aws", "velero.io/aws"];
const AZURE: [&str; 2] = ["azure", "velero.io/azure"];
const GCP: [&str; 2] = ["gcp", "velero.io/gcp"];
const FILESYSTEM: [&str; 4] = ["filesystem", "fs", "velero.io/filesystem", "velero.io/fs"];

/// What a `BackupStorageLocation` says, with the secrets it points to already read.
///
/// `Debug` leaves the secrets out.
#[derive(Clone, Default)]
pub struct LocationConfig {
    /// `spec.provider`: `aws`, `azure`, `gcp` or `filesystem`, each also with `velero.io/` in front; `fs` is short for the latter.
    pub provider: String,
    /// `spec.objectStorage.bucket`; outer slashes do not matter. For `filesystem`, a folder below `config.fspath`.
    pub bucket: String,
    /// `spec.objectStorage.prefix`; outer slashes do not matter.
    pub prefix: String,
    /// `spec.config`; a key that is not known is refused.
    pub config: BTreeMap<String, String>,
    /// PEM bundle of `spec.objectStorage.caCert` or of the secret in `caCertRef`, trusted beside the system's roots.
    pub ca_cert: Option<Vec<u8>>,
    /// Content of the secret entry that `spec.credential` selects. Without it the environment decides.
    pub credentials: Option<Vec<u8>>,
    /// Content of the secret entry named by `config.customerKeyEncryptionSecret`, exactly 32 bytes.
    pub customer_key: Option<Vec<u8>>,
}

impl fmt::Debug for LocationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocationConfig")
            .field("provider", &self.provider)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("config", &self.config)
            .field("ca_cert", &self.ca_cert.is_some())
            .field("credentials", &self.credentials.is_some())
            .field("customer_key", &self.customer_key.is_some())
            .finish()
    }
}

#[derive(Clone, Debug)]
enum Kind {
    Memory { name: String },
    Folder { root: PathBuf, create: bool },
    Aws(Box<AwsSettings>),
    Azure(Box<AzureSettings>),
    Gcp(Box<GcpSettings>),
}

/// A checked description of where backups live. [`Location::open`] makes a store of it.
///
/// Making one reads credentials files and checks every setting, but opens no connection.
///
/// ```
/// use velero_persistence::{Location, LocationConfig};
///
/// let config = LocationConfig {
///     provider: "aws".to_owned(),
///     bucket: "backups".to_owned(),
///     config: [("region", "eu-central-1"), ("s3Url", "minio:9000")].map(|(k, v)| (k.into(), v.into())).into(),
///     ..LocationConfig::default()
/// };
/// let err = Location::from_config(&config).unwrap_err();
/// assert_eq!(
///     err.to_string(),
///     r#"config.s3Url "minio:9000" is not valid: an URL such as https://minio.example.com:9000"#
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Location {
    kind: Kind,
    prefix: String,
    warnings: Vec<String>,
    options: StoreOptions,
}

impl Location {
    /// Says whether a provider is served by this crate rather than by a plugin.
    pub fn is_builtin_provider(provider: &str) -> bool {
        [AWS, AZURE, GCP].concat().contains(&provider) || FILESYSTEM.contains(&provider)
    }

    /// Checks the settings of a `BackupStorageLocation`, with the process's environment for what they leave open.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the setting, its value and what would be right.
    pub fn from_config(config: &LocationConfig) -> Result<Self> {
        Self::from_config_in(config, &Environment::process())
    }

    /// As [`Location::from_config`], with a given environment.
    pub fn from_config_in(config: &LocationConfig, env: &Environment) -> Result<Self> {
        let bucket = config.bucket.trim_matches('/');
        if bucket.contains('/') {
            return Err(Error::config(
                "objectStorage.bucket",
                &config.bucket,
                "a name without '/'; folders go in objectStorage.prefix",
            ));
        }
        if bucket.is_empty() || bucket.trim() != bucket || matches!(bucket, "." | "..") {
            return Err(Error::config(
                "objectStorage.bucket",
                &config.bucket,
                "the name of a bucket",
            ));
        }
        let mut warnings = Vec::new();
        let kind = match config.provider.as_str() {
            provider if AWS.contains(&provider) => Kind::Aws(Box::new(AwsSettings::parse(
                bucket,
                config,
                env,
                &mut warnings,
            )?)),
            provider if AZURE.contains(&provider) => Kind::Azure(Box::new(AzureSettings::parse(
                bucket,
                config,
                env,
                &mut warnings,
            )?)),
            provider if GCP.contains(&provider) => Kind::Gcp(Box::new(GcpSettings::parse(
                bucket,
                config,
                env,
                &mut warnings,
            )?)),
            provider if FILESYSTEM.contains(&provider) => folder(bucket, config)?,
            other => {
                return Err(Error::config(
                    "provider",
                    other,
                    "aws, azure, gcp or filesystem, which are built in, or the provider of a plugin",
                ));
            }
        };
        Self::new(kind, "objectStorage.prefix", &config.prefix, warnings)
    }

    /// Reads a store URL, with the process's environment for what it leaves open.
    ///
    /// | URL | store |
    /// |---|---|
    /// | `file:///path` | a folder, made on first use |
    /// | `s3://bucket/prefix?region=...&endpoint=...` | S3; query keys are those of `spec.config`, `endpoint` is short for `s3Url`, `forcePathStyle` for `s3ForcePathStyle`; `credentialsFile` and `caCertFile` are paths |
    /// | `az://container/prefix?storageAccount=...` | Azure; query keys as above, `endpoint` is short for `storageAccountURI` |
    /// | `gs://bucket/prefix` | Google Cloud; query keys as above, `endpoint` is short for `storeEndpoint` |
    /// | `memory://name/prefix` | memory of this process, shared by all who give the same name; for tests |
    pub fn from_url(url: &str) -> Result<Self> {
        Self::from_url_in(url, &Environment::process())
    }

    /// As [`Location::from_url`], with a given environment.
    pub fn from_url_in(url: &str, env: &Environment) -> Result<Self> {
        store_url::parse(url, env)
    }

    fn new(kind: Kind, field: &str, prefix: &str, warnings: Vec<String>) -> Result<Self> {
        Ok(Self {
            kind,
            prefix: key::normalize_root(field, prefix)?,
            warnings,
            options: StoreOptions::default(),
        })
    }

    /// Changes deadlines, retries and sizes.
    #[must_use]
    pub fn with_options(mut self, options: StoreOptions) -> Self {
        self.options = options;
        self
    }

    /// Settings that are accepted but have no effect, one line each, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Makes the store.
    ///
    /// No request is made, except for S3 with neither `region` nor `s3Url`: then the bucket is asked for its region.
    /// [`ObjectStore::check`] tells whether the store answers.
    ///
    /// # Errors
    ///
    /// [`Error::BucketNotFound`] when the folder of a `filesystem` location is missing.
    pub async fn open(&self) -> Result<ObjectStore> {
        let backend: Arc<dyn ObjectBackend> = match &self.kind {
            Kind::Memory { name } => Arc::new(memory::backend(name, &self.options)?),
            Kind::Folder { root, create } => Arc::new(self.folder_backend(root, *create).await?),
            Kind::Aws(settings) => Arc::new(aws::backend(settings, &self.options).await?),
            Kind::Azure(settings) => Arc::new(azure::backend(settings, &self.options)?),
            Kind::Gcp(settings) => Arc::new(gcp::backend(settings, &self.options)?),
        };
        ObjectStore::new(backend, &self.prefix)
    }

    async fn folder_backend(&self, root: &std::path::Path, create: bool) -> Result<FsBackend> {
        let backend = FsBackend::new(root.to_path_buf(), self.options.io_timeout);
        if create {
            backend.create_root().await?;
        }
        backend.check("").await?;
        Ok(backend)
    }
}

/// A `filesystem` location: folder `bucket` below `config.fspath`.
fn folder(bucket: &str, config: &LocationConfig) -> Result<Kind> {
    if let Some((key, value)) = config.config.iter().find(|(key, _)| *key != "fspath") {
        return Err(Error::config(
            format!("config.{key}"),
            value,
            "not a setting of provider filesystem, which knows fspath only",
        ));
    }
    let path = config.config.get("fspath").map_or("", String::as_str);
    if !path.starts_with('/') {
        return Err(Error::config(
            "config.fspath",
            path,
            "an absolute path of a folder",
        ));
    }
    Ok(Kind::Folder {
        root: PathBuf::from(path).join(bucket),
        create: false,
    })
}
