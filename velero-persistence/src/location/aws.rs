//! From checked settings to an S3 store.

use opendal::services::S3;
use opendal::{HttpTransporter, OperationContext, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;
use url::Url;

use super::aws_settings::{AwsSettings, Credentials, Encryption};
use crate::error::{Error, Result};
use crate::options::StoreOptions;
use crate::remote::{RemoteBackend, Signing, layered};
use crate::remote_error::Mapper;
use crate::transport;

/// Where a bucket's region is asked for.
const LOOKUP: &str = "https://s3.us-east-1.amazonaws.com";
const NO_CUSTOMER_KEY: &str = "objects encrypted with a customer's key cannot be read by URL; read the object through this program";

pub(super) async fn backend(
    settings: &AwsSettings,
    options: &StoreOptions,
) -> Result<RemoteBackend> {
    let client = transport::client(&settings.tls, options)?;
    let region = match &settings.region {
        Some(region) => region.clone(),
        None => bucket_region(&client, LOOKUP, &settings.bucket).await?,
    };
    let endpoint = match &settings.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => amazon_endpoint(&region)?,
    };
    let errors = mapper(settings, &endpoint);
    let make = |endpoint: &Url| -> Result<Operator> {
        let operator = Operator::new(builder(settings, &region, endpoint))
            .map_err(|err| errors.map("set up", "", &err))?;
        let http = HttpTransporter::new(ReqwestTransport::new(client.clone()));
        let operator = operator.with_context(OperationContext::default().with_http_transport(http));
        Ok(layered(operator, options))
    };
    let operator = make(&endpoint)?;
    let signing = match (&settings.encryption, &settings.public_url) {
        (Encryption::Customer(_), _) => Signing::Never(NO_CUSTOMER_KEY),
        (_, Some(public)) => Signing::By(make(public)?),
        (_, None) => Signing::By(operator.clone()),
    };
    Ok(RemoteBackend::new(
        operator,
        signing,
        errors.clone(),
        options.clone(),
    ))
}

fn mapper(settings: &AwsSettings, endpoint: &Url) -> Mapper {
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
    }
}

fn amazon_endpoint(region: &str) -> Result<Url> {
    let suffix = match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    };
    Url::parse(&format!("https://s3.{region}.{suffix}"))
        .ok()
        .filter(|url| url.path() == "/" && url.query().is_none())
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
    if let Some(algorithm) = settings.checksum {
        s3 = s3.checksum_algorithm(algorithm);
    }
    s3 = match &settings.encryption {
        Encryption::BucketDefault => s3,
        Encryption::Managed(name) => s3.server_side_encryption(name),
        Encryption::Kms(key) => s3.server_side_encryption_with_customer_managed_kms_key(key),
        Encryption::Customer(key) => s3.server_side_encryption_with_customer_key("AES256", key),
    };
    match &settings.credentials {
        Credentials::Keys(keys) => s3
            .access_key_id(&keys.id)
            .secret_access_key(&keys.secret)
            .session_token(keys.token.as_deref().unwrap_or_default())
            .disable_config_load()
            .disable_ec2_metadata(),
        Credentials::Chain { profile } => s3.profile(profile.as_deref().unwrap_or_default()),
    }
}

/// Asks for a bucket's region. No credentials are needed: the answer carries it even when it is a refusal.
async fn bucket_region(client: &reqwest::Client, base: &str, bucket: &str) -> Result<String> {
    let store = format!("s3://{bucket}");
    let answer = client.head(format!("{base}/{bucket}")).send().await;
    let answer = answer.map_err(|err| Error::Unreachable {
        store: store.clone(),
        operation: "look up the region of the bucket".to_owned(),
        detail: format!("{}; set config.region", err.without_url()),
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
