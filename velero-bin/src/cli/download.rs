//! Files of backups and restores, fetched through the operator.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use kube::Client;
use tokio::io::AsyncWriteExt as _;
use velero_core::GoDuration;
use velero_core::api::{
    BackupStorageLocation, DownloadRequest, DownloadRequestSpec, DownloadTarget, DownloadTargetKind,
};
use velero_core::names::annotations;

use super::Environment;
use super::certificates::bundles;
use super::http::{self, TlsOptions};
use super::objects::Objects;

/// Pause between two looks at a request.
const PAUSE: Duration = Duration::from_millis(100);

/// Flags of commands that download.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TlsArgs {
    /// Take any certificate of the object store
    #[arg(long)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// File with certificates to trust beside the system's; without it that of the config file
    #[arg(long, value_name = "PATH")]
    pub(crate) cacert: Option<OsString>,
}

/// How long a download may take, the wait for its address included.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TimeoutArgs {
    /// How long to wait for the file
    #[arg(long, value_name = "DURATION", default_value = "1m0s")]
    pub(crate) timeout: GoDuration,
}

/// Fetches files of one cluster's backups.
#[derive(Clone)]
pub(crate) struct Downloader {
    requests: Objects<DownloadRequest>,
    locations: Objects<BackupStorageLocation>,
    /// Where the files lie; empty when nobody knows.
    location: String,
    tls: TlsOptions,
}

impl Downloader {
    /// Prepares downloads from one location; an empty name leaves its certificates out.
    pub(crate) async fn new(
        environment: &Environment,
        client: Client,
        args: &TlsArgs,
        location: &str,
    ) -> Result<Self> {
        let namespace = environment.namespace();
        let locations: Objects<BackupStorageLocation> = Objects::new(client.clone(), &namespace);
        // A location that cannot be read costs its certificates only; the download tells what is wrong with it.
        let found = match location {
            "" => None,
            name => locations.find(name).await.ok().flatten(),
        };
        let flag = args.cacert.as_ref();
        let tls = TlsOptions {
            insecure: args.insecure_skip_tls_verify,
            bundles: bundles(environment, client.clone(), flag, found.as_ref()).await?,
        };
        Ok(Self {
            requests: Objects::new(client, &namespace),
            locations,
            location: location.to_owned(),
            tls,
        })
    }

