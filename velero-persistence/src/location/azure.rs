//! From checked settings to a store in Azure.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opendal::services::Azblob;
use opendal::{HttpTransporter, Operator};
use reqsign_azure_storage::{
    ClientSecretCredentialProvider, Credential, ImdsCredentialProvider, RequestSigner,
    StaticCredentialProvider, UserDelegationSasGrant, UserDelegationSasGranter,
    UserDelegationSasPermissions, WorkloadIdentityCredentialProvider,
};
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, Granter, Signer};

use super::azure_sas;
use super::azure_settings::{AzureSettings, Credentials, Entra};
use crate::error::Result;
use crate::options::StoreOptions;
use crate::remote::{RemoteBackend, Signing, UrlSigner};
use crate::remote_error::Mapper;
use crate::s3_transport::sign_failed;
use crate::signed_transport::{SignedTransport, Source, context};
use crate::silence::Silence;
use crate::transport::{self, Patience};

/// How long before now a signed URL begins to hold, as clocks differ.
const EARLIER: Duration = Duration::from_secs(600);

/// Longest life of a signature in the name of who is logged in.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What to do about credentials that do not work.
const ADVICE: &str = "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET in the credentials file, or give the pod a workload identity";

pub(super) fn backend(settings: &AzureSettings, options: &StoreOptions) -> Result<RemoteBackend> {
    let client = transport::client(&settings.tls, options)?;
    let endpoint = settings.endpoint.as_str().trim_end_matches('/');
    let errors = Mapper {
        store: format!("az://{} at {endpoint}", settings.container),
        bucket: settings.container.clone(),
        secrets: settings.credentials.secrets().into(),
        silence: Arc::new(Silence::new(options.silent_timeout)),
        advice: ADVICE,
    };
    let http = HttpTransporter::new(Patience::new(client, options, &errors));
    let urls = AzureUrls::new(settings, &http);
    let (chain, context) = source(settings, &http);
    let signer = Signer::new(context, chain, RequestSigner::new());
    let signed = HttpTransporter::new(SignedTransport::new(http, signer, ""));
    let bare = || {
        let service = Azblob::default()
            .container(&settings.container)
            .endpoint(endpoint)
            .account_name(&settings.account)
            .skip_signature();
        Operator::new(service)
    };
    let block = settings.block_size.unwrap_or(options.part_size);
    let signing = Signing::Urls(Box::new(urls));
    Ok(RemoteBackend::over(bare, &signed, signing, errors, options)?.in_parts_of(block))
}

/// Where credentials come from, and what is asked for them.
fn source(settings: &AzureSettings, http: &HttpTransporter) -> (Source<Credential>, Context) {
    match &settings.credentials {
        Credentials::Key(key) => {
            let fixed = StaticCredentialProvider::new_shared_key(&settings.account, key);
            (Arc::new(fixed), context(http, &[]))
        }
        Credentials::Entra(entra) => {
            let variables = [
                ("AZURE_CLIENT_ID", entra.client.as_deref()),
                ("AZURE_IMDS_ENDPOINT", entra.machine.as_deref()),
            ];
            (entra_source(entra), context(http, &variables))
        }
    }
}

/// Only the way that is configured is tried: a wrong secret must not end up as the machine's identity.
fn entra_source(entra: &Entra) -> Source<Credential> {
    let tenant = entra.tenant.as_deref().unwrap_or_default();
    let client = entra.client.as_deref().unwrap_or_default();
    match (&entra.secret, &entra.token_file) {
        (Some(secret), _) => Arc::new(
            ClientSecretCredentialProvider::new()
                .with_tenant_id(tenant)
                .with_client_id(client)
                .with_client_secret(secret)
                .with_authority_host(&entra.authority),
        ),
        (None, Some(file)) => Arc::new(
            WorkloadIdentityCredentialProvider::new()
                .with_tenant_id(tenant)
                .with_client_id(client)
                .with_federated_token_file(file)
                .with_authority_host(&entra.authority),
        ),
        (None, None) => Arc::new(ImdsCredentialProvider::new()),
    }
}

/// Makes URLs that read one blob for some time, and nothing else.
struct AzureUrls {
    settings: AzureSettings,
    /// For credentials of Entra, whose key for signatures is asked of the store.
    granter: Granter<Credential>,
}

