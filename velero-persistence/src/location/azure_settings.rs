//! The settings of provider `azure`, as Velero's Azure plugin understands them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use url::Url;

use super::dotenv::Dotenv;
use super::keys::Keys;
use super::{Environment, LocationConfig};
use crate::error::{Error, Result};
use crate::transport::Tls;

/// Keys of `spec.config` that are understood; the last three are what the peer's server adds by itself.
const KNOWN: [&str; 12] = [
    "storageAccount",
    "storageAccountKeyEnvVar",
    "useAAD",
    "storageAccountURI",
    "activeDirectoryAuthorityURI",
    "blockSizeInBytes",
    "credentialsFile",
    "resourceGroup",
    "subscriptionId",
    "bucket",
    "prefix",
    "caCert",
];

/// Largest block of the peer's plugin, in bytes.
const MAX_BLOCK: usize = 100 << 20;

/// Checked settings. Upstream: the Azure plugin's `object_store.go` and Velero's `pkg/util/azure`.
#[derive(Clone, Debug)]
pub(super) struct AzureSettings {
    pub(super) container: String,
    pub(super) account: String,
    pub(super) endpoint: Url,
    pub(super) tls: Tls,
    /// Bytes of a block, where the location says so.
    pub(super) block_size: Option<usize>,
    pub(super) credentials: Credentials,
}

/// How requests are authorized. `Debug` hides secrets.
#[derive(Clone)]
pub(super) enum Credentials {
    /// The key of the storage account, in base64.
    Key(String),
    /// Microsoft Entra ID, which was Azure Active Directory.
    Entra(Entra),
}

/// What Entra is asked with: a secret, else a workload's token, else the machine's identity.
#[derive(Clone)]
pub(super) struct Entra {
    /// Server of tokens.
    pub(super) authority: String,
    pub(super) tenant: Option<String>,
    pub(super) client: Option<String>,
    pub(super) secret: Option<String>,
    /// File of a workload's token, read anew each time.
    pub(super) token_file: Option<String>,
    /// Where a machine asks for its identity, if not in the usual place.
    pub(super) machine: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(_) => f.write_str("Key"),
            Self::Entra(entra) => f
                .debug_struct("Entra")
                .field("authority", &entra.authority)
                .field("secret", &entra.secret.is_some())
                .field("token_file", &entra.token_file)
                .finish_non_exhaustive(),
        }
    }
}

impl Credentials {
    /// What must never show up in a text.
    pub(super) fn secrets(&self) -> Vec<String> {
        match self {
            Self::Key(key) => vec![key.clone()],
            Self::Entra(entra) => entra.secret.iter().cloned().collect(),
        }
    }
}

/// One of Azure's clouds.
struct Cloud {
    blobs: &'static str,
    authority: &'static str,
}

impl AzureSettings {
    pub(super) fn parse(
        container: &str,
        config: &LocationConfig,
        env: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let keys = Keys(&config.config);
        keys.refuse_unknown("azure", &KNOWN, &KNOWN[..9])?;
        let ignored = [
            "resourceGroup",
            "subscriptionId",
            "bucket",
            "prefix",
            "caCert",
        ];
        keys.warn_of(&ignored, warnings);
        let account = keys.get("storageAccount").unwrap_or_default();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if !(3..=24).contains(&account.len()) || !account.bytes().all(plain) {
            return Err(Error::config(
                "config.storageAccount",
                account,
                "the name of a storage account: 3 to 24 lower-case letters and digits",
            ));
        }
        let tls = Tls {
            ca_cert: config.ca_cert.clone().filter(|pem| !pem.is_empty()),
            skip_verify: false,
        };
        tls.check()?;
        let variable = ("AZURE_CREDENTIALS_FILE", env.get("AZURE_CREDENTIALS_FILE"));
        let found = keys.credentials_file(config.credentials.as_deref(), variable, warnings)?;
        let source = Source::new(found, env)?;
        let cloud = source.cloud()?;
        let example = format!("https://{account}.{}", cloud.blobs);
        let endpoint = match keys.url_like("storageAccountURI", &example)? {
            Some(url) => url,
            None => Url::parse(&example)
                .map_err(|err| Error::config("config.storageAccount", account, err.to_string()))?,
        };
        Ok(Self {
            container: container.to_owned(),
            account: account.to_owned(),
            endpoint,
            tls,
            block_size: block_size(&keys, warnings),
            credentials: source.credentials(&keys, &cloud, warnings)?,
        })
    }
}

/// The credentials file, or the environment where there is none. One never fills the gaps of the other, as a location's
/// credentials must not serve another one.
struct Source<'a> {
    /// The file's name in messages, if there is one.
    field: Option<&'static str>,
    file: Dotenv,
    env: &'a Environment,
}

