//! The settings of provider `aws`, as Velero's AWS plugin understands them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use url::{Host, Url};

use super::keys::Keys;
use super::profile::{AccessKeys, access_keys};
use super::{Environment, LocationConfig};
use crate::checksum::Checksum;
use crate::error::{Error, Result};
use crate::s3_transport::Extras;
use crate::transport::Tls;

/// Keys of `spec.config` that are understood. `bucket`, `prefix` and `caCert` are what the peer's server adds by itself.
const KNOWN: [&str; 18] = [
    "region",
    "s3Url",
    "publicUrl",
    "s3ForcePathStyle",
    "insecureSkipTLSVerify",
    "serverSideEncryption",
    "kmsKeyId",
    "customerKeyEncryptionFile",
    "customerKeyEncryptionSecret",
    "profile",
    "credentialsFile",
    "checksumAlgorithm",
    "tagging",
    "signatureVersion",
    "enableSharedConfig",
    "bucket",
    "prefix",
    "caCert",
];

/// Checked settings. Upstream: the AWS plugin's `object_store.go`.
#[derive(Clone, Debug)]
pub(super) struct AwsSettings {
    pub(super) bucket: String,
    /// `None` means that the bucket must be asked.
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<Url>,
    pub(super) public_url: Option<Url>,
    pub(super) force_path_style: bool,
    pub(super) tls: Tls,
    pub(super) encryption: Encryption,
    /// What uploads carry beside their bytes.
    pub(super) extras: Extras,
    pub(super) credentials: Credentials,
}

/// Where access keys come from.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// A file, a secret or the environment gave them.
    Keys(AccessKeys),
    /// Ask the usual chain: shared config, web identity, container and instance metadata.
    Chain {
        profile: Option<String>,
        env: Environment,
    },
}

/// Encryption asked of the store.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Encryption {
    /// The bucket's own default.
    BucketDefault,
    /// `serverSideEncryption`.
    Managed(String),
    /// `kmsKeyId`.
    Kms(String),
    /// A key of the customer's, 32 bytes.
    Customer(Vec<u8>),
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BucketDefault => f.write_str("BucketDefault"),
            Self::Managed(name) => f.debug_tuple("Managed").field(name).finish(),
            Self::Kms(key) => f.debug_tuple("Kms").field(key).finish(),
            Self::Customer(_) => f.write_str("Customer"),
        }
    }
}

impl Encryption {
    /// The customer's key in the form it travels in, which must never show up in a text.
    pub(super) fn secret(&self) -> Option<String> {
        match self {
            Self::Customer(key) => Some(BASE64.encode(key)),
            _ => None,
        }
    }
}

impl AwsSettings {
    pub(super) fn parse(
        bucket: &str,
        config: &LocationConfig,
        env: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let keys = Keys(&config.config);
        keys.refuse_unknown("aws", &KNOWN, &KNOWN[..15])?;
        let ignored = [
            "signatureVersion",
            "enableSharedConfig",
            "bucket",
            "prefix",
            "caCert",
        ];
        keys.warn_of(&ignored, warnings);
        let tls = Tls {
            ca_cert: config.ca_cert.clone().filter(|pem| !pem.is_empty()),
            skip_verify: keys.flag("insecureSkipTLSVerify")?,
        };
        tls.check()?;
        let endpoint = keys.url("s3Url")?;
        let region = keys.get("region").map(str::to_owned).or_else(|| {
            // Other servers than Amazon's mostly take any region; the signature needs one.
            endpoint.as_ref()?;
            let from_env = env
                .get("AWS_REGION")
                .or_else(|| env.get("AWS_DEFAULT_REGION"));
            Some(from_env.unwrap_or("us-east-1").to_owned())
        });
        Ok(Self {
            bucket: bucket.to_owned(),
            region,
            endpoint,
            public_url: keys.url("publicUrl")?,
            force_path_style: keys.flag("s3ForcePathStyle")?,
            tls,
            encryption: keys.encryption(config.customer_key.as_deref())?,
            extras: Extras {
                tagging: keys.tagging()?,
                checksum: keys.checksum()?,
            },
            credentials: credentials(&keys, config.credentials.as_deref(), env, warnings)?,
        })
    }

    /// Whether the bucket goes in the host name rather than in the path of `endpoint`.
    ///
    /// As Amazon's own rules have it, not for addresses and for buckets that are no host name.
    pub(super) fn virtual_host(&self, endpoint: &Url) -> bool {
        let is_name = matches!(endpoint.host(), Some(Host::Domain(name)) if name != "localhost");
        let bucket_fits = (3..=63).contains(&self.bucket.len())
            && self
                .bucket
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        !self.force_path_style && is_name && bucket_fits
    }
}

