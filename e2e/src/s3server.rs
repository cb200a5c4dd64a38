//! An S3 server in this process, over HTTP on a loopback port, with a folder behind it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::Velero;

/// Serves buckets until it is dropped; path style only.
///
/// A bucket is a folder under [`S3Server::root`], an object a file in it.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    root: PathBuf,
    task: JoinHandle<()>,
}

impl S3Server {
    /// The one access key that is let in.
    pub const ACCESS_KEY: &'static str = "velero-e2e";
    /// The secret of [`S3Server::ACCESS_KEY`].
    pub const SECRET_KEY: &'static str = "velero-e2e-secret";
    /// Any region is accepted; clients need to name one.
    pub const REGION: &'static str = "us-east-1";

    /// Serves the folder `root`, which is made when missing, on a free port.
    pub async fn start(root: impl Into<PathBuf>) -> Result<Self> {
        Self::start_on(root, 0).await
    }

    /// Like [`S3Server::start`] on a given port, to come back after an outage.
    pub async fn start_on(root: impl Into<PathBuf>, port: u16) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let files = FileSystem::new(&root)
            .map_err(|err| anyhow!("cannot serve {}: {err:?}", root.display()))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(Self::ACCESS_KEY, Self::SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        let address = listener.local_addr()?;
        Ok(Self {
            address,
            root,
            task: tokio::spawn(serve(listener, service)),
        })
    }

    /// Base address, for example `http://127.0.0.1:41234`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Folder of the buckets.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a bucket and returns its folder.
    pub fn create_bucket(&self, name: &str) -> Result<PathBuf> {
        let dir = self.root.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// The command line with the access key in its environment.
    #[must_use]
    pub fn keys(&self, velero: Velero) -> Velero {
        velero
            .env("AWS_ACCESS_KEY_ID", Self::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", Self::SECRET_KEY)
    }

    /// A credentials file in the form of the AWS tools, for a location's Secret.
    #[must_use]
    pub fn credentials(&self) -> String {
        format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            Self::ACCESS_KEY,
            Self::SECRET_KEY
        )
    }

    /// Ends the server and its connections; the folder stays.
    pub async fn stop(mut self) {
        self.task.abort();
        let _cancelled = (&mut self.task).await;
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    // Connections end with the set, so an aborted server answers nobody any more.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                let service = service.clone();
                connections.spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let _client_went_away = builder.serve_connection(TokioIo::new(socket), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The files below a folder. Folders are none: the server makes them of the keys, and leaves them.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}
