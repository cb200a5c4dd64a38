//! The settings of provider `gcp`, as Velero's plugin for Google Cloud understands them.

use std::fmt;

use ring::signature::RsaKeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use url::Url;

use super::keys::Keys;
use super::{Environment, LocationConfig};
use crate::error::{Error, Result};
use crate::transport::Tls;

/// Keys of `spec.config` that are understood; the last three are what the peer's server adds by itself.
const KNOWN: [&str; 8] = [
    "kmsKeyName",
    "serviceAccount",
    "credentialsFile",
    "storeEndpoint",
    "universeDomain",
    "bucket",
    "prefix",
    "caCert",
];

/// The store, where the location names no other.
const ENDPOINT: &str = "https://storage.googleapis.com";
/// Where a service account's key buys tokens, where its file names no other place.
const TOKENS: &str = "https://oauth2.googleapis.com/token";

/// Checked settings. Upstream: the GCP plugin's `object_store.go`.
#[derive(Clone, Debug)]
pub(super) struct GcpSettings {
    pub(super) bucket: String,
    pub(super) endpoint: Url,
    pub(super) tls: Tls,
    /// The key that new objects are encrypted with.
    pub(super) kms_key: Option<String>,
    /// Who signs URLs where there is no key.
    pub(super) signer: Option<String>,
    pub(super) credentials: Credentials,
}

/// How requests are authorized. `Debug` hides secrets.
#[derive(Clone)]
pub(super) enum Credentials {
    /// The key of a service account.
    ServiceAccount(ServiceAccount),
    /// Credentials of another kind, as the file has them.
    Other { kind: String, json: String },
    /// The identity of the machine or the workload; the server of metadata, if not the usual one.
    Machine(Option<String>),
}

/// The key of a service account.
#[derive(Clone, Deserialize)]
pub(super) struct ServiceAccount {
    #[serde(default)]
    pub(super) client_email: String,
    #[serde(default)]
    pub(super) private_key: String,
    #[serde(default)]
    pub(super) token_uri: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(account) => f
                .debug_tuple("ServiceAccount")
                .field(&account.client_email)
                .finish(),
            Self::Other { kind, .. } => f.debug_tuple("Other").field(kind).finish(),
            Self::Machine(server) => f.debug_tuple("Machine").field(server).finish(),
        }
    }
}

impl Credentials {
    /// What must never show up in a text.
    pub(super) fn secrets(&self) -> Vec<String> {
        let lines = match self {
            Self::ServiceAccount(account) => account.private_key.clone(),
            Self::Other { json, .. } => secrets_of(json).join("\n"),
            Self::Machine(_) => String::new(),
        };
        // A text may hold a line of a key as well as all of it.
        let lines = lines.lines().filter(|line| !line.starts_with("-----"));
        lines.map(str::to_owned).collect()
    }
}

fn secrets_of(json: &str) -> Vec<String> {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(json) else {
        return Vec::new();
    };
    let fields = [&value, &value["source_credentials"]];
    let names = ["client_secret", "refresh_token", "private_key"];
    fields
        .iter()
        .flat_map(|fields| names.iter().filter_map(|name| fields[*name].as_str()))
        .map(str::to_owned)
        .collect()
}

impl GcpSettings {
    pub(super) fn parse(
        bucket: &str,
        config: &LocationConfig,
        env: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let keys = Keys(&config.config);
        keys.refuse_unknown("gcp", &KNOWN, &KNOWN[..4])?;
        keys.warn_of(&["bucket", "prefix", "caCert"], warnings);
        if let Some(domain) = keys
            .get("universeDomain")
            .filter(|d| *d != "googleapis.com")
        {
            return Err(Error::config(
                "config.universeDomain",
                domain,
                "googleapis.com: other universes are not supported",
            ));
        }
        let tls = Tls {
            ca_cert: config.ca_cert.clone().filter(|pem| !pem.is_empty()),
            skip_verify: false,
        };
        tls.check()?;
        let endpoint = match keys.url_like("storeEndpoint", ENDPOINT)? {
            Some(url) => url,
            None => Url::parse(ENDPOINT)
                .map_err(|err| Error::config("config.storeEndpoint", ENDPOINT, err.to_string()))?,
        };
        let name = "GOOGLE_APPLICATION_CREDENTIALS";
        let found = keys.credentials_file(
            config.credentials.as_deref(),
            (name, env.get(name)),
            warnings,
        )?;
        let credentials = match found {
            Some((field, bytes)) => credentials(field, &bytes)?,
            None => Credentials::Machine(env.get("GCE_METADATA_HOST").map(str::to_owned)),
        };
        let signer = keys.get("serviceAccount").map(str::to_owned);
        if signer.is_none() && matches!(credentials, Credentials::Machine(_)) {
            return Err(Error::config(
                "config.serviceAccount",
                "",
                "the e-mail address of the service account that signs URLs, as there is no credentials file",
            ));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            endpoint,
            tls,
            kms_key: keys.get("kmsKeyName").map(str::to_owned),
            signer,
            credentials,
        })
    }
}

/// Reads a credentials file in JSON.
fn credentials(field: &str, bytes: &[u8]) -> Result<Credentials> {
    #[derive(Deserialize)]
    struct Head {
        r#type: String,
    }
    // Messages of the parser may show what stands there.
    let bad = |expected: &str| Error::config(field, "<credentials>", expected);
    let head: Head = serde_json::from_slice(bytes)
        .map_err(|_| bad("JSON credentials of Google Cloud, with a \"type\""))?;
    if head.r#type != "service_account" {
        let known = [
            "authorized_user",
            "external_account",
            "impersonated_service_account",
        ];
        if !known.contains(&head.r#type.as_str()) {
            return Err(Error::config(
                format!("{field} type"),
                head.r#type,
                format!("service_account, {}", known.join(", ")),
            ));
        }
        let json = String::from_utf8(bytes.to_vec()).map_err(|_| bad("JSON in UTF-8"))?;
        return Ok(Credentials::Other {
            kind: head.r#type,
            json,
        });
    }
    let mut account: ServiceAccount = serde_json::from_slice(bytes)
        .map_err(|_| bad("client_email, private_key and token_uri as texts"))?;
    if account.client_email.is_empty() {
        return Err(bad("a \"client_email\" in it"));
    }
    key_pair(&account)
        .ok_or_else(|| bad("a \"private_key\" in it, an RSA key as PEM text (PKCS #8)"))?;
    if account.token_uri.is_empty() {
        TOKENS.clone_into(&mut account.token_uri);
    }
    Ok(Credentials::ServiceAccount(account))
}

/// The account's key, if it is one.
pub(super) fn key_pair(account: &ServiceAccount) -> Option<RsaKeyPair> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(account.private_key.as_bytes()).ok()?;
    RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()
}