    /// Fetches one file, unpacked. `None` when the store does not have it.
    ///
    /// # Errors
    /// When the operator does not answer in time, or the file cannot be fetched.
    pub(crate) async fn fetch(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<Vec<u8>>> {
        let (url, left) = self.url_within(kind, name, timeout).await?;
        match read_url(&url, &self.tls, left).await? {
            Some(bytes) if bytes.starts_with(&[0x1f, 0x8b]) => unpack(&bytes).map(Some),
            other => Ok(other),
        }
    }

    /// Fetches one file, as the store has it, into a file of this machine. `false` when the store does not have it.
    ///
    /// # Errors
    /// As [`Downloader::fetch`], and when the file cannot be written.
    pub(crate) async fn save(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        timeout: Duration,
        to: &Path,
    ) -> Result<bool> {
        let (url, left) = self.url_within(kind, name, timeout).await?;
        save_url(&url, &self.tls, left, to).await
    }

    /// The address of a file, and the time that is left then.
    async fn url_within(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        timeout: Duration,
    ) -> Result<(String, Duration)> {
        let deadline = tokio::time::Instant::now() + timeout;
        let told = Mutex::new(None);
        let url = self.url(kind.clone(), name, &told);
        let Ok(url) = tokio::time::timeout_at(deadline, url).await else {
            let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
            let (waited, why) = (timeout.as_secs(), self.why_no_url(told).await);
            bail!("timed out after {waited}s waiting for the url of {kind} of {name:?}; {why}");
        };
        let url = url?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        Ok((url, left))
    }

    /// What may be the reason that the server gives no url; `told` is what it has said of the request.
    async fn why_no_url(&self, told: Option<String>) -> String {
        let found = match self.location.as_str() {
            "" => Ok(None),
            name => self.locations.find(name).await,
        };
        match found {
            Ok(Some(location))
                if !location.is_available() && !location.status.message.is_empty() =>
            {
                let message = &location.status.message;
                format!(
                    "the backup storage location {:?} cannot be used: {message}",
                    self.location
                )
            }
            _ => match told {
                Some(told) => format!("the server says: {told}"),
                None => "is the velero server running?".to_owned(),
            },
        }
    }

    /// Asks for the address of a file until there is one; `told` is what the server says meanwhile.
    async fn url(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        told: &Mutex<Option<String>>,
    ) -> Result<String> {
        let target = DownloadTarget {
            kind,
            name: name.to_owned(),
        };
        let unique = format!("{name}-{}", uuid::Uuid::new_v4());
        let mut request = DownloadRequest::default();
        request.metadata.name = Some(unique.clone());
        request.spec = DownloadRequestSpec { target };
        self.requests.create(&request).await?;
        loop {
            let Some(request) = self.requests.find(&unique).await? else {
                bail!("the download request {unique:?} was deleted while it was waited for");
            };
            if !request.status.download_url.is_empty() {
                return Ok(request.status.download_url);
            }
            let own = request.metadata.annotations.unwrap_or_default();
            if let Some(text) = own.get(annotations::WAITS_FOR) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn read_url(url: &str, tls: &TlsOptions, timeout: Duration) -> Result<Option<Vec<u8>>> {
    let parsed = url::Url::parse(url)
        .with_context(|| format!("the server gave the url {url:?}, which is none"))?;
    match parsed.scheme() {
        "file" => {
            let path = path_of(&parsed)?;
            found(&path, tokio::fs::read(&path).await)
        }
        "http" | "https" => http::get(url, tls, timeout).await,
        other => bail!(unknown_scheme(other)),
    }
}

async fn save_url(url: &str, tls: &TlsOptions, timeout: Duration, to: &Path) -> Result<bool> {
    let parsed = url::Url::parse(url)
        .with_context(|| format!("the server gave the url {url:?}, which is none"))?;
    match parsed.scheme() {
        "file" => {
            let path = path_of(&parsed)?;
            let copied = tokio::time::timeout(timeout, copy(&path, to)).await;
            let copied = copied.with_context(|| {
                format!(
                    "{} could not be copied in time; a longer --timeout gives it more",
                    path.display()
                )
            })?;
            found(&path, copied?).map(|copied| copied.is_some())
        }
        "http" | "https" => http::save(url, tls, timeout, to).await,
        other => bail!(unknown_scheme(other)),
    }
}

/// Copies the content of a file, and not its permissions. What is wrong with the file that is read is told inside.
async fn copy(from: &Path, to: &Path) -> Result<std::io::Result<u64>> {
    let mut source = match tokio::fs::File::open(from).await {
        Ok(source) => source,
        Err(error) => return Ok(Err(error)),
    };
    let cannot_write = || format!("cannot write {}", to.display());
    let target = tokio::fs::File::create(to).await;
    let mut target = target.with_context(cannot_write)?;
    let copied = tokio::io::copy(&mut source, &mut target).await;
    let copied = copied.with_context(cannot_write)?;
    target.flush().await.with_context(cannot_write)?;
    Ok(Ok(copied))
}

fn path_of(url: &url::Url) -> Result<PathBuf> {
    url.to_file_path()
        .map_err(|()| anyhow!("the server gave the file url \"{url}\", which has no path"))
}

fn unknown_scheme(scheme: &str) -> String {
    format!("the server gave a url of the kind {scheme:?}; http, https and file can be read")
}

/// What came of a look at a file of the server's; `None` when its store does not have it.
fn found<T>(path: &Path, outcome: std::io::Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !folder_is_here(path) => {
            bail!(
                "the backup lies in a folder of the server's machine that is not here: {}",
                path.display()
            )
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => bail!("cannot read {}: {error}", path.display()),
    }
}

fn folder_is_here(path: &Path) -> bool {
    path.parent().is_some_and(Path::is_dir)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    const LIMIT: u64 = 1 << 30;
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .take(LIMIT + 1)
        .read_to_end(&mut text)
        .context("the file is damaged")?;
    if text.len() as u64 > LIMIT {
        bail!("the file unpacks to more than {LIMIT} bytes");
    }
    Ok(text)
}
