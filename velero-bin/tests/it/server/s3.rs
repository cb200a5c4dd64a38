//! An S3 server in this process, over files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(super) const ACCESS_KEY: &str = "AKTESTTESTTEST";
pub(super) const SECRET_KEY: &str = "test-secret-0123456789";
pub(super) const BUCKET: &str = "backups";

pub(super) struct S3Server {
    addr: SocketAddr,
    dir: TempDir,
    task: JoinHandle<()>,
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl S3Server {
    /// Starts a server with one bucket and one key pair.
    pub(super) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is no fault.
                    let _ = builder
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { addr, dir, task }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.addr
    }

    /// The folder behind the bucket.
    pub(super) fn bucket(&self) -> PathBuf {
        self.dir.path().join(BUCKET)
    }

    /// A location manifest as users of the peer have it.
    pub(super) fn location(&self, name: &str, prefix: &str, secret: &str) -> Value {
        json!({
            "metadata": {"name": name},
            "spec": {
                "provider": "aws",
                "default": true,
                "objectStorage": {"bucket": BUCKET, "prefix": prefix},
                "credential": {"name": secret, "key": "cloud"},
                "config": {
                    "region": "us-east-1",
                    "s3ForcePathStyle": "true",
                    "s3Url": format!("http://{}", self.addr),
                    "checksumAlgorithm": "",
                },
            },
        })
    }
}

/// Stands between clients and a server, and takes no connections while it is told that the server is away.
pub(super) async fn gate(to: SocketAddr, away: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let away = Arc::clone(&away);
            tokio::spawn(async move {
                let left = async {
                    while !away.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                let pass = async {
                    let mut server = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                };
                tokio::select! {
                    biased;
                    () = left => {}
                    _ = pass => {}
                }
            });
        }
    });
    address
}

/// A Secret with a credentials file as users of the peer have it.
pub(super) fn secret(name: &str, key: &str) -> Value {
    let file = format!("[default]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={key}\n");
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": "velero"},
        "stringData": {"cloud": file},
    })
}