impl AzureUrls {
    fn new(settings: &AzureSettings, http: &HttpTransporter) -> Self {
        let (chain, context) = source(settings, http);
        Self {
            granter: Granter::new(context, chain, delegation(settings, "")),
            settings: settings.clone(),
        }
    }
}

/// The right to read one blob, given in the name of who is logged in.
fn delegation(settings: &AzureSettings, key: &str) -> UserDelegationSasGranter {
    let grant = UserDelegationSasGrant::for_blob(
        &settings.container,
        key,
        UserDelegationSasPermissions::READ,
    );
    UserDelegationSasGranter::new(&settings.account, grant)
        .with_trusted_endpoint(settings.endpoint.as_str().trim_end_matches('/'))
}

#[async_trait]
impl UrlSigner for AzureUrls {
    async fn sign(&self, key: &str, ttl: Duration) -> opendal::Result<String> {
        let settings = &self.settings;
        let url = format!(
            "{}/{}/{}",
            settings.endpoint.as_str().trim_end_matches('/'),
            settings.container,
            opendal::raw::percent_encode_path(key)
        );
        let now = Timestamp::now();
        let query = match &settings.credentials {
            Credentials::Key(account_key) => azure_sas::query(
                &azure_sas::Grant {
                    account: &settings.account,
                    container: &settings.container,
                    key,
                    start: (now - EARLIER).format_rfc3339_zulu(),
                    end: (now + ttl).format_rfc3339_zulu(),
                    https_only: settings.endpoint.scheme() == "https",
                },
                account_key,
            ),
            Credentials::Entra(_) => {
                let mut delegation = delegation(settings, key);
                if ttl + EARLIER <= LONGEST {
                    delegation = delegation.with_start(now - EARLIER);
                }
                let granter = self.granter.clone().with_credential_granter(delegation);
                match granter.grant(Some(ttl)).await.map_err(sign_failed)? {
                    Credential::SasToken { token, .. } => Some(token),
                    _ => None,
                }
            }
        };
        let query = query.ok_or_else(|| {
            let text = "the credentials give no signature";
            opendal::Error::new(opendal::ErrorKind::Unexpected, text)
        })?;
        Ok(format!("{url}?{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, LocationConfig};
    use super::*;
    use crate::fake_http::FakeHttp;

    #[tokio::test]
    async fn an_identity_signs_urls_with_a_key_of_the_store() {
        let config = LocationConfig {
            config: [("storageAccount", "acct"), ("useAAD", "true")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            credentials: Some(
                b"AZURE_TENANT_ID=t\nAZURE_CLIENT_ID=c\nAZURE_CLIENT_SECRET=s\n".to_vec(),
            ),
            ..LocationConfig::default()
        };
        let settings =
            AzureSettings::parse("box", &config, &Environment::empty(), &mut Vec::new()).unwrap();
        let http = FakeHttp::new(&[
            (
                "login.microsoftonline.com/t/oauth2",
                r#"{"access_token":"bearer","token_type":"Bearer","expires_in":3600}"#,
            ),
            (
                "https://acct.blob.core.windows.net/?restype=service&comp=userdelegationkey",
                "<UserDelegationKey><SignedOid>o</SignedOid><SignedTid>t</SignedTid><SignedStart>2020-01-01T00:00:00Z</SignedStart><SignedExpiry>2999-01-01T00:00:00Z</SignedExpiry><SignedService>b</SignedService><SignedVersion>2020-12-06</SignedVersion><Value>a2V5</Value></UserDelegationKey>",
            ),
        ]);
        let urls = AzureUrls::new(&settings, &http.transporter());
        let url = urls.sign("a/b c", Duration::from_secs(60)).await.unwrap();
        let start = "https://acct.blob.core.windows.net/box/a/b%20c?";
        assert!(url.starts_with(start), "{url}");
        for part in ["sp=r&", "sr=b&", "skoid=o", "spr=https", "sig="] {
            assert!(url.contains(part), "{part}: {url}");
        }
        let asked = http.asked();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert!(asked[1].contains(" Bearer bearer "), "{asked:?}");
        // The longest life leaves no room for a start before now.
        urls.sign("k", LONGEST).await.unwrap();
    }
}
