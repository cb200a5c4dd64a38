//! From checked settings to a store in Google Cloud.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Method, Request, Response, Uri};
use opendal::services::Gcs;
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, Operator};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqsign_core::{Context, Signer};
use reqsign_google::{
    Credential, RequestSigner, StaticCredentialProvider, VmMetadataCredentialProvider,
};

use super::gcp_settings::{Credentials, GcpSettings};
use super::gcp_token::{KeyTokens, SCOPE};
use crate::error::Result;
use crate::options::StoreOptions;
use crate::remote::{RemoteBackend, Signing, UrlSigner};
use crate::remote_error::Mapper;
use crate::signed_transport::{SignedTransport, Source, context, signed_url};
use crate::silence::Silence;
use crate::transport::{self, Patience};

/// What to do where there are no credentials.
const ADVICE: &str = "name a file with JSON credentials: spec.credential of a location, ?credentialsFile= of a store URL or GOOGLE_APPLICATION_CREDENTIALS";
const NO_SIGNER: &str = "credentials of this kind sign no URLs; give the key of a service account, or set config.serviceAccount";

pub(super) fn backend(settings: &GcpSettings, options: &StoreOptions) -> Result<RemoteBackend> {
    let client = transport::client(&settings.tls, options)?;
    let endpoint = settings.endpoint.as_str().trim_end_matches('/');
    let errors = Mapper {
        store: format!("gs://{} at {endpoint}", settings.bucket),
        bucket: settings.bucket.clone(),
        secrets: settings.credentials.secrets().into(),
        silence: Arc::new(Silence::new(options.silent_timeout)),
        advice: ADVICE,
    };
    let http = HttpTransporter::new(Patience::new(client, options, &errors));
    let (tokens, context) = tokens(settings, &http);
    let signer = Signer::new(context, tokens, RequestSigner::new("storage"));
    let signing = signing(settings, &http, endpoint);
    let signed = HttpTransporter::new(Encrypted {
        // A session's URL is a permission by itself.
        inner: HttpTransporter::new(SignedTransport::new(http, signer, "upload_id")),
        kms_key: settings.kms_key.clone(),
    });
    let bare = || {
        let service = Gcs::default()
            .bucket(&settings.bucket)
            .endpoint(endpoint)
            .skip_signature();
        Operator::new(service)
    };
    RemoteBackend::over(bare, &signed, signing, errors, options)
}

/// Where tokens come from, and what is asked for them.
fn tokens(settings: &GcpSettings, http: &HttpTransporter) -> (Source<Credential>, Context) {
    match &settings.credentials {
        Credentials::ServiceAccount(account) => {
            (Arc::new(KeyTokens(account.clone())), context(http, &[]))
        }
        Credentials::Other { json, .. } => {
            let provider = StaticCredentialProvider::new(json).with_scope(SCOPE);
            (Arc::new(provider), context(http, &[]))
        }
        Credentials::Machine(server) => {
            let variables = [("GCE_METADATA_HOST", server.as_deref())];
            let provider = VmMetadataCredentialProvider::new().with_scope(SCOPE);
            (Arc::new(provider), context(http, &variables))
        }
    }
}

/// URLs are signed with the account's key, or by Google in the name of `serviceAccount`.
fn signing(settings: &GcpSettings, http: &HttpTransporter, endpoint: &str) -> Signing {
    let base = format!("{endpoint}/{}", settings.bucket);
    let signer = match (&settings.credentials, &settings.signer) {
        (Credentials::ServiceAccount(account), _) => {
            let key = serde_json::json!({
                "type": "service_account",
                "client_email": account.client_email,
                "private_key": account.private_key,
            });
            let key = StaticCredentialProvider::new(key.to_string());
            Signer::new(context(http, &[]), key, RequestSigner::new("storage"))
        }
        (_, Some(email)) => {
            let (chain, context) = tokens(settings, http);
            let by_name = RequestSigner::new("storage").with_signer_email(email);
            Signer::new(context, chain, by_name)
        }
        (_, None) => return Signing::Never(NO_SIGNER),
    };
    Signing::Urls(Box::new(GcpUrls { base, signer }))
}

/// Makes URLs that read one object for some time.
struct GcpUrls {
    /// URL of the bucket.
    base: String,
    signer: Signer<Credential>,
}

#[async_trait]
impl UrlSigner for GcpUrls {
    async fn sign(&self, key: &str, ttl: Duration) -> opendal::Result<String> {
        let url = format!("{}/{}", self.base, opendal::raw::percent_encode_path(key));
        signed_url(&self.signer, &url, ttl).await
    }
}

/// Names the key that new objects are encrypted with.
#[derive(Debug)]
struct Encrypted {
    inner: HttpTransporter,
    kms_key: Option<String>,
}

impl HttpTransport for Encrypted {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        if let Some(key) = self
            .kms_key
            .as_deref()
            .filter(|_| *request.method() == Method::POST)
        {
            name_key(&mut request, key).ok_or_else(|| {
                let text = format!("config.kmsKeyName {key:?} cannot be sent");
                opendal::Error::new(opendal::ErrorKind::ConfigInvalid, text)
            })?;
        }
        self.inner.fetch(request).await
    }
}

/// Adds the key to what makes an object: by the JSON API as part of the URL, by the XML API as a header.
fn name_key(request: &mut Request<Buffer>, key: &str) -> Option<()> {
    let uri = request.uri();
    if uri.path().starts_with("/upload/storage/v1/b/") {
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        let uri: Uri = format!("{uri}&kmsKeyName={key}").parse().ok()?;
        *request.uri_mut() = uri;
    } else if uri.query() == Some("uploads") {
        let value = HeaderValue::from_str(key).ok()?;
        request
            .headers_mut()
            .insert("x-goog-encryption-kms-key-name", value);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, LocationConfig};
    use super::*;
    use crate::fake_http::FakeHttp;

    #[tokio::test]
    async fn a_workload_has_its_urls_signed_in_the_name_of_its_account() {
        let config = LocationConfig {
            config: [("serviceAccount".to_owned(), "sa@p".to_owned())].into(),
            ..LocationConfig::default()
        };
        let settings =
            GcpSettings::parse("box", &config, &Environment::empty(), &mut Vec::new()).unwrap();
        let http = FakeHttp::new(&[
            (
                "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
                r#"{"access_token":"bearer","token_type":"Bearer","expires_in":3600}"#,
            ),
            (
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/sa@p:signBlob",
                r#"{"keyId":"k","signedBlob":"AQIDBA=="}"#,
            ),
        ]);
        let signing = signing(
            &settings,
            &http.transporter(),
            "https://storage.googleapis.com",
        );
        let Signing::Urls(urls) = signing else {
            panic!("there is an account that signs");
        };
        let url = urls.sign("a/b c", Duration::from_secs(60)).await.unwrap();
        let start = "https://storage.googleapis.com/box/a/b%20c?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=sa%40p%2F";
        assert!(url.starts_with(start), "{url}");
        assert!(url.ends_with("&X-Goog-Signature=01020304"), "{url}");
        let asked = http.asked();
        assert!(asked[1].contains(" Bearer bearer "), "{asked:?}");
    }
}
