//! Files of backups and restores, fetched through the operator.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use kube::Client;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;
use velero_core::GoDuration;
use velero_core::api::{
    BackupStorageLocation, DownloadRequest, DownloadRequestSpec, DownloadTarget, DownloadTargetKind,
};
use velero_core::names::annotations::{self, THROUGH_SERVER};

use super::Environment;
use super::certificates::bundles;
use super::http::{self, TlsOptions, Unreachable};
use super::objects::Objects;
use crate::passed_on;

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
    client: Client,
    requests: Objects<DownloadRequest>,
    locations: Objects<BackupStorageLocation>,
    /// Where the files lie; empty when nobody knows.
    location: String,
    tls: TlsOptions,
    /// The store could not be reached, and the server passes its files on.
    out_of_reach: Arc<AtomicBool>,
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
            requests: Objects::new(client.clone(), &namespace),
            client,
            locations,
            location: location.to_owned(),
            tls,
            out_of_reach: Arc::default(),
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
        let bytes = self
            .either_way(kind, name, timeout, async |from, left| {
                from.read(left).await
            })
            .await?;
        match bytes {
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
        self.either_way(kind, name, timeout, async |from, left| {
            from.save(left, to).await
        })
        .await
    }

    /// Does what is to be done with a file: at its store, and if that cannot be reached from here, through the server.
    async fn either_way<T>(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        timeout: Duration,
        work: impl AsyncFn(Place<'_>, Duration) -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut unreachable = None;
        if !self.out_of_reach.load(Ordering::Relaxed) {
            let url = self.url_within(kind.clone(), name, timeout).await?;
            match work(self.place(&url)?, left()).await {
                Err(error) if error.is::<Unreachable>() => unreachable = Some(error),
                outcome => return outcome,
            }
        }
        let url = match (
            self.url_through_server(kind, name, left()).await,
            unreachable,
        ) {
            (Ok(url), None) => url,
            // Servers that know no other way answer as before.
            (Ok(url), Some(error)) if !self.place(&url)?.is_passed_on() => return Err(error),
            (Ok(url), Some(_)) => url,
            (Err(error), None) => return Err(error),
            (Err(error), Some(first)) => bail!("{first:#}; through the server: {error:#}"),
        };
        self.out_of_reach.store(true, Ordering::Relaxed);
        work(self.place(&url)?, left()).await
    }

    /// Where an address leads.
    fn place<'a>(&'a self, url: &str) -> Result<Place<'a>> {
        let parsed = Url::parse(url)
            .with_context(|| format!("the server gave the url {url:?}, which is none"))?;
        Ok(match parsed.scheme() {
            "file" => Place::Folder(path_of(&parsed)?),
            _ if passed_on::path_of(&parsed).is_some() => Place::Server(&self.client, parsed),
            "http" | "https" => Place::Store(&self.tls, parsed),
            other => bail!(
                "the server gave a url of the kind {other:?}; http, https and file can be read"
            ),
        })
    }

    /// The address of a file at the server itself, or the first reason it gives why there is none.
    async fn url_through_server(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        timeout: Duration,
    ) -> Result<String> {
        let told = watch::Sender::new(None);
        let mut seen = told.subscribe();
        let url = self.url(kind, name, Some(THROUGH_SERVER), &told);
        tokio::select! {
            url = url => url,
            Ok(reason) = seen.wait_for(Option::is_some) => {
                bail!(reason.clone().unwrap_or_default())
            }
            () = tokio::time::sleep(timeout) => bail!("no answer in time"),
        }
    }

    /// The address of a file.
    async fn url_within(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        timeout: Duration,
    ) -> Result<String> {
        let told = watch::Sender::new(None);
        let url = self.url(kind.clone(), name, None, &told);
        let Ok(url) = tokio::time::timeout(timeout, url).await else {
            let told = told.borrow().clone();
            let (waited, why) = (timeout.as_secs(), self.why_no_url(told).await);
            bail!("timed out after {waited}s waiting for the url of {kind} of {name:?}; {why}");
        };
        url
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

    /// Asks for the address of a file until there is one, if need be through somebody who can reach it; `told` is what the
    /// server says meanwhile.
    async fn url(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        through: Option<&str>,
        told: &watch::Sender<Option<String>>,
    ) -> Result<String> {
        let target = DownloadTarget {
            kind,
            name: name.to_owned(),
        };
        let unique = format!("{name}-{}", uuid::Uuid::new_v4());
        let mut request = DownloadRequest::default();
        request.metadata.name = Some(unique.clone());
        request.metadata.annotations =
            through.map(|through| [(annotations::THROUGH.to_owned(), through.to_owned())].into());
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
                told.send_replace(Some(text.clone()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Where a file is.
enum Place<'a> {
    /// On this machine, if it is that of the server.
    Folder(PathBuf),
    /// In a store.
    Store(&'a TlsOptions, Url),
    /// With the server.
    Server(&'a Client, Url),
}

impl Place<'_> {
    fn is_passed_on(&self) -> bool {
        matches!(self, Self::Server(..))
    }

    /// Reads the file. `None` when it is not there.
    async fn read(self, timeout: Duration) -> Result<Option<Vec<u8>>> {
        match self.answer(timeout).await? {
            Ok(answer) => answer.read().await,
            Err(path) => found(&path, tokio::fs::read(&path).await),
        }
    }

    /// Writes the file into another one. `false` when it is not there.
    async fn save(self, timeout: Duration, to: &Path) -> Result<bool> {
        let path = match self.answer(timeout).await? {
            Ok(answer) => return answer.save(to).await,
            Err(path) => path,
        };
        let copied = tokio::time::timeout(timeout, copy(&path, to)).await;
        let copied = copied.with_context(|| {
            format!(
                "{} could not be copied in time; a longer --timeout gives it more",
                path.display()
            )
        })?;
        found(&path, copied?).map(|copied| copied.is_some())
    }

    /// The answer of whoever has the file, or its path.
    async fn answer(self, timeout: Duration) -> Result<Result<http::Answer, PathBuf>> {
        Ok(match self {
            Self::Folder(path) => Err(path),
            Self::Store(tls, url) => Ok(http::ask(&url, tls, timeout).await?),
            Self::Server(client, url) => Ok(http::ask_through(client, &url, timeout).await?),
        })
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

fn path_of(url: &Url) -> Result<PathBuf> {
    url.to_file_path()
        .map_err(|()| anyhow!("the server gave the file url \"{url}\", which has no path"))
}

/// What came of a look at a file of the server's; `None` when its store does not have it.
fn found<T>(path: &Path, outcome: std::io::Result<T>) -> Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !folder_is_here(path) => {
            bail!(Unreachable(format!(
                "the backup lies in a folder of the server's machine that is not here: {}",
                path.display()
            )))
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