/// Checks of settings that only this provider has.
impl Keys<'_> {
    fn encryption(&self, customer_key: Option<&[u8]>) -> Result<Encryption> {
        const EXCLUSIVE: [&str; 3] = [
            "kmsKeyId",
            "customerKeyEncryptionFile",
            "customerKeyEncryptionSecret",
        ];
        let given: Vec<&str> = EXCLUSIVE
            .into_iter()
            .filter(|name| self.get(name).is_some())
            .collect();
        if let [first, second, ..] = given[..] {
            let value = self.get(second).unwrap_or_default();
            return Err(Error::config(
                format!("config.{second}"),
                value,
                format!("not together with {first}"),
            ));
        }
        if let Some(key) = self.get("kmsKeyId") {
            return Ok(Encryption::Kms(key.to_owned()));
        }
        if let Some(path) = self.get("customerKeyEncryptionFile") {
            return customer_key_file(path).map(Encryption::Customer);
        }
        if let Some(name) = self.get("customerKeyEncryptionSecret") {
            let bad = |expected: &str| {
                Error::config("config.customerKeyEncryptionSecret", name, expected)
            };
            let key = customer_key.ok_or_else(|| {
                bad("a secret of Velero's namespace as name/key, which could not be read here")
            })?;
            if key.len() != 32 {
                return Err(bad("a secret entry of exactly 32 bytes"));
            }
            return Ok(Encryption::Customer(key.to_vec()));
        }
        Ok(match self.get("serverSideEncryption") {
            Some(name) => Encryption::Managed(name.to_owned()),
            None => Encryption::BucketDefault,
        })
    }

    /// Tags as S3's header has them: `key=value` pairs with `&` between them, URL-encoded.
    fn tagging(&self) -> Result<Option<HeaderValue>> {
        let Some(text) = self.get("tagging") else {
            return Ok(None);
        };
        let bad = |expected: &str| Error::config("config.tagging", text, expected);
        let tags: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes())
            .into_owned()
            .collect();
        if tags.len() > 10 {
            return Err(bad("at most 10 tags"));
        }
        for (key, value) in &tags {
            if key.is_empty() || key.chars().count() > 128 {
                return Err(bad("keys of 1 to 128 characters, as key=value&key=value"));
            }
            if value.chars().count() > 248 {
                return Err(bad("values of at most 248 characters"));
            }
        }
        let keys: BTreeSet<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
        if keys.len() != tags.len() {
            return Err(bad("each key only once"));
        }
        let ascii = text.bytes().all(|b| b.is_ascii_graphic());
        match HeaderValue::from_str(text) {
            Ok(value) if ascii => Ok(Some(value)),
            _ => Err(bad(
                "URL-encoded tags: %20 for a blank, %C3%A4 for an umlaut",
            )),
        }
    }

    /// The algorithm of `checksumAlgorithm`: CRC32 where nothing is said, none where the value is empty.
    fn checksum(&self) -> Result<Option<Checksum>> {
        match self.0.get("checksumAlgorithm").map(String::as_str) {
            None => Ok(Some(Checksum::Crc32)),
            Some("") => Ok(None),
            Some(name) => match Checksum::named(name) {
                Some(algorithm) => Ok(Some(algorithm)),
                None => Err(Error::config(
                    "config.checksumAlgorithm",
                    name,
                    "CRC32, CRC32C, SHA1, SHA256 or empty, in capitals",
                )),
            },
        }
    }
}

fn customer_key_file(path: &str) -> Result<Vec<u8>> {
    let field = "config.customerKeyEncryptionFile";
    let mut key = std::fs::read(path)
        .map_err(|err| Error::config(field, path, format!("a readable file ({err})")))?;
    if key.len() < 32 {
        return Err(Error::config(
            field,
            path,
            "a file of at least 32 bytes, the first 32 being the key",
        ));
    }
    key.truncate(32);
    Ok(key)
}

/// Finds access keys: the location's own secret, `config.credentialsFile`, the environment's keys (unless
/// `config.profile` asks for a profile), the file in `AWS_SHARED_CREDENTIALS_FILE`, and else the usual chain.
fn credentials(
    keys: &Keys<'_>,
    secret: Option<&[u8]>,
    env: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Credentials> {
    let configured = keys.get("profile");
    let profile = configured.or_else(|| env.get("AWS_PROFILE"));
    let section = profile.unwrap_or("default");
    if let Some(secret) = secret {
        return access_keys("credential", secret, section).map(Credentials::Keys);
    }
    if let Some(path) = keys.get("credentialsFile") {
        let file = std::fs::read(path).map_err(|err| {
            Error::config(
                "config.credentialsFile",
                path,
                format!("a readable file ({err})"),
            )
        })?;
        return access_keys("config.credentialsFile", &file, section).map(Credentials::Keys);
    }
    if configured.is_none()
        && let (Some(id), Some(secret)) = (
            env.get("AWS_ACCESS_KEY_ID"),
            env.get("AWS_SECRET_ACCESS_KEY"),
        )
    {
        return Ok(Credentials::Keys(AccessKeys {
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: env.get("AWS_SESSION_TOKEN").map(str::to_owned),
            role: None,
        }));
    }
    if let Some(path) = env.get("AWS_SHARED_CREDENTIALS_FILE") {
        match std::fs::read(path) {
            Ok(file) => {
                return access_keys("AWS_SHARED_CREDENTIALS_FILE", &file, section)
                    .map(Credentials::Keys);
            }
            Err(err) => warnings.push(format!(
                "AWS_SHARED_CREDENTIALS_FILE {path:?} cannot be read and is passed over: {err}"
            )),
        }
    }
    Ok(Credentials::Chain {
        profile: profile.map(str::to_owned),
        env: env.clone(),
    })
}
