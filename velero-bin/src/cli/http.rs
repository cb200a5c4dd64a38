//! Plain downloads over HTTP.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::core::Status;
use reqwest::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::passed_on;

/// Most bytes of a download.
const LIMIT: usize = 256 << 20;

/// Longest time for a connection to a store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a server's certificate is checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsOptions {
    /// Take any certificate.
    pub(crate) insecure: bool,
    /// PEM bundles trusted beside the system's roots.
    pub(crate) bundles: Vec<Vec<u8>>,
}

/// A store that nobody can connect to from here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(pub(crate) String);

/// What a server has answered, before its body is read.
pub(crate) struct Answer {
    /// Who has answered.
    host: String,
    status: StatusCode,
    body: BoxStream<'static, Result<Bytes>>,
}

impl Answer {
    /// Reads what there is. `None` when there is nothing.
    ///
    /// # Errors
    /// When the answer breaks off, or is anything but 200 and 404.
    pub(crate) async fn read(mut self) -> Result<Option<Vec<u8>>> {
        if !self.is_there().await? {
            return Ok(None);
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.body.try_next().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LIMIT {
                bail!(
                    "the download from {} is larger than {LIMIT} bytes",
                    self.host
                );
            }
        }
        Ok(Some(body))
    }

    /// Writes what there is into a file. `false` when there is nothing.
    ///
    /// # Errors
    /// As [`Answer::read`], and when the file cannot be written.
    pub(crate) async fn save(mut self, to: &Path) -> Result<bool> {
        if !self.is_there().await? {
            return Ok(false);
        }
        let cannot_write = || format!("cannot write {}", to.display());
        let file = tokio::fs::File::create(to).await;
        let mut file = file.with_context(cannot_write)?;
        while let Some(chunk) = self.body.try_next().await? {
            file.write_all(&chunk).await.with_context(cannot_write)?;
        }
        file.flush().await.with_context(cannot_write)?;
        Ok(true)
    }

    /// Whether there is something to read.
    async fn is_there(&mut self) -> Result<bool> {
        match self.status.as_u16() {
            200 => Ok(true),
            404 => Ok(false),
            _ => {
                let start = self.start().await;
                bail!("{} answered {}: {start}", self.host, self.status)
            }
        }
    }

    /// The start of the text of an answer that is no file.
    async fn start(&mut self) -> String {
        let chunk = self
            .body
            .try_next()
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&chunk[..chunk.len().min(300)]);
        text.trim_end().to_owned()
    }
}

/// Asks a server for what is behind a URL.
///
/// # Errors
/// [`Unreachable`] when nobody can connect to it; others when it gives no answer.
pub(crate) async fn ask(url: &Url, tls: &TlsOptions, timeout: Duration) -> Result<Answer> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let client = client(tls, timeout)?;
    let response = match client.get(url.clone()).send().await {
        Ok(response) => response,
        Err(error) if error.is_timeout() && !error.is_connect() => {
            return Err(broken_off(&host, timeout, error));
        }
        Err(error) => {
            let is_connect = error.is_connect();
            let text = velero_core::result::chain(&error.without_url());
            let text = format!("cannot download from {host}: {text}");
            if text.contains("UnknownIssuer") {
                bail!(
                    "{text}; use --cacert, or --insecure-skip-tls-verify to take any certificate"
                );
            }
            return Err(match is_connect {
                true => Unreachable(text).into(),
                false => anyhow!(text),
            });
        }
    };
    let status = response.status();
    let name = host.clone();
    let body = response.bytes_stream();
    let body = body.map_err(move |error| broken_off(&name, timeout, error));
    Ok(Answer {
        host,
        status,
        body: body.boxed(),
    })
}

/// Asks the server for what is behind one of its own addresses, through the API server.
///
/// # Errors
/// When the API server cannot be asked, does not let the user do that, or does not find the server.
pub(crate) async fn ask_through(client: &Client, url: &Url, timeout: Duration) -> Result<Answer> {
    let host = "the server, through the API server,".to_owned();
    let path = passed_on::path_of(url).unwrap_or_default();
    let request = http::Request::get(path).body(kube::client::Body::empty())?;
    let deadline = Instant::now() + timeout;
    let late = || anyhow!("{host} gave no answer in time; a longer --timeout gives it more");
    let response = timeout_at(deadline, client.send(request)).await;
    let response = response.map_err(|_| late())??;
    let is_of_api_server = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let status = response.status();
    let name = host.clone();
    let chunks = response.into_body().into_data_stream();
    let chunks = chunks
        .map_err(move |error| anyhow!("the download from {name} broke off: {error}"))
        .boxed();
    let name = host.clone();
    let body = stream::try_unfold(chunks, move |mut chunks| {
        let late = format!(
            "the download from {name} was not done in time; a longer --timeout gives it more"
        );
        async move {
            let chunk = timeout_at(deadline, chunks.try_next()).await;
            let chunk = chunk.map_err(|_| anyhow!(late))??;
            Ok(chunk.map(|chunk| (chunk, chunks)))
        }
    });
    let mut answer = Answer {
        host,
        status,
        body: body.boxed(),
    };
    if is_of_api_server && !status.is_success() {
        let text = answer.body.try_next().await?.unwrap_or_default();
        let message = serde_json::from_slice::<Status>(&text).map(|status| status.message);
        bail!(
            "the API server does not pass the download on: {}",
            message.unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned())
        );
    }
    Ok(answer)
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

fn client(tls: &TlsOptions, timeout: Duration) -> Result<reqwest::Client> {
    // There may be another way, for which some time is to be left.
    let connect = CONNECT_TIMEOUT.min(timeout / 2);
    let builder = reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(connect);
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