impl<'a> Source<'a> {
    fn new(found: Option<(&'static str, Vec<u8>)>, env: &'a Environment) -> Result<Self> {
        Ok(match found {
            Some((field, bytes)) => Self {
                field: Some(field),
                file: Dotenv::parse(field, &bytes)?,
                env,
            },
            None => Self {
                field: None,
                file: Dotenv::default(),
                env,
            },
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        match self.field {
            Some(_) => self.file.get(name),
            None => self.env.get(name),
        }
    }

    fn name(&self, entry: &str) -> String {
        format!("{} {entry}", self.field.unwrap_or("environment"))
    }

    fn cloud(&self) -> Result<Cloud> {
        let name = self.get("AZURE_CLOUD_NAME").unwrap_or("AzurePublicCloud");
        match name.to_ascii_lowercase().as_str() {
            "azurecloud" | "azurepubliccloud" => Ok(Cloud {
                blobs: "blob.core.windows.net",
                authority: "https://login.microsoftonline.com",
            }),
            "azurechinacloud" => Ok(Cloud {
                blobs: "blob.core.chinacloudapi.cn",
                authority: "https://login.chinacloudapi.cn",
            }),
            "azureusgovernment" | "azureusgovernmentcloud" => Ok(Cloud {
                blobs: "blob.core.usgovcloudapi.net",
                authority: "https://login.microsoftonline.us",
            }),
            _ => Err(Error::config(
                self.name("AZURE_CLOUD_NAME"),
                name,
                "AzurePublicCloud, AzureChinaCloud or AzureUSGovernment",
            )),
        }
    }

    /// The account's key, or Entra. A key in the entry `AZURE_STORAGE_KEY` counts whatever `useAAD` says, as with the peer.
    fn credentials(
        &self,
        keys: &Keys<'_>,
        cloud: &Cloud,
        warnings: &mut Vec<String>,
    ) -> Result<Credentials> {
        let use_entra = keys.flag("useAAD")?;
        if let Some(entry) = keys.get("storageAccountKeyEnvVar") {
            let key = self.get(entry).ok_or_else(|| {
                Error::config(
                    "config.storageAccountKeyEnvVar",
                    entry,
                    "an entry of the credentials file with the key of the storage account",
                )
            })?;
            return self.key(entry, key);
        }
        if let Some(key) = self.get("AZURE_STORAGE_KEY") {
            if use_entra {
                warnings.push(format!(
                    "config.useAAD has no effect: {} is used",
                    self.name("AZURE_STORAGE_KEY")
                ));
            }
            return self.key("AZURE_STORAGE_KEY", key);
        }
        if !use_entra {
            return Err(Error::config(
                "config.useAAD",
                keys.get("useAAD").unwrap_or_default(),
                "true, or config.storageAccountKeyEnvVar with the entry that holds the account's key: keys are not looked up through Azure Resource Manager",
            ));
        }
        self.entra(keys, cloud).map(Credentials::Entra)
    }

    fn key(&self, entry: &str, key: &str) -> Result<Credentials> {
        match BASE64.decode(key) {
            Ok(bytes) if !bytes.is_empty() => Ok(Credentials::Key(key.to_owned())),
            _ => Err(Error::config(
                self.name(entry),
                "<hidden>",
                "the key of a storage account, in base64",
            )),
        }
    }

    fn entra(&self, keys: &Keys<'_>, cloud: &Cloud) -> Result<Entra> {
        let secret = self.get("AZURE_CLIENT_SECRET");
        let refused = [
            "AZURE_CLIENT_CERTIFICATE",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "AZURE_USERNAME",
        ];
        let refused = refused.into_iter().find(|name| self.get(name).is_some());
        if let (Some(entry), None) = (refused, secret) {
            return Err(Error::config(
                self.name(entry),
                "<hidden>",
                "AZURE_CLIENT_SECRET, a workload identity or a managed identity: this way to credentials is not supported",
            ));
        }
        let example = "https://login.microsoftonline.com";
        let authority = match keys.url_like("activeDirectoryAuthorityURI", example)? {
            Some(url) => url.to_string(),
            None => self
                .env
                .get("AZURE_AUTHORITY_HOST")
                .unwrap_or(cloud.authority)
                .to_owned(),
        };
        // The identity of a workload is the pod's, with or without a file.
        let or_pod = |name| self.get(name).or_else(|| self.env.get(name));
        let entra = Entra {
            authority,
            tenant: or_pod("AZURE_TENANT_ID").map(str::to_owned),
            client: or_pod("AZURE_CLIENT_ID").map(str::to_owned),
            secret: secret.map(str::to_owned),
            token_file: self
                .env
                .get("AZURE_FEDERATED_TOKEN_FILE")
                .map(str::to_owned),
            machine: self.env.get("AZURE_IMDS_ENDPOINT").map(str::to_owned),
        };
        for (entry, value) in [
            ("AZURE_TENANT_ID", &entra.tenant),
            ("AZURE_CLIENT_ID", &entra.client),
        ] {
            if entra.secret.is_some() && value.is_none() {
                return Err(Error::config(
                    self.name(entry),
                    "",
                    "an entry beside AZURE_CLIENT_SECRET",
                ));
            }
        }
        Ok(entra)
    }
}

/// Bytes of a block: too large a value is cut, and one that is no number gives a warning, as with the peer.
fn block_size(keys: &Keys<'_>, warnings: &mut Vec<String>) -> Option<usize> {
    let text = keys.get("blockSizeInBytes")?;
    match text.parse::<usize>() {
        Ok(bytes) if bytes > 0 => Some(bytes.min(MAX_BLOCK)),
        _ => {
            warnings.push(format!(
                "config.blockSizeInBytes {text:?} has no effect: a number of bytes from 1 to {MAX_BLOCK} is needed"
            ));
            None
        }
    }
}
