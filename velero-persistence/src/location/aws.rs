//! From checked settings to an S3 store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opendal::services::S3;
use opendal::{HttpTransporter, Operator};
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_core::{Env as _, OsEnv, Signer, StaticEnv};
use url::Url;

use super::aws_settings::{AwsSettings, Credentials, Encryption};
use super::profile::Role;
use crate::error::{Error, Result};
use crate::options::StoreOptions;
use crate::remote::{RemoteBackend, Signing, UrlSigner};
use crate::remote_error::Mapper;
use crate::s3_transport::S3Transport;
use crate::s3_uploads::S3Uploads;
use crate::signed_transport::{context, signed_url};
use crate::silence::Silence;
use crate::transport::{self, Patience};

/// Where a bucket's region is asked for.
const LOOKUP: &str = "https://s3.us-east-1.amazonaws.com";
/// What to do where there are no credentials.
const ADVICE: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with keys: spec.credential of a location, ?credentialsFile= of a store URL";
const NO_CUSTOMER_KEY: &str = "objects encrypted with a customer's key cannot be read by URL; read the object through this program";

pub(super) async fn backend(
    settings: &AwsSettings,
    options: &StoreOptions,
) -> Result<RemoteBackend> {
    let client = transport::client(&settings.tls, options)?;
    let region = match &settings.region {
        Some(region) => region.clone(),
        None => look_region_up(&client, &settings.bucket, options).await?,
    };
    let endpoint = match &settings.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => amazon_endpoint(&region)?,
    };
    let errors = mapper(settings, &endpoint, options);
    let http = HttpTransporter::new(Patience::new(client, options, &errors));
    let signer = signer(settings, &region, &http);
    let signing = match &settings.encryption {
        Encryption::Customer(_) => Signing::Never(NO_CUSTOMER_KEY),
        _ => Signing::Urls(Box::new(S3Urls {
            base: url_of_bucket(settings, settings.public_url.as_ref().unwrap_or(&endpoint)),
            signer: signer.clone(),
        })),
    };
    let signed = S3Transport::new(http, signer, settings.extras.clone());
    let signed = HttpTransporter::new(signed);
    let bare = || Operator::new(builder(settings, &region, &endpoint).skip_signature());
    let uploads = S3Uploads::new(url_of_bucket(settings, &endpoint), signed.clone());
    let backend = RemoteBackend::over(bare, &signed, signing, errors, options)?;
    Ok(backend.with_uploads(uploads))
}

/// Signs with credentials that are fetched through the store's own client.
fn signer(settings: &AwsSettings, region: &str, http: &HttpTransporter) -> Signer<Credential> {
    let rules = RequestSigner::new("s3", region);
    match &settings.credentials {
        Credentials::Keys(keys) => {
            let fixed = StaticCredentialProvider::new(&keys.id, &keys.secret);
            let fixed = match &keys.token {
                Some(token) => fixed.with_session_token(token),
                None => fixed,
            };
            match &keys.role {
                Some(role) => {
                    let provider = role_provider(role, fixed, region, http);
                    Signer::new(context(http, &[]), provider, rules)
                }
                None => Signer::new(context(http, &[]), fixed, rules),
            }
        }
        Credentials::Chain { profile, env } => {
            let usual = DefaultCredentialProvider::builder();
            let usual = match profile {
                Some(profile) => usual.with_profile(profile).build(),
                None => usual.build(),
            };
            let env = StaticEnv {
                home_dir: OsEnv.home_dir(),
                envs: env.variables(),
            };
            Signer::new(context(http, &[]).with_env(env), usual, rules)
        }
    }
}

/// Takes a role on, at the token service of the region.
fn role_provider(
    role: &Role,
    keys: StaticCredentialProvider,
    region: &str,
    http: &HttpTransporter,
) -> AssumeRoleCredentialProvider {
    let rules = RequestSigner::new("sts", region);
    let asking = Signer::new(context(http, &[]), keys, rules);
    let mut provider = AssumeRoleCredentialProvider::new(role.arn.clone(), asking)
        .with_region(region.to_owned())
        .with_regional_sts_endpoint();
    if let Some(id) = &role.external_id {
        provider = provider.with_external_id(id.clone());
    }
    if let Some(name) = &role.session_name {
        provider = provider.with_role_session_name(name.clone());
    }
    provider
}

/// Makes URLs that read one object for some time.
struct S3Urls {
    /// URL of the bucket.
    base: String,
    signer: Signer<Credential>,
}

#[async_trait]
impl UrlSigner for S3Urls {
    async fn sign(&self, key: &str, ttl: Duration) -> opendal::Result<String> {
        let url = format!("{}/{}", self.base, opendal::raw::percent_encode_path(key));
        signed_url(&self.signer, &url, ttl).await
    }
}

