//! Plain downloads over HTTP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt as _;

/// Most bytes of a download.
const LIMIT: usize = 256 << 20;

/// How a server's certificate is checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsOptions {
    /// Take any certificate.
    pub(crate) insecure: bool,
    /// PEM bundles trusted beside the system's roots.
    pub(crate) bundles: Vec<Vec<u8>>,
}

/// Reads a URL. `None` when there is nothing behind it.
///
/// # Errors
/// When the server cannot be reached or answers anything but 200 and 404.
pub(crate) async fn get(url: &str, tls: &TlsOptions, timeout: Duration) -> Result<Option<Vec<u8>>> {
    let (host, mut response) = ask(url, tls, timeout).await?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| broken_off(&host, timeout, error))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > LIMIT {
            bail!("the download from {host} is larger than {LIMIT} bytes");
        }
    }
    match status.as_u16() {
        200 => Ok(Some(body)),
        404 => Ok(None),
        _ => bail!(refusal(&host, status, &body)),
    }
}

/// Reads a URL into a file. `false` when there is nothing behind it.
///
/// # Errors
/// As [`get`], and when the file cannot be written.
pub(crate) async fn save(
    url: &str,
    tls: &TlsOptions,
    timeout: Duration,
    to: &Path,
) -> Result<bool> {
    let (host, mut response) = ask(url, tls, timeout).await?;
    let status = response.status();
    if status.as_u16() != 200 {
        if status.as_u16() == 404 {
            return Ok(false);
        }
        let body = response.chunk().await.ok().flatten().unwrap_or_default();
        bail!(refusal(&host, status, &body));
    }
    let cannot_write = || format!("cannot write {}", to.display());
    let mut file = tokio::fs::File::create(to)
        .await
        .with_context(cannot_write)?;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| broken_off(&host, timeout, error))?
    {
        file.write_all(&chunk).await.with_context(cannot_write)?;
    }
    file.flush().await.with_context(cannot_write)?;
    Ok(true)
}

/// Why an answer that had begun did not come whole.
fn broken_off(host: &str, timeout: Duration, error: reqwest::Error) -> anyhow::Error {
    if error.is_timeout() {
        let waited = timeout.as_secs();
        return anyhow!(
            "the download from {host} was not done after {waited}s; a longer --timeout gives it more"
        );
    }
    let text = velero_core::result::chain(&error.without_url());
    anyhow!("the download from {host} broke off: {text}")
}

fn refusal(host: &str, status: reqwest::StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(300)]);
    format!("{host} answered {status}: {text}")
}

/// Asks a server; gives its name and the answer.
async fn ask(
    url: &str,
    tls: &TlsOptions,
    timeout: Duration,
) -> Result<(String, reqwest::Response)> {
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    let client = client(tls, timeout)?;
    match client.get(url).send().await {
        Ok(response) => Ok((host, response)),
        Err(error) if error.is_timeout() => Err(broken_off(&host, timeout, error)),
        Err(error) => {
            let text = velero_core::result::chain(&error.without_url());
            let hint = if text.contains("UnknownIssuer") {
                "; use --cacert, or --insecure-skip-tls-verify to take any certificate"
            } else {
                ""
            };
            bail!("cannot download from {host}: {text}{hint}");
        }
    }
}

fn client(tls: &TlsOptions, timeout: Duration) -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder().timeout(timeout);
    let builder = if tls.insecure {
        builder.tls_danger_accept_invalid_certs(true)
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for bundle in &tls.bundles {
            for certificate in CertificateDer::pem_slice_iter(bundle) {
                roots
                    .add(certificate.context("a CA bundle is not PEM")?)
                    .context("a CA bundle cannot be used")?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        builder.tls_backend_preconfigured(config)
    };
    builder.build().context("cannot make an http client")
}