/// The URL of the bucket on a server, without a slash at the end.
fn url_of_bucket(settings: &AwsSettings, server: &Url) -> String {
    let bucket = &settings.bucket;
    let path = server.as_str().trim_end_matches('/');
    match path.split_once("://") {
        Some((scheme, rest)) if settings.virtual_host(server) => {
            format!("{scheme}://{bucket}.{rest}")
        }
        _ => format!("{path}/{bucket}"),
    }
}

fn mapper(settings: &AwsSettings, endpoint: &Url, options: &StoreOptions) -> Mapper {
    let mut secrets: Vec<String> = settings.encryption.secret().into_iter().collect();
    if let Credentials::Keys(keys) = &settings.credentials {
        secrets.push(keys.secret.clone());
        secrets.extend(keys.token.clone());
    }
    let server = match &settings.endpoint {
        Some(_) => format!(" at {}", endpoint.as_str().trim_end_matches('/')),
        None => String::new(),
    };
    Mapper {
        store: format!("s3://{}{server}", settings.bucket),
        bucket: settings.bucket.clone(),
        secrets: secrets.into(),
        silence: Arc::new(Silence::new(options.silent_timeout)),
        advice: ADVICE,
    }
}

fn amazon_endpoint(region: &str) -> Result<Url> {
    let suffix = match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    };
    // Anything else could end up in another part of the URL.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    Some(region)
        .filter(|region| region.bytes().all(plain))
        .and_then(|region| Url::parse(&format!("https://s3.{region}.{suffix}")).ok())
        .ok_or_else(|| Error::config("config.region", region, "a region such as eu-central-1"))
}

fn builder(settings: &AwsSettings, region: &str, endpoint: &Url) -> S3 {
    let mut s3 = S3::default()
        .bucket(&settings.bucket)
        .region(region)
        .endpoint(endpoint.as_str());
    if settings.virtual_host(endpoint) {
        s3 = s3.enable_virtual_host_style();
    }
    match &settings.encryption {
        Encryption::BucketDefault => s3,
        Encryption::Managed(name) => s3.server_side_encryption(name),
        Encryption::Kms(key) => s3.server_side_encryption_with_customer_managed_kms_key(key),
        Encryption::Customer(key) => s3.server_side_encryption_with_customer_key("AES256", key),
    }
}

async fn look_region_up(
    client: &reqwest::Client,
    bucket: &str,
    options: &StoreOptions,
) -> Result<String> {
    let limit = options.first_answer_timeout;
    match tokio::time::timeout(limit, bucket_region(client, LOOKUP, bucket)).await {
        Ok(region) => region,
        Err(_) => Err(Error::Unreachable {
            store: format!("s3://{bucket}"),
            operation: "look up the region of the bucket".to_owned(),
            detail: format!(
                "no answer in time, which is {} s; set config.region, or ?region= in a store URL",
                limit.as_secs_f64()
            ),
        }),
    }
}

/// Asks for a bucket's region. No credentials are needed: the answer carries it even when it is a refusal.
async fn bucket_region(client: &reqwest::Client, base: &str, bucket: &str) -> Result<String> {
    let store = format!("s3://{bucket}");
    let answer = client.head(format!("{base}/{bucket}")).send().await;
    let answer = answer.map_err(|err| Error::Unreachable {
        store: store.clone(),
        operation: "look up the region of the bucket".to_owned(),
        detail: format!(
            "{}; set config.region, or ?region= in a store URL",
            err.without_url()
        ),
    })?;
    let region = answer.headers().get("x-amz-bucket-region");
    match region.and_then(|region| region.to_str().ok()) {
        Some(region) if !region.is_empty() => Ok(region.to_owned()),
        _ if answer.status() == reqwest::StatusCode::NOT_FOUND => Err(Error::BucketNotFound {
            store,
            detail: format!("bucket {bucket:?} does not exist"),
        }),
        _ => Err(Error::config(
            "config.region",
            "",
            format!("the region of bucket {bucket:?}, which the store does not tell"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::error::ErrorKind;
    use crate::transport::Tls;

    /// Answers one request with `head` and asks `base` for the region of bucket `b`.
    async fn lookup(head: &'static str) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let n = socket.read(&mut request).await.unwrap();
            assert!(request[..n].starts_with(b"HEAD /b HTTP/1.1\r\n"));
            socket.write_all(head.as_bytes()).await.unwrap();
        });
        let client = transport::client(&Tls::default(), &StoreOptions::default()).unwrap();
        let region = bucket_region(&client, &base, "b").await;
        server.await.unwrap();
        region
    }

    #[tokio::test]
    async fn a_refusal_tells_the_region_too() {
        for head in [
            "HTTP/1.1 403 Forbidden\r\nx-amz-bucket-region: eu-west-3\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-west-3\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert_eq!(lookup(head).await.unwrap(), "eu-west-3");
        }
    }

    #[tokio::test]
    async fn no_region_is_told_apart() {
        let missing = lookup("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::BucketNotFound);
        let silent = lookup("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(silent.unwrap_err().kind(), ErrorKind::ConfigInvalid);
        let client = transport::client(&Tls::default(), &StoreOptions::default()).unwrap();
        let closed = bucket_region(&client, "http://127.0.0.1:1", "b").await;
        let closed = closed.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::Unreachable);
        assert!(
            closed
                .to_string()
                .ends_with("set config.region, or ?region= in a store URL"),
            "{closed}"
        );
    }

    /// Answers every request with a role's credentials, and keeps the first line and the body.
    #[derive(Debug, Clone, Default)]
    struct Roles(Arc<std::sync::Mutex<Vec<String>>>);

    impl opendal::HttpTransport for Roles {
        async fn fetch(
            &self,
            request: http::Request<opendal::Buffer>,
        ) -> opendal::Result<http::Response<opendal::HttpBody>> {
            let body = String::from_utf8(request.body().to_vec()).unwrap();
            let signed = request.headers().get("authorization");
            let signed = signed.map_or("", |value| value.to_str().unwrap());
            let line = format!("{} {} {body} {signed}", request.method(), request.uri());
            let kind = match line.contains("WithWebIdentity") {
                true => "AssumeRoleWithWebIdentity",
                false => "AssumeRole",
            };
            self.0.lock().unwrap().push(line);
            let answer = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAKEYOFROLETEST</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>token-of-role</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>".replace("AssumeRoleWithWebIdentity", kind);
            Ok(http::Response::new(crate::s3_transport::one_piece(
                answer.into(),
            )))
        }
    }

    fn chain(env: &[(&str, &str)]) -> AwsSettings {
        let config = super::super::LocationConfig {
            config: [("region".to_owned(), "eu-west-1".to_owned())].into(),
            ..Default::default()
        };
        let env = env.iter().copied().collect();
        AwsSettings::parse("b", &config, &env, &mut Vec::new()).unwrap()
    }

    #[tokio::test]
    async fn the_role_of_a_pod_signs() {
        let dir = tempfile::TempDir::new().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "token-of-pod").unwrap();
        let settings = chain(&[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/velero"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/no/such"),
            ("AWS_CONFIG_FILE", "/no/such"),
        ]);
        let roles = Roles::default();
        let signer = signer(&settings, "eu-west-1", &HttpTransporter::new(roles.clone()));
        for _ in 0..2 {
            let (mut head, ()) = http::Request::get("https://b.s3.eu-west-1.amazonaws.com/k")
                .body(())
                .unwrap()
                .into_parts();
            signer.sign(&mut head, None).await.unwrap();
            assert_eq!(head.headers["x-amz-security-token"], "token-of-role");
            let authorization = head.headers["authorization"].to_str().unwrap();
            assert!(
                authorization.contains("Credential=ASIAKEYOFROLETEST/"),
                "{authorization}"
            );
        }
        let asked = roles.0.lock().unwrap().clone();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].contains("https://sts."), "{asked:?}");
        assert!(
            asked[0].contains("token-of-pod") && asked[0].contains("velero"),
            "{asked:?}"
        );
    }

    #[tokio::test]
    async fn the_role_of_a_credentials_file_signs() {
        let config = super::super::LocationConfig {
            config: [("region".to_owned(), "eu-west-1".to_owned())].into(),
            credentials: Some(b"[default]\nrole_arn=arn:aws:iam::123456789012:role/velero\nsource_profile=base\n[base]\naws_access_key_id=BASEKEY\naws_secret_access_key=s\n".to_vec()),
            ..Default::default()
        };
        let env = super::super::Environment::empty();
        let settings = AwsSettings::parse("b", &config, &env, &mut Vec::new()).unwrap();
        let roles = Roles::default();
        let signer = signer(&settings, "eu-west-1", &HttpTransporter::new(roles.clone()));
        let url = "https://b.s3.eu-west-1.amazonaws.com/k";
        let signed = signed_url(&signer, url, Duration::from_secs(60)).await;
        let signed = signed.unwrap();
        assert!(
            signed.contains("X-Amz-Credential=ASIAKEYOFROLETEST%2F"),
            "{signed}"
        );
        assert!(
            signed.contains("X-Amz-Security-Token=token-of-role"),
            "{signed}"
        );
        let asked = roles.0.lock().unwrap().clone();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(
            asked[0].contains("https://sts.eu-west-1.amazonaws.com"),
            "{asked:?}"
        );
        assert!(asked[0].contains("Credential=BASEKEY/"), "{asked:?}");
        assert!(asked[0].contains("velero"), "{asked:?}");
    }

    #[test]
    fn amazon_has_one_server_for_each_region() {
        for (region, want) in [
            ("eu-west-1", "https://s3.eu-west-1.amazonaws.com/"),
            ("cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn/"),
        ] {
            assert_eq!(amazon_endpoint(region).unwrap().as_str(), want);
        }
        for bad in ["a/b", "a?b", "a b", "@"] {
            assert!(amazon_endpoint(bad).is_err(), "{bad}");
        }
    }
}
